"""Values near the edge of their format, where two ways of summing part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.patch import Patch
from stoic.network.program import as_reshape

__all__ = ["BOUNDED", "near_overflow", "too_large"]

_ATEN = torch.ops.aten
BOUNDED = frozenset(
    (
        as_reshape,
        _ATEN.relu.default,
        _ATEN.relu6.default,
        _ATEN.hardtanh.default,
        _ATEN.max_pool2d.default,
        _ATEN.reshape.default,
        _ATEN.flatten.using_ints,
        _ATEN.permute.default,
        _ATEN.transpose.int,
    )
)
"""Operators whose results are no larger than what they read, or than a few."""

# Closer to the largest number of the format than this is not trusted.
_FACTOR = 1000


def near_overflow(value: Any, growth: float = 1.0) -> bool:
    """Say whether a value, grown so much, would come close to an overflow; NaN is."""
    value = value.piece if isinstance(value, Patch) else value
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    if not value.numel():
        return False
    low, high = torch.aminmax(_in_order(value))
    edge = torch.finfo(value.dtype).max / _FACTOR / max(growth, 1.0)
    return not (-low.item() < edge and high.item() < edge)


def _in_order(value: Tensor) -> Tensor:
    """Return the same words as they lie in memory: others would be copied first."""
    if value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last):
        return value.permute(0, 2, 3, 1)
    return value


def too_large(values: Tensor) -> bool:
    """Say whether any of some values is one that fast steps refuse to begin with.

    Far below the largest number, so that few of them grow until they come near it.
    """
    if not values.is_floating_point():
        return False
    return not bool(values.abs().max() < torch.finfo(values.dtype).max ** 0.5)
