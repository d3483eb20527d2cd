"""Normalisation: by stored statistics, or by those of each row."""

from __future__ import annotations

import torch
from torch import Tensor

from stoic.network.unstated import spread_eps
from stoic.sensitivity.operators.contract import (
    UP,
    Adjoint,
    Alone,
    Crossing,
    Turn,
    two_norm,
)

__all__ = ["batch_norm", "layer_norm", "rms_norm"]

_TERMS = 12
_LAYER_TERMS = 24


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


def layer_norm(crossing: Crossing) -> Turn | None:
    """Centre every row, the last dimension, and divide it by its spread."""
    call = crossing.call
    if not call.only(0) or len(call.arg(1)) != 1 or call.step.kwargs:
        return None
    value = crossing.value
    mean = value.mean(-1, keepdim=True)
    moved = crossing.moved[0].most
    shaken = (moved + moved.mean(-1, keepdim=True)) * UP
    eps = float(call.arg(4, 1e-5))
    return _by_spread(crossing, value - mean, shaken, eps, centred=True)


def rms_norm(crossing: Crossing) -> Turn | None:
    """Divide every row by its spread about 0."""
    call = crossing.call
    if not call.only(0) or len(call.arg(1)) != 1 or call.step.kwargs:
        return None
    given = call.arg(3)
    eps = spread_eps(crossing.value.dtype) if given is None else float(given)
    value, moved = crossing.value, crossing.moved[0].most
    return _by_spread(crossing, value, moved, eps, centred=False)


def _by_spread(
    crossing: Crossing, rows: Tensor, shaken: Tensor, eps: float, *, centred: bool
) -> Turn:
    """Bound by the least spread s that a row can have.

    With w how far the row u that is divided moves, and n its length: its inverse spread
    moves by |w| / (sqrt(n) s^2) at most, and from its derivative's lead by
    2 |w|^2 / (n s^3).
    """
    call, moved, value = crossing.call, crossing.moved[0], crossing.value
    gamma, wrong, shift = _affine(crossing)
    root, size = rows.shape[-1] ** 0.5, rows.abs()
    reach = two_norm(moved.most.flatten(0, -2)).reshape(*rows.shape[:-1], 1) / root
    spread = (rows.square().mean(-1, keepdim=True) + eps).sqrt()
    # The spread is a norm over sqrt(n): it moves by no more than the row's norm does.
    least = torch.maximum(spread - reach, torch.full_like(spread, eps**0.5)) / UP
    turned = reach / least.square() * UP
    drift = shaken / least + size * turned
    whole = size / spread + drift
    bend = shaken * turned + size * turned * reach / least * 2
    steepest = ((gamma.abs() + wrong).max() / least).flatten(1).amax(1)
    return Turn(
        most=gamma.abs() * drift * UP,
        stretch=lambda norm: norm * steepest * UP,
        adjoint=_through_rows(rows / spread, gamma, spread, centred=centred),
        bend=bend * gamma.abs() * UP,
        size=(whole + _lost(value.abs() + moved.most, whole, least)) * gamma.abs()
        + shift,
        terms=_LAYER_TERMS + call.result.shape[-1],
        errors=(wrong * whole + _shift_error(crossing)) * UP,
    )


def _lost(sizes: Tensor, size: Tensor, least: Tensor) -> Tensor:
    """Return what rounding sees beside the result: numbers less their mean cancel.

    Means are rounded as the row's own numbers are, not as the small differences from
    them; so is the variance, relative to all that was squared.
    """
    root = sizes.square().mean(-1, keepdim=True).sqrt()
    lost: Tensor = (sizes + sizes.mean(-1, keepdim=True) + size * root) / least * UP
    return lost


def _through_rows(
    unit: Tensor, gamma: Tensor, spread: Tensor, *, centred: bool
) -> Adjoint:
    """Return (g - mean g - unit mean(unit g)) / spread of g times the scale."""

    def signed(gradient: Tensor) -> tuple[Tensor, ...]:
        scaled = gradient * gamma
        pull = unit * (unit * scaled).mean(-1, keepdim=True)
        mean = scaled.mean(-1, keepdim=True) if centred else 0.0
        return ((scaled - mean - pull) / spread,)

    def absolute(gradient: Tensor) -> tuple[Tensor, ...]:
        scaled = gradient * gamma.abs()
        pull = unit.abs() * (unit.abs() * scaled).mean(-1, keepdim=True)
        mean = scaled.mean(-1, keepdim=True) if centred else 0.0
        return ((scaled + mean + pull) / spread * UP,)

    return Adjoint(signed, absolute, 2 * unit.shape[-1])


def _affine(crossing: Crossing) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scale, its errors, and the size of the shift."""
    call = crossing.call
    scale = call.arg(2)
    gamma = torch.ones(1, dtype=torch.float64) if scale is None else scale.double()
    name = call.name(2)
    error = None if name is None else crossing.errors(name)
    wrong = torch.zeros_like(gamma) if error is None else error.expand_as(gamma)
    return gamma, wrong, _shift(crossing)


def _shift(crossing: Crossing) -> Tensor:
    """Return the size of the shift; a norm without centring has none."""
    if crossing.call.step.op is torch.ops.aten.rms_norm.default:
        return torch.zeros(1, dtype=torch.float64)
    return crossing.call.size(3)


def _shift_error(crossing: Crossing) -> Tensor:
    name = crossing.call.name(3)
    if crossing.call.step.op is torch.ops.aten.rms_norm.default:
        name = None
    error = None if name is None else crossing.errors(name)
    return torch.zeros(1, dtype=torch.float64) if error is None else error
