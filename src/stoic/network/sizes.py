"""Values near the edge of their format, where two ways of summing part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.patch import Patch

__all__ = ["near_overflow", "too_large"]

# Closer to the largest number of the format than this is not trusted.
_FACTOR = 1000


def near_overflow(value: Any, growth: float = 1.0) -> bool:
    """Say whether a value, grown so much, would come close to an overflow; NaN is."""
    value = value.piece if isinstance(value, Patch) else value
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    if not value.numel():
        return False
    low, high = torch.aminmax(value)
    edge = torch.finfo(value.dtype).max / _FACTOR / max(growth, 1.0)
    return not bool(torch.maximum(-low, high) < edge)


def too_large(values: Tensor) -> bool:
    """Say whether any of some values is one that fast steps refuse to begin with.

    Far below the largest number, so that few of them grow until they come near it.
    """
    if not values.is_floating_point():
        return False
    return not bool(values.abs().max() < torch.finfo(values.dtype).max ** 0.5)
