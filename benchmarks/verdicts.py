"""What came of a fault, as every tool can say it: one small code for each input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["CRASHED", "FAILED", "NONFINITE", "Codes", "digest", "judge"]

Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
"""One entry per input: 0, or the sum of what holds."""

FAILED = 1
"""The best class is another one than without the fault, or scores are not finite."""
NONFINITE = 2
"""A score is not finite."""
CRASHED = 4
"""The run raised."""


def judge(golden: Tensor, faulty: Tensor) -> Codes:
    """Compare scores of a batch."""
    broken = ~faulty.isfinite().all(-1)
    failed = broken | (golden.argmax(-1) != faulty.argmax(-1))
    codes = failed.to(torch.uint8) * FAILED + broken.to(torch.uint8) * NONFINITE
    found: Codes = codes.cpu().numpy()
    return found


def digest(codes: Mapping[int, Codes], numbers: Iterable[int]) -> str:
    """Return a short digest of the codes of some faults, in their order."""
    total = hashlib.sha256()
    for number in numbers:
        total.update(codes[number].tobytes())
    return total.hexdigest()[:16]
