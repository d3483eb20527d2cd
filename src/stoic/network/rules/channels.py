"""Normalisation and pooling: every channel by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stoic.network.patch import Patch, whole
from stoic.network.rules.contract import Call, Rule

__all__ = ["BATCH_NORM", "RULES"]

_ATEN = torch.ops.aten
BATCH_NORM = _ATEN._native_batch_norm_legit_no_training.default


def batch_norm(call: Call) -> Patch | None:
    """Normalise the touched channels, whether value or statistic is touched."""
    place = _channel(call, positions=range(1, 5))
    if place is None:
        return None
    start, length = place

    def part(position: int) -> Tensor | None:
        patch, dim = call.patch(position), int(position == 0)
        if patch is not None:
            return patch.piece
        value = call.arg(position)
        # Strided slices take another kernel, with other last bits.
        return None if value is None else value.narrow(dim, start, length).contiguous()

    rest = [call.arg(position) for position in range(5, len(call.step.args))]
    piece = call.step.op(*(part(position) for position in range(5)), *rest)
    return Patch(1, start, piece)


def _channel(call: Call, positions: range) -> tuple[int, int] | None:
    """Return the one run of channels that all patches touch."""
    patches = call.among([0, *positions])
    places = {(patch.start, patch.length) for patch in patches.values()}
    apart = all(patch.dim == int(p == 0) for p, patch in patches.items())
    return places.pop() if apart and len(places) == 1 else None


def _planes(dims: int) -> Rule:
    """Return the rule of an operator that works on the last ``dims`` dimensions."""

    def rule(call: Call) -> Patch | None:
        patch = call.only(0)
        if patch is None or patch.dim >= patch.piece.dim() - dims:
            return None
        return patch.with_piece(call.again(0, patch.piece))

    return rule


def layer_norm(call: Call) -> Patch | None:
    """Normalise the touched rows; a touched scale or shift reaches one feature."""
    value = call.patch(0)
    normalised = len(call.arg(1))
    if value is not None and call.only(0) is not None:
        inside = value.dim >= value.piece.dim() - normalised
        return None if inside else value.with_piece(call.again(0, value.piece))
    return _one_feature(call, normalised)


def _one_feature(call: Call, normalised: int) -> Patch | None:
    """Run the whole operator; a scale or shift of one dimension touches one feature."""
    for position in (2, 3):
        patch = call.only(position) if position < len(call.step.args) else None
        if patch is not None and normalised == 1:
            full = call.again(position, whole(patch, call.arg(position)))
            dim = full.dim() - 1
            piece = full.narrow(dim, patch.start, patch.length)
            return Patch(dim, patch.start, piece)
    return None


def _known(names: str) -> list[Callable[..., Any]]:
    return [getattr(_ATEN, name).default for name in names.split()]


RULES: dict[Any, Rule] = {
    BATCH_NORM: batch_norm,
    _ATEN.layer_norm.default: layer_norm,
    **dict.fromkeys(
        _known(
            "max_pool2d avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d "
            "reflection_pad2d replication_pad2d"
        ),
        _planes(2),
    ),
    **dict.fromkeys(_known("max_pool1d avg_pool1d adaptive_avg_pool1d"), _planes(1)),
    **dict.fromkeys(_known("max_pool3d avg_pool3d adaptive_avg_pool3d"), _planes(3)),
    _ATEN.upsample_nearest2d.vec: _planes(2),
    _ATEN.upsample_bilinear2d.vec: _planes(2),
}
