"""Normalisation by stored statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.contract import (
    ROOM,
    UP,
    Adjoint,
    Alone,
    Crossings,
    Turns,
    single,
)

__all__ = ["batch_norm"]

_TERMS = 12


def batch_norm(crossings: Crossings) -> Turns | None:
    """Scale and shift every channel."""
    call, value = crossings.call, crossings.value
    if call.step.kwargs or not call.only(0) or value.dim() < 2:
        return None
    known = crossings.once("scaled", lambda: _Scaled.of(call, value))
    (moved,), factor = crossings.moved, known.single
    slopes, offsets = known.added(crossings)
    source = torch.add(known.reach, moved.most).mul_(slopes).add_(offsets)
    return Turns(
        most=torch.addcmul(source, moved.most, factor),
        stretch=lambda norm: norm * (float(known.factor.max()) * UP),
        adjoint=known.adjoint,
        source=source,
        terms=_TERMS,
        carry=lambda sizes: sizes * factor,
        alone=known.alone,
        even=True,
    )


@dataclass(frozen=True)
class _Scaled:
    """What hangs on the words and golden values of a batch norm alone.

    Args:
        call: The step.
        shape: Of numbers of channels beside the result.
        factor: Size of the factor of each channel, [channels].
        single: The same beside the result; float32, rounded up.
        reach: Sizes of what is read and of means together; float32, rounded up.
        adjoint: Backwards.
        alone: The derivative.
    """

    call: Call
    shape: tuple[int, ...]
    factor: Tensor
    single: Tensor
    reach: Tensor
    adjoint: Adjoint
    alone: Alone

    @classmethod
    def of(cls, call: Call, value: Tensor) -> _Scaled:
        """Read them from the golden call."""
        shape = (value.shape[1], *[1] * (value.dim() - 2))
        signed = _scale(call).reshape(-1) * torch.rsqrt(call.arg(4) + call.arg(6))
        factor, beside_it = signed.abs(), signed.reshape(shape)
        return cls(
            *(call, shape, factor, single(factor * ROOM).reshape(shape)),
            single(value.abs() + call.size(3).reshape(shape)),
            Adjoint(
                lambda g: (g * beside_it,),
                lambda g: (g * beside_it.abs() * UP,),
                _TERMS,
            ),
            Alone(beside_it.float().expand(value.shape)),
        )

    def added(self, crossings: Crossings) -> tuple[Tensor, Tensor]:
        """Return what a channel adds by itself: a slope times sizes, and an offset.

        With f the factor, off its error and k the roundings, sizes s that are read and
        of means add k f s + (1 + k) off s; a shift adds k times itself, and 1 + k times
        its error and that of the mean.
        """
        call, slopes, offsets = self.call, [], []
        for at, k in enumerate(crossings.roundings(_TERMS)):
            scale, shift, mean, variance = (
                _error(crossings, at, position) for position in range(1, 5)
            )
            off = self._off(scale, variance)
            slopes.append(k * self.factor + (1 + k) * off)
            wrong = (off + self.factor) * mean + shift
            offsets.append((k * call.size(2) + (1 + k) * wrong).expand_as(self.factor))
        # A sum of two, and two operations after it.
        return (
            single(torch.stack(slopes) * ROOM).reshape(len(slopes), 1, *self.shape),
            single(torch.stack(offsets) * ROOM).reshape(len(slopes), 1, *self.shape),
        )

    def _off(self, scale: Tensor, variance: Tensor) -> Tensor:
        """Return how far the factor may be off."""
        stored, eps = self.call.arg(4), self.call.arg(6)
        # Infinite where the variance may vanish.
        most = (stored - variance + eps).clamp(min=0.0).rsqrt()
        nearly = _scale(self.call).abs() * (most - torch.rsqrt(stored + eps))
        off: Tensor = (scale * most).where(scale > 0, 0.0) + nearly
        return off


def _scale(call: Call) -> Tensor:
    gamma = call.arg(1)
    return torch.ones_like(call.arg(4)) if gamma is None else gamma


def _error(crossings: Crossings, at: int, position: int) -> Tensor:
    """Return the absolute error of each word of a stored argument."""
    error = crossings.errors(at, crossings.call.name(position))
    if error is None:
        return torch.zeros(1, dtype=torch.float64)
    return error.expand_as(crossings.call.size(position))
