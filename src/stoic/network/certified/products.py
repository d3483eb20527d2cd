"""Convolutions and matrix products with a stored operand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import (
    Absolute,
    Call,
    Rule,
    Spread,
    per_channel,
    transposed,
)

__all__ = ["RULES"]

_ATEN = torch.ops.aten
# Every sum has a product in it, and may have a bias.
_EXTRA = 2


def convolution(call: Call) -> Absolute | None:
    """Convolve with absolute filters."""
    value, weight, bias = (call.size(position) for position in range(3))
    if call.step.kwargs or not call.only(0) or value.dim() != weight.dim():
        return None
    given = range(3, min(len(call.step.args), 6))
    options, groups = [call.arg(position) for position in given], call.arg(6, 1)

    def run(value: Tensor, filters: Tensor, groups: int) -> Tensor:
        result: Tensor = call.step.op(value, filters, None, *options, groups=groups)
        return result

    def filters(weights: Tensor) -> Tensor:
        """Give every input filters of its own, in one convolution by groups."""
        rows = len(value)
        beside = value.reshape(1, -1, *value.shape[2:])
        own = torch.zeros(rows, *weight.shape, dtype=torch.float64)
        _, adjoint = transposed(
            lambda each: run(beside, each.flatten(0, 1), rows * groups), own
        )
        (found,) = adjoint(weights.reshape(1, -1, *weights.shape[2:]))
        return found.flatten(1)

    return Absolute(
        lambda d: run(d, weight, groups),
        growth=float(weight.flatten(1).sum(1).max()),
        terms=weight[0].numel() + _EXTRA,
        offset=bias.reshape(-1, *[1] * (weight.dim() - 2)),
        stored=call.spreads({1: filters, 2: per_channel}),
        narrow=True,
    )


def linear(call: Call) -> Absolute | None:
    """Multiply with the absolute weight, whose rows are the results."""
    return _product(call, value=0, weight=1, bias=2, turned=True)


def addmm(call: Call) -> Absolute | None:
    """Add a stored bias to a matrix product."""
    shape = call.arg(0).shape
    # A bias of any other shape spreads in another way.
    fits = tuple(shape) == (call.arg(2).shape[-1],)
    return _product(call, value=1, weight=2, bias=0, turned=False) if fits else None


def matmul(call: Call) -> Absolute | None:
    """Multiply values with a stored matrix on their right."""
    return _product(call, value=0, weight=1, bias=None, turned=False)


def _product(
    call: Call, value: int, weight: int, bias: int | None, *, turned: bool
) -> Absolute | None:
    """Return the bound of ``value @ matrix + bias``.

    Args:
        call: The product.
        value: Position of what may deviate.
        weight: Position of the matrix.
        bias: Position of the bias, if there is one.
        turned: Whether the weight is the matrix transposed.
    """
    inputs, matrix = call.size(value), call.size(weight)
    if call.step.kwargs or not call.only(value):
        return None
    if inputs.dim() < 2 or matrix.dim() != 2:
        return None
    matrix = matrix.t() if turned else matrix
    offset = torch.tensor(0.0) if bias is None else call.size(bias)

    def of_matrix(weights: Tensor) -> Tensor:
        rows = inputs.reshape(len(inputs), -1, len(matrix))
        columns = weights.reshape(*rows.shape[:2], -1)
        pair = (columns, rows) if turned else (rows, columns)
        return torch.einsum("nta,ntb->nab", *pair).flatten(1)

    def of_bias(weights: Tensor) -> Tensor:
        return weights.reshape(len(inputs), -1, matrix.shape[1]).sum(1)

    spreads: dict[int, Spread] = {weight: of_matrix}
    if bias is not None:
        spreads[bias] = of_bias
    return Absolute(
        lambda d: d @ matrix,
        growth=float(matrix.sum(0).max()),
        terms=len(matrix) + _EXTRA,
        offset=offset,
        worst=lambda d: d @ matrix.amax(1),
        stored=call.spreads(spreads),
        narrow=inputs.dim() == 2,
    )


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        (
            _ATEN.conv1d.default,
            _ATEN.conv2d.default,
            _ATEN.conv3d.default,
            _ATEN.conv1d.padding,
            _ATEN.conv2d.padding,
            _ATEN.conv3d.padding,
        ),
        convolution,
    ),
    _ATEN.linear.default: linear,
    _ATEN.addmm.default: addmm,
    _ATEN.mm.default: matmul,
    _ATEN.matmul.default: matmul,
}
