"""The largest of all elements along dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn

__all__ = ["largest"]


def largest(crossing: Crossing) -> Turn | None:
    """Bound a maximum by its ends; its derivative is that of the golden winner.

    It bends where another element overtakes the winner, by no more than both move.
    """
    call, value = crossing.call, crossing.value
    dims = _dims(call)
    if not call.only(0) or not dims or 0 in dims or call.result.dim() < 2:
        return None
    moved, shape = crossing.moved[0], call.result.shape
    elements, highs, lows = (
        _last(each, dims) for each in (value, value + moved.most, value - moved.most)
    )
    winner = elements.argmax(-1, keepdim=True)
    golden = elements.gather(-1, winner)
    most = torch.maximum(
        highs.amax(-1, keepdim=True) - golden, golden - lows.amax(-1, keepdim=True)
    )
    others = highs.scatter(-1, winner, -math.inf).amax(-1, keepdim=True)
    bend = (others - lows.gather(-1, winner)).clamp(min=0.0)
    share = torch.zeros_like(elements).scatter_(-1, winner, 1.0)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        parts = gradient.reshape(len(gradient), *share.shape[:-1], 1) * share
        return (_unlast(parts, value.shape, dims),)

    return Turn(
        most=most.reshape(shape) * UP,
        stretch=lambda norm: norm * UP,
        adjoint=Adjoint(back, back),
        bend=bend.reshape(shape) * UP,
        bend_norm=moved.norm * math.sqrt(2) * UP,
    )


def _dims(call: Call) -> list[int]:
    named = call.arg(1)
    dims = list(named) if isinstance(named, Sequence) else [named]
    rank = call.arg(0).dim()
    return sorted(dim % rank for dim in dims if isinstance(dim, int))


def _order(rank: int, dims: list[int]) -> list[int]:
    return [dim for dim in range(rank) if dim not in dims] + dims


def _last(value: Tensor, dims: list[int]) -> Tensor:
    """Return [..., elements] with the dimensions that are looked through last."""
    order = _order(value.dim(), dims)
    return value.permute(order).flatten(value.dim() - len(dims))


def _unlast(parts: Tensor, shape: torch.Size, dims: list[int]) -> Tensor:
    """Undo that, with another dimension in front."""
    order = _order(len(shape), dims)
    whole = parts.reshape(len(parts), *(shape[dim] for dim in order))
    back = [0, *(order.index(dim) + 1 for dim in range(len(shape)))]
    return whole.permute(back)
