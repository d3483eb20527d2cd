"""Operators element by element: slopes over all that is reachable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.derivatives import derivative_range
from stoic.sensitivity.operators.contract import (
    ROOM,
    UP,
    Adjoint,
    Alone,
    Crossing,
    Crossings,
    Moved,
    Turn,
    Turns,
)

__all__ = ["pointwise", "relu"]


def relu(crossings: Crossings) -> Turns | None:
    """Cut off what is below 0: a value moves, and bends, by what is beyond 0."""
    if not crossings.call.only(0):
        return None
    (moved,), value = crossings.moved, crossings.value
    below = crossings.once("below", lambda: _down(value.clamp(max=0.0)))
    inside = crossings.once("inside", lambda: _down(-value.abs()))
    alone = crossings.once("alone", lambda: Alone(_half_at_0(value)))
    at_0 = crossings.once("at 0", lambda: bool((value == 0).any()))
    # Sums that are not negative are no smaller than exact ones.
    beyond = torch.add(inside, moved.most, alpha=ROOM).clamp_(min=0.0)
    return Turns(
        most=torch.add(below, moved.most, alpha=ROOM).clamp_(min=0.0),
        stretch=lambda norm: norm,
        adjoint=Adjoint(
            lambda g: (g * alone.weights,), lambda g: (g * alone.weights,), 0
        ),
        # At 0 either side is as far from the mean of both slopes.
        bend=beyond.where(value != 0, beyond / 2) if at_0 else beyond,
        bend_norm=moved.norm,
        convex=True,
        alone=alone,
        even=True,
    )


def _down(lengths: Tensor) -> Tensor:
    """Return numbers that are not positive in float32, rounded up: towards 0."""
    return (lengths * (1 - 2.0**-22)).float()


def _half_at_0(value: Tensor) -> Tensor:
    return (value > 0).float() + (value == 0).float() / 2


def pointwise(crossing: Crossing) -> Turn | None:
    """Bound the slope of every element between its least and its greatest value.

    The result bends away from the golden slope by no more than slopes differ; where
    the function is straight up to a corner, by no more than what lies beyond it.
    """
    call = crossing.call
    if len(crossing.moved) != 1 or call.result.shape != crossing.value.shape:
        return None
    wrong = _wrong(crossing)
    if wrong is None:
        return None
    moved = crossing.moved[0]
    value, most = crossing.value, moved.most
    slopes = derivative_range(call, *_ends(value, moved))
    golden = derivative_range(call, value, value)
    if slopes is None or golden is None:
        return None
    (low, high), slope = slopes, golden[1]
    steepest = torch.maximum(low.abs(), high.abs())
    # An infinite slope at the golden value tells nothing.
    differ = torch.maximum(high - slope, slope - low).nan_to_num(torch.inf, torch.inf)
    beyond = (most - _straight(call, value)).clamp(min=0.0)
    moving = most > 0
    return Turn(
        most=(steepest * most * UP).where(moving, 0.0),
        stretch=lambda norm: steepest.flatten(1).amax(1) * norm * UP,
        adjoint=Adjoint(lambda g: (g * slope,), lambda g: (g * slope.abs() * UP,)),
        bend=(differ * beyond * UP).where(moving & (differ > 0), 0.0),
        bend_norm=differ.flatten(1).amax(1) * moved.norm * UP,
        size=_size(call.step.op, call.result, steepest * most),
        errors=wrong * (value.abs() + most) * UP,
        terms=0 if call.step.op in _EXACT else _ROUNDINGS,
    )


def _ends(value: Tensor, moved: Moved) -> tuple[Tensor, Tensor]:
    """Return the least and the largest number that each element can become."""
    always, ends = moved.always, (value - moved.most, value + moved.most)
    if not always.known:
        return ends
    low, high = (end.clamp(always.low, always.high) for end in ends)
    # A golden number is off by our own rounding.
    return torch.minimum(low, value), torch.maximum(high, value)


def _wrong(crossing: Crossing) -> Tensor | float | None:
    """Return the errors of slopes by wrong words; nothing where they are elsewhere."""
    call = crossing.call
    found = [crossing.errors(name) for name in call.step.inputs]
    errors = [error for error in found if error is not None]
    if not errors or call.step.op is not _ATEN.prelu.default:
        return None if errors else 0.0
    dims = crossing.value.dim()
    return errors[0].reshape(-1, *[1] * (dims - 2))


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
    return None if op in _EXACT else result.abs() + most + 1.0


_ATEN = torch.ops.aten
# Kernels of others are off by so many roundings, relative to the result or to 1.
_ROUNDINGS = 24
_EXACT = {
    *(
        getattr(_ATEN, name).default
        for name in (
            "relu relu6 abs neg hardtanh clamp clamp_min clamp_max maximum minimum "
            "threshold dropout feature_dropout"
        ).split()
    ),
    _ATEN.clamp.Tensor,
    _ATEN.masked_fill.Scalar,
    _ATEN.where.self,
}
