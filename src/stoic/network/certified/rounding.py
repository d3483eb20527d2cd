"""Rounding: what a sum of floats is off by at most, and where that is known at all."""

from __future__ import annotations

import math
import os
from typing import Any

import torch

__all__ = ["OWN", "is_plain", "relative", "smallest"]

OWN = 1e-7
"""What our own float64 arithmetic may be off by, relative; it is less than 1e-8."""

# Fewer correct bits than this are no bound worth having.
_COARSEST = 0.01
# Exponentials may lose results below this many of the smallest normal numbers.
_LOST = 64
_LIBRARY_MODES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def relative(terms: int, dtype: torch.dtype) -> float:
    """Return Higham's gamma: the relative error of so many roundings in a row.

    It holds for a sum of products in any order and blocking, with or without fused
    operations, relative to the sum of the absolute terms.

    Args:
        terms: Roundings between an operand and the result.
        dtype: The format that is rounded to.

    Returns:
        Infinity where there are so many that hardly a bit is right.
    """
    share = terms * torch.finfo(dtype).eps / 2
    return share / (1 - share) if share < _COARSEST else math.inf


def smallest(terms: int, dtype: torch.dtype) -> float:
    """Return what underflows in so many roundings may add to the error."""
    return _LOST * terms * torch.finfo(dtype).tiny


def is_plain(device: torch.device) -> bool:
    """Say whether sums and products are rounded one by one, as IEEE 754 has it.

    Not so on accelerators, in reduced precision (TF32, bfloat16), where denormal
    numbers are flushed, and where convolutions go through a transform (Winograd).
    """
    return (
        device.type == "cpu"
        and torch.get_float32_matmul_precision() == "highest"
        and all(precision in ("none", "ieee") for precision in _precisions())
        and all(os.environ.get(mode, "STRICT") == "STRICT" for mode in _LIBRARY_MODES)
        and not _transforms()
        and bool(torch.tensor(torch.finfo(torch.float32).tiny) / 2 > 0)
    )


def _precisions() -> tuple[str, ...]:
    """Return the modes of sums and products; torch makes these names as it starts."""
    backends: Any = torch.backends
    ours = backends.mkldnn
    each = (backends, ours, ours.conv, ours.matmul)
    return tuple(scope.fp32_precision for scope in each)


def _transforms() -> bool:
    """Say whether a convolution may fall to NNPACK, which oneDNN keeps it from."""
    ours = torch.backends.mkldnn
    return torch.backends.nnpack.is_available() and not (
        ours.is_available() and ours.enabled
    )
