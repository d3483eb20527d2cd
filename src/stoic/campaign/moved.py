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
    """By how much each row moved, how many of its values broke, and where.

    Args:
        nonfinite: How many finite values of the row are no longer.
        nonfinite_at: Flat index of the first of them among all values of the row, over
            the tensors of the output one after the other; -1 where there is none.
        deviation: The largest finite difference.
    """

    nonfinite: NDArray[Any]
    nonfinite_at: NDArray[Any]
    deviation: NDArray[Any]

    def of(self, rows: NDArray[Any]) -> Moved:
        """Return some rows."""
        return Moved(
            self.nonfinite[rows], self.nonfinite_at[rows], self.deviation[rows]
        )


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
    moved = Moved(
        np.zeros(size, np.int64), np.full(size, -1), np.zeros(size, np.float32)
    )
    before = 0
    for a, b in _pairs(golden, faulty):
        if a.shape == b.shape:
            a, b = (_rowed(t, count) for t in (a, b))
            if rows is not None:
                a, b = taken(a, rows), taken(b, rows)
            moved = _joined(moved, _moved(a, b), before)
            before += a.shape[1]
    return moved


def _joined(moved: Moved, more: Moved, before: int) -> Moved:
    """Add what became of another tensor, whose values come after so many others."""
    here = (moved.nonfinite_at < 0) & (more.nonfinite_at >= 0)
    return Moved(
        moved.nonfinite + more.nonfinite,
        np.where(here, before + more.nonfinite_at, moved.nonfinite_at),
        np.maximum(moved.deviation, more.deviation),
    )


def _pairs(golden: Any, faulty: Any) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = zip(pytree.tree_leaves(golden), pytree.tree_leaves(faulty), strict=True)
    return ((a, b) for a, b in pairs if isinstance(a, Tensor) and a.numel() + b.numel())


def taken(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return some rows, ascending; all of them as they are."""
    if len(rows) == len(tensor):
        return tensor
    return tensor.index_select(0, rows.to(tensor.device))


def _moved(a: Tensor, b: Tensor) -> Moved:
    """Return by how much each row of a tensor moved."""
    none, whole = np.zeros(len(a), np.int64), np.full(len(a), -1)
    if not len(a):
        return Moved(none, whole, np.zeros(0, np.float32))
    short = a.dtype.is_floating_point and a.element_size() <= 4
    kind = torch.float32 if short else torch.float64
    gap = (b.to(kind) - a.to(kind)).abs_()
    largest = gap.amax(1)
    if bool((largest < torch.finfo(kind).max).all()):
        return Moved(none, whole, largest.float().cpu().numpy())
    # The difference of two large numbers may be finite in double precision only.
    gap = (b.double() - a.double()).abs_()
    broken = ~b.isfinite() & a.isfinite()
    count = broken.sum(1)
    first = broken.int().argmax(1).masked_fill(count == 0, -1)
    finite = torch.where(gap.isfinite(), gap, 0.0).amax(1).float()
    return Moved(*(fact.cpu().numpy() for fact in (count, first, finite)))


def _rowed(tensor: Tensor, inputs: int) -> Tensor:
    """Return a tensor as one row per input; what has no rows belongs to every input."""
    if tensor.dim() and tensor.shape[0] == inputs:
        return tensor.reshape(inputs, -1)
    return tensor.reshape(1, -1).expand(inputs, -1)
