"""Convolutions and matrix products with a stored operand: where the work is.

Absolute numbers are only added up, never subtracted, so float32 is enough for them:
their sums are off by a known share, and rounded up. Gradients keep their signs and are
carried in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, each_along
from stoic.network.certified.rounding import is_plain
from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn, beside

__all__ = ["weighed"]

_ATEN = torch.ops.aten
_CONVOLUTIONS: dict[Any, int] = {
    _ATEN.conv1d.default: 1,
    _ATEN.conv2d.default: 2,
    _ATEN.conv3d.default: 3,
}
_TURNED: dict[Any, int] = {
    _ATEN.conv_transpose1d.default: 1,
    _ATEN.conv_transpose2d.input: 2,
    _ATEN.conv_transpose3d.input: 3,
}
# Positions of value, weight and bias, and whether the weight's rows are the results.
_PRODUCTS: dict[Any, tuple[int, int, int | None, bool]] = {
    _ATEN.linear.default: (0, 1, 2, True),
    _ATEN.addmm.default: (1, 2, 0, False),
    _ATEN.mm.default: (0, 1, None, False),
    _ATEN.matmul.default: (0, 1, None, False),
}
# What a factor, or a product, may lose below float32's smallest numbers: with one that
# is flushed to 0, and so not a share of it.
_FLOOR = 2.0**-125
_EXTRA = 2


@dataclass(frozen=True)
class _Map:
    """A linear map by its weight, forwards and backwards.

    Args:
        run: From a value and a weight to a result.
        back: From a result's gradient, any number of rows, and a weight to the value's.
        terms: How many products are added up in an element of the result.
        fan: How many in an element of the value, on the way back.
    """

    run: Callable[[Tensor, Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]
    terms: int
    fan: int

    def sizes(self, value: Tensor, weight: Tensor) -> Tensor:
        """Run on absolute numbers, in float32, rounded up to float64."""
        value = _single(value)
        return _up(self.run(value, weight), self.terms, value, weight)

    def sizes_back(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Carry absolute gradients back, likewise."""
        gradient = _single(gradient)
        return _up(self.back(gradient, weight), self.fan, gradient, weight)


def _single(sizes: Tensor) -> Tensor:
    """Return them in float32, rounded up; in float64 if its sums have fewer bits."""
    plain = is_plain(sizes.device)
    return (sizes * (1 + 2**-22)).float() if plain else sizes.double()


def _up(sizes: Tensor, terms: int, *factors: Tensor) -> Tensor:
    share, floor = (terms + 8) * 2.0**-23, _FLOOR * (1 + sum(map(_largest, factors)))
    return sizes.double() * (1 + share) + floor * terms


def _largest(factor: Tensor) -> float:
    """Return the largest number that is one."""
    largest = float(factor.max()) if factor.numel() else 0.0
    if math.isfinite(largest):
        return largest
    return float(factor.where(factor.isfinite(), 0.0).max())


def weighed(crossing: Crossing) -> Turn | None:
    """Bound a convolution or a product by its weight's absolute numbers."""
    call = crossing.call
    found = _map_of(call)
    if found is None:
        return None
    ours, place, bias = found
    known = crossing.once("weighed", lambda: _Known.of(crossing, *found))
    moved = crossing.moved[0]
    moving = ours.sizes(moved.most, known.sizes)
    # As no number is subtracted, sums of both are those of the sum.
    carried = known.shown + moving
    errors = _Wrong.of(crossing, place, bias).of_result(ours, carried, crossing)
    return Turn(
        most=known.most(moving, moved.norm),
        stretch=lambda norm: norm * crossing.gain(),
        adjoint=known.adjoint,
        size=carried + errors + known.offset,
        terms=ours.terms + _EXTRA,
        errors=errors,
        carry=lambda each: ours.sizes(each, known.sizes),
    )


@dataclass(frozen=True)
class _Known:
    """What hangs on the weight and golden values alone.

    Args:
        sizes: Absolute numbers of the weight; float32, rounded up.
        shown: What they make of the value's absolute numbers.
        rows: 2-norm of the row of each element of the result, if it is known.
        offset: Absolute numbers of the bias.
        adjoint: Backwards.
    """

    sizes: Tensor
    shown: Tensor
    rows: Tensor | None
    offset: Tensor | float
    adjoint: Adjoint

    def most(self, moving: Tensor, norm: Tensor) -> Tensor:
        """Bound each element by its row's norm times the deviation's, too."""
        if self.rows is None:
            return moving
        return torch.minimum(moving, self.rows * beside(norm, moving))

    @classmethod
    def of(cls, crossing: Crossing, ours: _Map, place: int, bias: int | None) -> _Known:
        """Read them from the golden call."""
        call = crossing.call
        weight = call.arg(place).double()
        sizes = _single(weight.abs())
        return cls(
            sizes,
            ours.sizes(crossing.value.abs(), sizes),
            _row_norms(call, weight),
            _offset(call, bias),
            _adjoint(call, ours, weight, sizes),
        )


