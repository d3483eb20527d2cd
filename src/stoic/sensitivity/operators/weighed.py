"""Convolutions and matrix products with a stored operand: where the work is.

Absolute numbers are only added up, never subtracted, so float32 is enough for them:
their sums are off by a known share, and rounded up. Gradients keep their signs and are
carried in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, each_along
from stoic.network.certified.rounding import is_plain
from stoic.sensitivity.operators.contract import (
    ROOM,
    UP,
    Adjoint,
    Crossings,
    Turns,
    single,
)

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
# What factors, or a product, may lose below float32's smallest numbers: some operations
# may flush them to 0, and so by more than a share of them.
_FLOOR = 2.0**-122
_EXTRA = 2


@dataclass(frozen=True)
class _Map:
    """A linear map by its weight, forwards and backwards.

    Args:
        run: From a value and a weight to a result.
        back: From a result's gradient, any number of rows, and a weight to the value's.
        terms: How many products are added up in an element of the result.
        fan: How many in an element of the value, on the way back.
        plain: Whether sums of float32 are rounded one by one.
    """

    run: Callable[[Tensor, Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]
    terms: int
    fan: int
    plain: bool

    def single(self, sizes: Tensor) -> Tensor:
        """Return them in float32, rounded up; in float64 if its sums have less bits."""
        return single(sizes) if self.plain else sizes.double()

    def sizes(self, value: Tensor, weight: Tensor) -> Tensor:
        """Run on absolute numbers, in float32, rounded up to float64."""
        value = self.single(value)
        return _up(self.run(value, weight), self.terms, value, weight)

    def lifted(self, weight: Tensor) -> Tensor:
        """Return a weight with room for the roundings of sums; none is subnormal."""
        raised = weight * (1 + (self.terms + 8) * 2.0**-23)
        return raised.clamp(min=2.0**-125).where(weight > 0, 0.0)

    def sizes_of(self, value: Tensor, lifted: Tensor) -> Tensor:
        """Run on absolute numbers, all in float32, with a weight that was lifted."""
        if lifted.dtype is torch.float64:
            return single(self.run(value.double(), lifted))
        floor = _FLOOR * self.terms * (1 + float(lifted.max()))
        return self.run(value, lifted).add_(floor)

    def sizes_back(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Carry absolute gradients back, likewise."""
        gradient = self.single(gradient)
        return _up(self.back(gradient, weight), self.fan, gradient, weight)


def _up(sizes: Tensor, terms: int, *factors: Tensor) -> Tensor:
    share, floor = (terms + 8) * 2.0**-23, _FLOOR * (1 + sum(map(_largest, factors)))
    return sizes.double() * (1 + share) + floor * terms


def _largest(factor: Tensor) -> float:
    """Return the largest number that is one."""
    largest = float(factor.max()) if factor.numel() else 0.0
    if math.isfinite(largest):
        return largest
    return float(factor.where(factor.isfinite(), 0.0).max())


def weighed(crossings: Crossings) -> Turns | None:
    """Bound a convolution or a product by its weight's absolute numbers."""
    found = _map_of(crossings.call)
    if found is None:
        return None
    ours, place, bias = found
    known = crossings.once("weighed", lambda: _Known.of(crossings, *found))
    (moved,) = crossings.moved
    moving = _stacked(ours.sizes_of, moved.most, known.sizes)
    source = _source(crossings, found, known, moving)
    if known.rows is not None:
        limit = known.rows * moved.norm.reshape(*moved.norm.shape, *known.beside)
        moving = torch.minimum(moving, single(limit))
    return Turns(
        most=torch.add(source, moving, alpha=ROOM),
        stretch=lambda norm: norm * crossings.gain(),
        adjoint=known.adjoint,
        source=source,
        terms=ours.terms + _EXTRA,
        carry=lambda each: _stacked(ours.sizes_of, each, known.sizes),
        even=known.rows is not None,
    )


def _stacked(
    run: Callable[[Tensor, Tensor], Tensor], value: Tensor, weight: Tensor
) -> Tensor:
    """Run on [perturbations, *value], as the rows of one batch."""
    found = run(value.flatten(0, 1), weight)
    return found.reshape(*value.shape[:2], *found.shape[1:])


