"""By how much outputs moved: word by word and number by number, for each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.words import as_words

__all__ = ["Moved", "differing", "gaps", "taken"]


@dataclass(frozen=True)
class Moved:
    """By how much each row moved, and how many of its values broke."""

    nonfinite: NDArray[Any]
    deviation: NDArray[Any]

    def of(self, rows: NDArray[Any]) -> Moved:
        """Return some rows."""
        return Moved(self.nonfinite[rows], self.deviation[rows])


def differing(golden: Any, faulty: Any, count: int) -> NDArray[Any]:
    """Say for each row whether any of its words is another one."""
    differs = np.zeros(count, bool)
    for a, b in _pairs(golden, faulty):
        if a.shape != b.shape:
            # As of boxes found: they belong to no input and cannot be subtracted.
            differs[:] = True
            continue
        a, b = (_rowed(t, count) for t in (a, b))
        differs |= (
            (as_words(a.contiguous()) != as_words(b.contiguous())).any(1).cpu().numpy()
        )
    return differs


def gaps(golden: Any, faulty: Any, count: int, rows: Tensor | None = None) -> Moved:
    """Compare outputs over all tensors with a row per input, or some of the rows."""
    size = count if rows is None else len(rows)
    nonfinite = np.zeros(size, np.int64)
    deviation = np.zeros(size, np.float32)
    for a, b in _pairs(golden, faulty):
        if a.shape == b.shape:
            a, b = (_rowed(t, count) for t in (a, b))
            if rows is not None:
                a, b = taken(a, rows), taken(b, rows)
            gap, broken = _gap(a, b)
            deviation = np.maximum(deviation, gap.cpu().numpy())
            nonfinite += broken.cpu().numpy()
    return Moved(nonfinite, deviation)


def _pairs(golden: Any, faulty: Any) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = zip(pytree.tree_leaves(golden), pytree.tree_leaves(faulty), strict=True)
    return ((a, b) for a, b in pairs if isinstance(a, Tensor) and a.numel() + b.numel())


def taken(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return some rows, ascending; all of them as they are."""
    if len(rows) == len(tensor):
        return tensor
    return tensor.index_select(0, rows.to(tensor.device))


def _gap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest finite difference of each row, and how many values broke."""
    if not len(a):
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    short = a.dtype.is_floating_point and a.element_size() <= 4
    kind = torch.float32 if short else torch.float64
    gap = (b.to(kind) - a.to(kind)).abs_()
    largest = gap.amax(1)
    if bool((largest < torch.finfo(kind).max).all()):
        return largest.float(), torch.zeros(len(a), dtype=torch.int64)
    # The difference of two large numbers may be finite in double precision only.
    gap = (b.double() - a.double()).abs_()
    broken = (~b.isfinite() & a.isfinite()).sum(1)
    return torch.where(gap.isfinite(), gap, 0.0).amax(1).float(), broken


def _rowed(tensor: Tensor, inputs: int) -> Tensor:
    """Return a tensor as one row per input; what has no rows belongs to every input."""
    if tensor.dim() and tensor.shape[0] == inputs:
        return tensor.reshape(inputs, -1)
    return tensor.reshape(1, -1).expand(inputs, -1)
