"""Normalisation by stored statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import (
    UP,
    Adjoint,
    Alone,
    Crossing,
    Turn,
)

__all__ = ["batch_norm"]

_TERMS = 12


def batch_norm(crossing: Crossing) -> Turn | None:
    """Scale and shift every channel."""
    call, value = crossing.call, crossing.value
    if call.step.kwargs or not call.only(0) or value.dim() < 2:
        return None
    shape = (-1, *[1] * (value.dim() - 2))
    beta, mean = (call.size(i).reshape(shape) for i in (2, 3))
    variance, gamma = call.arg(4).reshape(shape), call.arg(1)
    wrong = [_error(crossing, i).reshape(shape) for i in range(1, 5)]
    inverse = torch.rsqrt(variance + call.arg(6))
    scale = torch.ones_like(inverse) if gamma is None else gamma.reshape(shape)
    factor = scale * inverse
    # The largest that the inverse can be; infinite where the variance may vanish.
    most_inverse = (variance - wrong[3] + call.arg(6)).clamp(min=0.0).rsqrt()
    off = wrong[0] * most_inverse + scale.abs() * (most_inverse - inverse)
    most = factor.abs() * UP * crossing.moved[0].most
    golden = crossing.once(
        "batch_norm", lambda: factor.abs() * (value.abs() + mean) * UP + beta
    )
    errors: Tensor | float = 0.0
    if any(bool(each.any()) for each in wrong):
        reach = value.abs() + crossing.moved[0].most
        errors = off * (reach + mean + wrong[2]) + factor.abs() * wrong[2] + wrong[1]

    return Turn(
        most=most,
        stretch=lambda norm: norm * (float(factor.abs().max()) * UP),
        adjoint=Adjoint(
            lambda g: (g * factor,), lambda g: (g * factor.abs() * UP,), _TERMS
        ),
        size=golden + most + errors,
        terms=_TERMS,
        errors=errors * UP,
        carry=lambda sizes: sizes * factor.abs() * UP,
        alone=Alone(factor.float().expand(value.shape)),
    )


def _error(crossing: Crossing, position: int) -> Tensor:
    """Return the absolute error of each word of a stored argument."""
    error = crossing.errors(crossing.call.name(position))
    if error is None:
        return torch.zeros(1, dtype=torch.float64)
    return error.expand_as(crossing.call.size(position))