def _adjoint(call: Call, ours: _Map, weight: Tensor, sizes: Tensor) -> Adjoint:
    """Carry gradients in float32 through convolutions, where most of the work is."""
    single = call.step.op in _CONVOLUTIONS | _TURNED and is_plain(weight.device)
    signed = weight.float() if single else weight
    return Adjoint(
        lambda gradient: (_rows(ours.back, gradient, signed),),
        lambda gradient: (_rows(ours.sizes_back, gradient, sizes),),
        ours.fan,
        single,
    )


def _rows(
    back: Callable[[Tensor, Tensor], Tensor], gradient: Tensor, weight: Tensor
) -> Tensor:
    """Carry gradients of several outputs back, as the rows of one batch."""
    rows = back(gradient.flatten(0, 1), weight)
    return rows.reshape(*gradient.shape[:2], *rows.shape[1:])


@dataclass(frozen=True)
class _Wrong:
    """Errors of the stored words.

    Args:
        share: Of every word of the weight, relative.
        weight: Of the weight's words, absolute, beside that; float32, rounded up.
        bias: Of the bias.
    """

    share: float
    weight: Tensor | None
    bias: Tensor | float

    @classmethod
    def of(cls, crossing: Crossing, place: int, bias: int | None) -> _Wrong:
        """Read them from what is perturbed."""
        call = crossing.call
        name = call.name(place)
        share = crossing.wrong.share(name)
        steps = None if share else crossing.errors(name)
        off = None if bias is None else crossing.errors(call.name(bias))
        return cls(
            share,
            None if steps is None else _single(steps.double()),
            0.0 if off is None else _in_channels(call, off),
        )

    def of_result(
        self, ours: _Map, carried: Tensor, crossing: Crossing
    ) -> Tensor | float:
        """Return what they add to the result."""
        errors = carried * self.share + self.bias if self.share else self.bias
        if self.weight is not None:
            value = crossing.value.abs() + crossing.moved[0].most
            errors = errors + ours.sizes(value, self.weight)
        return errors


def _offset(call: Call, bias: int | None) -> Tensor | float:
    return 0.0 if bias is None else _in_channels(call, call.size(bias))


def _in_channels(call: Call, numbers: Tensor) -> Tensor:
    """Return numbers of a bias beside the result."""
    dims = (_CONVOLUTIONS | _TURNED).get(call.step.op)
    return numbers if dims is None else numbers.reshape(-1, *[1] * dims)


def _row_norms(call: Call, weight: Tensor) -> Tensor | None:
    """Return the norm of each row, beside the result."""
    op = call.step.op
    if op in _TURNED:
        return None
    by_row = op in _CONVOLUTIONS or op is _ATEN.linear.default
    flat = weight.flatten(1) if by_row else weight.t()
    rows: Tensor = flat.norm(dim=1) * UP
    return rows.reshape(-1, *[1] * _CONVOLUTIONS.get(op, 0))


def _map_of(call: Call) -> tuple[_Map, int, int | None] | None:
    if call.step.kwargs:
        return None
    op = call.step.op
    if op in _CONVOLUTIONS | _TURNED and call.only(0):
        if call.arg(0).dim() != call.arg(1).dim():
            return None
        return _convolution(call), 1, 2
    if op not in _PRODUCTS:
        return None
    value, place, bias, turned = _PRODUCTS[op]
    matrix = call.arg(place)
    if not call.only(value) or matrix.dim() != 2 or call.arg(value).dim() < 2:
        return None
    rows, columns = matrix.shape if turned else matrix.shape[::-1]
    if turned:
        ours = _Map(lambda v, w: v @ w.t(), lambda g, w: g @ w, columns, rows)
    else:
        ours = _Map(lambda v, w: v @ w, lambda g, w: g @ w.t(), columns, rows)
    return ours, place, bias


def _convolution(call: Call) -> _Map:
    turned = call.step.op in _TURNED
    dims = (_CONVOLUTIONS | _TURNED)[call.step.op]
    groups_at, dilation_at = (6, 7) if turned else (6, 5)
    stride, padding, dilation = (
        each_along(call.arg(at, default), dims)
        for at, default in ((3, 1), (4, 0), (dilation_at, 1))
    )
    beyond = each_along(call.arg(5, 0), dims) if turned else [0] * dims
    groups, weight = int(call.arg(groups_at, 1)), call.arg(1)
    shape = call.arg(0).shape[1:]
    options = (stride, padding, dilation, turned, beyond, groups)

    def run(value: Tensor, filters: Tensor) -> Tensor:
        result: Tensor = _ATEN.convolution.default(value, filters, None, *options)
        return result

    def back(gradient: Tensor, filters: Tensor) -> Tensor:
        like = gradient.new_empty(1).expand(len(gradient), *shape)
        found: Tensor = _ATEN.convolution_backward.default(
            gradient, like, filters, None, *options, [True, False, False]
        )[0]
        return found

    sums = weight[0].numel(), len(weight) // groups * math.prod(weight.shape[2:])
    return _Map(run, back, *(reversed(sums) if turned else sums))
