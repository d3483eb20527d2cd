"""What one forward pass at batch 32 takes: the unit in which estimates are costed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program

__all__ = ["BATCH", "forward_seconds"]

BATCH = 32
_RUNS = 7


@torch.inference_mode()
def forward_seconds(
    program: Program, leaves: Sequence[Any], size: int = BATCH
) -> float:
    """Return the processor's seconds of a run at batch 32: the median of some.

    Args:
        program: In its own format.
        leaves: A batch, one entry per input; repeated where it is smaller.
        size: Of the batch, where the program has one of its own.
    """
    batch = [_repeated(leaf, size) for leaf in leaves]
    spent = []
    for _ in range(_RUNS):
        begun = time.process_time()
        program.run(batch)
        spent.append(time.process_time() - begun)
    return sorted(spent)[_RUNS // 2]


def _repeated(leaf: Any, size: int) -> Any:
    if not isinstance(leaf, Tensor) or not leaf.dim():
        return leaf
    times = -(-size // len(leaf))
    return leaf.repeat(times, *[1] * (leaf.dim() - 1))[:size]
