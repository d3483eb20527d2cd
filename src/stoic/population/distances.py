"""Distances: how far faults move the words of a network, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stoic.faults.formats import flat_words
from stoic.faults.space import Block
from stoic.network.sites import Site
from stoic.population.fields import changed_words, numbers_of

__all__ = ["mean_distances"]


def mean_distances(
    blocks: Sequence[Block], tensor_of: Callable[[Site], Tensor]
) -> dict[tuple[str, int], float]:
    """Return how far a fault moves a word on average, by format and bit.

    What is no finite number afterwards has moved as far as the largest number.

    Args:
        blocks: Of one bit each, in stored values.
        tensor_of: The words that are stored at a site.
    """
    sums: dict[tuple[str, int], float] = {}
    words: dict[tuple[str, int], int] = {}
    for block in blocks:
        key = (block.format.name, block.bits[0])
        moved = _moved(block, tensor_of(block.site))
        sums[key] = sums.get(key, 0.0) + float(moved.sum())
        words[key] = words.get(key, 0) + moved.size
    return {key: total / words[key] for key, total in sums.items()}


def _moved(block: Block, tensor: Tensor) -> NDArray[np.float64]:
    old = flat_words(tensor)
    new = changed_words(old, block.fault(0).corruption)
    before, after = (numbers_of(each, block.site.dtype) for each in (old, new))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.abs(after - before)
    # Sums of the largest numbers stay finite.
    most = np.finfo(np.float64).max / max(moved.size, 1) / 2**10
    return np.nan_to_num(np.minimum(moved, most), nan=most, posinf=most)
