"""Fields: the words of a site, and what is known of changes to them beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from stoic.faults.models import Corruption
from stoic.network.sites import Site
from stoic.population.bins import binned

__all__ = ["Field", "Verdicts", "numbers_of"]

Verdicts: TypeAlias = Callable[[NDArray[Any], NDArray[Any], slice], NDArray[np.int8]]
"""From old and new words, and rows asked for, to what is proved of each: 1 fails, 0
holds, -1 is not known."""

OPEN = -1


@dataclass(frozen=True)
class Field:
    """The words of a site, row by row.

    A row is a block of inputs; the words of a parameter are the same in all of them.

    Args:
        site: Where.
        words: Of shape ``(rows, elements)``, or ``(1, elements)`` if shared.
        slopes: Of the lead per change of the word, likewise.
        rows: Number of blocks of inputs.
        verdicts: What is proved of changes; of shape ``(rows, elements)``.
    """

    site: Site
    words: NDArray[Any]
    slopes: NDArray[Any]
    rows: int
    verdicts: Verdicts | None = None

    @property
    def apart(self) -> bool:
        """Whether rows can be told apart at all."""
        alike = len(self.words) == len(self.slopes) == 1
        return self.rows > 1 and not (alike and self.verdicts is None)

    @cached_property
    def _typical(self) -> float:
        """The middle slope of those words that have any."""
        some = self.slopes[np.isfinite(self.slopes) & (self.slopes > 0)]
        return float(np.median(some)) if some.size else 1.0

    def looked_at(
        self, corruption: Corruption, rows: slice = slice(None)
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Return bin and proved verdict of every word under a corruption, row by row.

        There is one row for all of them where they cannot be told apart. A fault that
        leaves the word as it is fails nothing.

        Args:
            corruption: Of one word.
            rows: Those asked for.
        """
        words = self.words if len(self.words) == 1 else self.words[rows]
        slopes = self.slopes if len(self.slopes) == 1 else self.slopes[rows]
        new = changed_words(words, corruption)
        old, after = (_about(each, self.site.dtype) for each in (words, new))
        with np.errstate(invalid="ignore", over="ignore"):
            bins = binned(after - old, slopes, self._typical)
        kept = new == words
        if self.verdicts is None:
            return bins, np.where(kept, np.int8(0), np.int8(OPEN))
        return bins, np.where(kept, np.int8(0), self.verdicts(words, new, rows))


def changed_words(words: NDArray[Any], corruption: Corruption) -> NDArray[Any]:
    """Return words after a corruption, which keeps some bits and inverts some."""
    keep, flip = (words.dtype.type(mask) for mask in (corruption.keep, corruption.flip))
    return np.asarray((words & keep) ^ flip)


def _about(words: NDArray[Any], dtype: torch.dtype) -> NDArray[Any]:
    """Return numbers good enough for a bin: those of float32 are not widened."""
    return (
        words.view(np.float32) if dtype == torch.float32 else numbers_of(words, dtype)
    )


def numbers_of(words: NDArray[Any], dtype: torch.dtype) -> NDArray[np.float64]:
    """Return the numbers that unsigned words stand for."""
    signed = torch.from_numpy(words.view(f"i{words.itemsize}"))
    if dtype == torch.bool:
        return np.asarray(words != 0, np.float64)
    return signed.view(dtype).double().numpy()
