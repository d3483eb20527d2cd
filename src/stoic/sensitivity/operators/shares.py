"""Softmax and its logarithm: shares of scores."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn
from stoic.sensitivity.parts.masked import Masked

__all__ = ["log_softmax", "log_sum", "masked", "softmax"]

_ATEN = torch.ops.aten
_TERMS = 24
_SMALLEST = 1e-300
# Where a factor of exp is too large to be told from all.
_FAR = 690.0
# How far below another a score has a share that no number tells from 0.
_APART = 800.0
# A part of a mask that any rounding of its sum with a score leaves.
_KEPT = 2.0**-6


def softmax(crossing: Crossing) -> Turn | None:
    """Bound shares along one dimension."""
    dim = _along(crossing)
    if dim is None:
        return None
    seen = torch.ones_like(crossing.call.result, dtype=torch.bool)
    return _shares(crossing, crossing.moved[0].most, dim, seen)


def masked(crossing: Crossing) -> Turn | None:
    """Bound the same where some are hidden: those have no share, and stay still."""
    op = crossing.call.step.op
    if not isinstance(op, Masked) or not crossing.call.only(0):
        return None
    most, hidden = crossing.moved[0].most, crossing.call.arg(1)
    seen = torch.ones_like(most, dtype=torch.bool)
    if hidden is not None:
        seen = seen.masked_fill(hidden, False)
    dim = op.dim % most.dim()
    turn = _shares(crossing, most.where(seen, 0.0), dim, seen)
    if crossing.call.arg(2) is None:
        return turn
    up = _coming_up(crossing, dim, seen)
    if not bool(up.any()):
        return turn
    lead = _lead(crossing.call.result, most.where(seen, 0.0), dim)
    whole = torch.ones_like(most)
    return replace(
        turn,
        most=whole.where(up, turn.most),
        bend=((whole + lead) * UP).where(up, torch.as_tensor(turn.bend)),
        size=torch.as_tensor(turn.size).masked_fill(up, torch.inf),
        **_with_wrong_mask(crossing),
    )


def _with_wrong_mask(crossing: Crossing) -> dict[str, Any]:
    """Return what no longer holds where the numbers that hide scores may be wrong."""
    if crossing.errors(crossing.call.name(2)) is None:
        return {}
    return {
        "bend_norm": math.inf,
        "stretch": lambda norm: torch.full_like(norm, torch.inf),
    }


def _coming_up(crossing: Crossing, dim: int, seen: Tensor) -> Tensor:
    """Say in which rows a hidden score may have a share after all."""
    call, value, most = crossing.call, crossing.value, crossing.moved[0].most
    mask, error = call.arg(2), crossing.errors(call.name(2))
    # Where a mask has no number, none is wrong; else a sum keeps a part of it.
    lift = mask if error is None else (mask + error).where(mask.isfinite(), mask)
    highest = (value + most + lift * _KEPT).masked_fill(seen, -torch.inf)
    least = (value - most).where(seen, -torch.inf).amax(dim, keepdim=True)
    up: Tensor = (highest > least - _APART).any(dim, keepdim=True)
    return up


def _along(crossing: Crossing, position: int = 1) -> int | None:
    """Return the dimension of the shares; that of the inputs will not do."""
    call = crossing.call
    dim = call.arg(position) if len(crossing.moved) == 1 else None
    if not isinstance(dim, int) or dim % crossing.value.dim() == 0:
        return None
    return dim % crossing.value.dim()


def _shares(crossing: Crossing, most: Tensor, dim: int, seen: Tensor) -> Turn:
    """Bound every share by its worst company; the 2-norm at most halves.

    What is not seen has no share. Along a line, the second derivative of a share p is
    p ((d - m)^2 - v) with mean m and variance v of all deviations d: that is how far it
    bends.
    """
    shares, along = crossing.call.result, dim + 1
    reach = most + most.amax(dim, keepdim=True)
    up, down = (each.where(seen, 0.0) for each in _ends(shares, reach, dim))
    high, far = (shares + up) * UP, torch.maximum(up, down) * UP
    # No share is above 1, and nothing bends further than it and its lead go.
    bend = torch.minimum(high * reach.square() / 2, far + _lead(shares, most, dim))
    norm = crossing.moved[0].norm
    # The difference from the largest is rounded, and then stands in an exponent.
    value = crossing.value.where(seen, -torch.inf)
    apart = (value + most).amax(dim, keepdim=True) - (crossing.value - most)
    apart = apart.where(seen, 0.0)
    corners = math.sqrt(2 * shares[0].numel() / shares.shape[dim])

    def signed(gradient: Tensor) -> tuple[Tensor, ...]:
        mean = (gradient * shares).sum(along, keepdim=True)
        return ((gradient - mean) * shares,)

    def absolute(gradient: Tensor) -> tuple[Tensor, ...]:
        mean = (gradient * shares).sum(along, keepdim=True)
        return ((gradient + mean) * shares * UP,)

    return Turn(
        most=far,
        stretch=lambda norm: norm / 2 * UP,
        adjoint=Adjoint(signed, absolute, shares.shape[dim] + 2),
        bend=(bend * UP).where(high > 0, 0.0),
        # Second derivatives add up to 2 v at most, and v to half the square of a norm.
        bend_norm=torch.minimum(norm.square() / 2, norm + corners) * UP,
        size=high * (1 + apart),
        terms=_TERMS + shares.shape[dim],
    )


def _ends(shares: Tensor, reach: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return how far shares may rise, and fall, where they gain on the rest, or lose.

    A share p to the rest q = 1 - p gains a factor of exp(r) at most, and so becomes
    p exp(r) / (q + p exp(r)). One that is too small for a number is one still: who is
    far behind may catch up.
    """
    # The rest is off by the roundings of a sum.
    rest = (1 - shares).clamp(min=0.0) + (shares.shape[dim] + 8) * 2.0**-52
    size, near = shares.clamp(min=_SMALLEST), reach.clamp(max=_FAR)
    up = size * rest * torch.expm1(near) / (rest + size * near.exp())
    down = -size * rest * torch.expm1(-near) / (rest + size * (-near).exp())
    far = reach >= _FAR
    return torch.ones_like(up).where(far, up.clamp(max=1.0)), shares.where(far, down)


