"""Operators element by element: slopes over all that is reachable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.derivatives import derivative_range
from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn

__all__ = ["pointwise"]


def pointwise(crossing: Crossing) -> Turn | None:
    """Bound the slope of every element between its least and its greatest value.

    The result bends away from the golden slope by no more than slopes differ; where
    the function is straight up to a corner, by no more than what lies beyond it.
    """
    call, (moved, *others) = crossing.call, crossing.moved
    # A stored factor or term that may be wrong is for the rules of linear steps.
    wrong = any(crossing.errors(name) is not None for name in call.step.inputs)
    if others or wrong or call.result.shape != crossing.value.shape:
        return None
    value, most = crossing.value, moved.most
    slopes = derivative_range(call, value - most, value + most)
    golden = derivative_range(call, value, value)
    if slopes is None or golden is None:
        return None
    (low, high), slope = slopes, golden[1]
    steepest = torch.maximum(low.abs(), high.abs())
    differ = torch.maximum(high - slope, slope - low)
    beyond = (most - _straight(call, value)).clamp(min=0.0)
    moving = most > 0
    return Turn(
        most=(steepest * most * UP).where(moving, 0.0),
        stretch=lambda norm: steepest.flatten(1).amax(1) * norm * UP,
        adjoint=Adjoint(lambda g: (g * slope,), lambda g: (g * slope.abs() * UP,)),
        bend=(differ * beyond * UP).where(moving & (differ > 0), 0.0),
        bend_norm=differ.flatten(1).amax(1) * moved.norm * UP,
        size=_size(call.step.op, call.result, steepest * most),
        terms=_TERMS.get(call.step.op, 0),
    )


def _straight(call: Call, value: Tensor) -> Tensor | float:
    """Return how far an element may move while the function is straight."""
    corners = _corners(call)
    if not corners:
        return 0.0
    return torch.stack([(value - corner).abs() for corner in corners]).amin(0)


def _corners(call: Call) -> tuple[float, ...]:
    """Return where a function of straight pieces bends, if it is known to be one."""
    if call.step.op is _ATEN.relu.default:
        return (0.0,)
    if call.step.op is _ATEN.hardtanh.default:
        return float(call.arg(1, -1.0)), float(call.arg(2, 1.0))
    if call.step.op is _ATEN.clamp.default and not call.step.kwargs:
        ends = call.arg(1), call.arg(2)
        return tuple(float(end) for end in ends if end is not None)
    return ()


def _size(op: Any, result: Tensor, most: Tensor) -> Tensor | None:
    return result.abs() + most + 1.0 if op in _TERMS else None


_ATEN = torch.ops.aten
# Roundings of their kernels, relative to the result or to 1; others are exact.
_TERMS: dict[Any, int] = {
    _ATEN.sigmoid.default: 16,
    _ATEN.tanh.default: 16,
    _ATEN.silu.default: 16,
    _ATEN.gelu.default: 24,
    _ATEN.hardswish.default: 16,
    _ATEN.hardsigmoid.default: 16,
    _ATEN.leaky_relu.default: 2,
    _ATEN.elu.default: 16,
    _ATEN.softplus.default: 16,
    _ATEN.mish.default: 24,
}