def _source(
    crossings: Crossings, found: _Found, known: _Known, moving: Tensor
) -> Tensor:
    """Return what is rounded, and what wrong words add.

    With s the relative error of a weight's and a bias' words, k that of rounding, and c
    the sum of absolute numbers, it is s c + k (1 + s) c. As no number is subtracted,
    sums of golden sizes and moves are those of both.
    """
    ours, place, _ = found
    name = crossings.call.name(place)
    shares = [each.share(name) for each in crossings.wrong]
    both = [*zip(crossings.roundings(ours.terms + _EXTRA), shares, strict=True)]
    whole = torch.tensor([k * (1 + s) + s for k, s in both], dtype=torch.float64)
    source = torch.add(moving, known.golden)
    source.mul_(single(whole * ROOM).reshape(-1, *[1] * (source.dim() - 1)))
    for at, (k, share) in enumerate(both):
        extra = _beside_shares(crossings, found, at, share)
        if extra is not None:
            more = single(extra * ((1 + k) * ROOM)).expand_as(source[at])
            source[at] = torch.add(more, source[at], alpha=ROOM)
    return source


def _beside_shares(
    crossings: Crossings, found: _Found, at: int, share: float
) -> Tensor | None:
    """Return what words add whose errors are no share of them, float64."""
    call, wrong, (ours, place, bias) = crossings.call, crossings.wrong[at], found
    extra = None
    if bias is not None and not (share and wrong.share(call.name(bias)) == share):
        off = crossings.errors(at, call.name(bias))
        extra = None if off is None else _in_channels(call, off)
    steps = None if share else crossings.errors(at, call.name(place))
    if steps is not None:
        reach = crossings.value.abs() + crossings.moved[0].most[at]
        added = ours.sizes(reach, ours.single(steps.double()))
        extra = added if extra is None else added + extra
    return extra


@dataclass(frozen=True)
class _Known:
    """What hangs on the weight and golden values alone.

    Args:
        sizes: Absolute numbers of the weight; float32, rounded up.
        golden: What they make of the value's absolute numbers, and those of the bias;
            float32, rounded up.
        rows: 2-norm of the row of each element of the result, if it is known.
        adjoint: Backwards.
    """

    sizes: Tensor
    golden: Tensor
    rows: Tensor | None
    adjoint: Adjoint

    @property
    def beside(self) -> tuple[int, ...]:
        """Dimensions that norms of inputs lack beside the result's."""
        return (1,) * (self.golden.dim() - 1)

    @classmethod
    def of(
        cls, crossings: Crossings, ours: _Map, place: int, bias: int | None
    ) -> _Known:
        """Read them from the golden call."""
        call = crossings.call
        weight = call.arg(place).double()
        sizes = ours.single(weight.abs())
        shown = ours.sizes(crossings.value.abs(), sizes)
        return cls(
            ours.lifted(sizes),
            single(shown + _offset(call, bias)),
            _row_norms(call, weight),
            _adjoint(call, ours, weight, sizes),
        )


def _adjoint(call: Call, ours: _Map, weight: Tensor, sizes: Tensor) -> Adjoint:
    """Carry gradients in float32 through convolutions, where most of the work is."""
    floating = call.step.op in _CONVOLUTIONS | _TURNED and ours.plain
    signed = weight.float() if floating else weight
    return Adjoint(
        lambda gradient: (_rows(ours.back, gradient, signed),),
        lambda gradient: (_rows(ours.sizes_back, gradient, sizes),),
        ours.fan,
        floating,
    )


def _rows(
    back: Callable[[Tensor, Tensor], Tensor], gradient: Tensor, weight: Tensor
) -> Tensor:
    """Carry gradients of several outputs back, as the rows of one batch."""
    rows = back(gradient.flatten(0, 1), weight)
    return rows.reshape(*gradient.shape[:2], *rows.shape[1:])


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


_Found: TypeAlias = tuple[_Map, int, int | None]


def _map_of(call: Call) -> _Found | None:
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
        run, back = _turned, _straight
    else:
        run, back = _straight, _turned
    return _Map(run, back, columns, rows, is_plain(matrix.device)), place, bias


def _straight(value: Tensor, matrix: Tensor) -> Tensor:
    return value @ matrix


def _turned(value: Tensor, matrix: Tensor) -> Tensor:
    return value @ matrix.t()


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
        # Only its shape is read; one that is spread would be copied.
        like = gradient.new_empty(len(gradient), *shape)
        found: Tensor = _ATEN.convolution_backward.default(
            gradient, like, filters, None, *options, [True, False, False]
        )[0]
        return found

    sums = weight[0].numel(), len(weight) // groups * math.prod(weight.shape[2:])
    terms, fan = reversed(sums) if turned else sums
    return _Map(run, back, terms, fan, is_plain(weight.device))