def _lead(shares: Tensor, most: Tensor, dim: int) -> Tensor:
    """Return how far the derivative leads each share: a whole and a mean move."""
    mean = (shares * most).nan_to_num(0.0).sum(dim, keepdim=True)
    return shares * (most.clamp(max=1e300) + mean)


def log_softmax(crossing: Crossing) -> Turn | None:
    """Subtract the logarithm of the sum, which moves by no more than a score."""
    dim = _along(crossing)
    return None if dim is None else _less_log_sum(crossing, dim)


def _less_log_sum(crossing: Crossing, dim: int) -> Turn:
    """Bound how a logarithm of a sum bends: by half the variance of deviations."""
    value, most = crossing.value, crossing.moved[0].most
    shares, along, count = torch.softmax(value, dim), dim + 1, value.shape[dim]
    widest = most.amax(dim, keepdim=True)

    def signed(gradient: Tensor) -> tuple[Tensor, ...]:
        return (gradient - shares * gradient.sum(along, keepdim=True),)

    def absolute(gradient: Tensor) -> tuple[Tensor, ...]:
        return ((gradient + shares * gradient.sum(along, keepdim=True)) * UP,)

    moved = (most + widest) * UP
    return Turn(
        most=moved,
        stretch=lambda norm: norm * (count**0.5 * UP),
        adjoint=Adjoint(signed, absolute, count + 2),
        bend=(widest.square() / 2 * UP).expand_as(value),
        size=_size(value, most, dim) + moved,
        terms=_TERMS + count,
    )


def log_sum(crossing: Crossing) -> Turn | None:
    """Bound the logarithm of a sum of exponentials along one dimension."""
    call = crossing.call
    dims = call.arg(1) if len(crossing.moved) == 1 else None
    if not isinstance(dims, list) or len(dims) != 1 or call.result.dim() < 2:
        return None
    dim, keep = dims[0] % crossing.value.dim(), bool(call.arg(2, False))
    return None if dim == 0 else _log_sum(call, crossing, dim, keep)


def _log_sum(call: Call, crossing: Crossing, dim: int, keep: bool) -> Turn:
    value, most = crossing.value, crossing.moved[0].most
    shares, widest = torch.softmax(value, dim), most.amax(dim, keepdim=keep)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return ((gradient if keep else gradient.unsqueeze(dim + 1)) * shares * UP,)

    def signed(gradient: Tensor) -> tuple[Tensor, ...]:
        return ((gradient if keep else gradient.unsqueeze(dim + 1)) * shares,)

    size: Any = _size(value, most, dim)
    return Turn(
        most=widest * UP,
        stretch=lambda norm: norm * UP,
        adjoint=Adjoint(signed, back, value.shape[dim] + 2),
        bend=widest.square() / 2 * UP,
        size=(size if keep else size.squeeze(dim)) + widest,
        terms=_TERMS + value.shape[dim],
    )


def _size(value: Tensor, most: Tensor, dim: int) -> Tensor:
    """Return the largest number that comes up on the way, with room for logarithms."""
    largest = (value.abs() + most).amax(dim, keepdim=True)
    return largest * 2 + float(value.shape[dim])
