"""Operators of values that deviate together: products of all kinds."""

from __future__ import annotations

import math

from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.contract import (
    UP,
    Adjoint,
    Crossing,
    Moved,
    Turn,
)

__all__ = ["product"]


def product(crossing: Crossing) -> Turn | None:
    """Multiply two values: it bends by the product of both deviations."""
    call = crossing.call
    if len(crossing.moved) != 2 or call.step.kwargs:
        return None
    (a, of_a), (b, of_b) = ((call.golden(n), moved) for n, moved in crossing.named)
    if a.dim() != b.dim():
        return None
    bend = of_a.most * of_b.most
    size = (a.abs() + of_a.most) * (b.abs() + of_b.most)
    wide_a = _largest(b, of_b) * _repeats(call, a)
    wide_b = _largest(a) * _repeats(call, b)

    def back(a: Tensor, b: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        return _summed_to(gradient * b, a), _summed_to(gradient * a, b)

    return Turn(
        most=(of_a.most * b.abs() + a.abs() * of_b.most + bend) * UP,
        stretch=lambda ours, theirs: ours * wide_a + theirs * wide_b,
        adjoint=Adjoint(
            lambda g: back(a, b, g),
            lambda g: back(a.abs() * UP, b.abs() * UP, g),
            call.result[0].numel(),
        ),
        bend=bend * UP,
        size=size,
        terms=2,
    )


def _repeats(call: Call, value: Tensor) -> float:
    """Return how much longer a value is where it is repeated along dimensions."""
    return math.sqrt(call.result[0].numel() / value[0].numel()) * UP


def _largest(value: Tensor, moved: Moved | None = None) -> Tensor:
    """Return the largest size that an element of each input can have, [inputs]."""
    sizes = value.abs() if moved is None else value.abs() + moved.most
    return sizes.flatten(1).amax(1) * UP


def _summed_to(gradient: Tensor, value: Tensor) -> Tensor:
    """Sum along dimensions in which a value was repeated."""
    sizes = zip(gradient.shape[1:], value.shape, strict=True)
    dims = [dim for dim, (ours, theirs) in enumerate(sizes, 1) if ours != theirs]
    return gradient.sum(dims, keepdim=True) if dims else gradient
