"""Fields: the words of a site, and what is known of changes to them beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from stoic.faults.models import Corruption
from stoic.network.sites import Site
from stoic.population.bins import binned, put

__all__ = ["FAILS", "HOLDS", "OPEN", "Field", "Some", "Verdicts", "numbers_of"]

# What is proved of a change.
OPEN = -1
# In place of the bin of a unit whose verdict is proved.
HOLDS, FAILS = 252, 253
_CODES = 256
# So many codes are worth a table of pairs.
_MANY = 1 << 18
# Columns are picked where that leaves fewer than such a part of them.
_FEW = 0.7

Some: TypeAlias = "NDArray[np.int64] | slice"


class Verdicts(Protocol):
    """What is proved of changes to the words of a site."""

    def holding(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which words may change so in every row; some of them, quickly."""
        ...

    def __call__(
        self, old: NDArray[Any], new: NDArray[Any], columns: Some, rows: Some
    ) -> NDArray[np.int8]:
        """Return the verdicts of some words: 1 fails, 0 holds, -1 is not known.

        Args:
            old: Words before, of shape ``(1, columns)``.
            new: After.
            columns: Which elements they are.
            rows: Those asked for.
        """
        ...


@dataclass(frozen=True)
class Field:
    """The words of a site, row by row.

    A row is a block of inputs; the words of a parameter are the same in all of them.

    Args:
        site: Where.
        words: Of shape ``(rows, elements)``, or ``(1, elements)`` if shared.
        slopes: Of the lead per change of the word, likewise.
        rows: Number of blocks of inputs.
        verdicts: What is proved of changes to shared words.
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

    def codes(
        self, corruption: Corruption, rows: Some = slice(None)
    ) -> NDArray[np.uint8]:
        """Return the bin of every word under a corruption, or that it is proved.

        There is one row for all of them where they cannot be told apart. A fault that
        leaves the word as it is fails nothing.

        Args:
            corruption: Of one word.
            rows: Those asked for.
        """
        some, columns = self._some(corruption, rows)
        codes = np.full((len(some), self.words.shape[1]), HOLDS, np.uint8)
        codes[:, columns] = some
        return codes

    def counts(self, corruption: Corruption) -> NDArray[np.int64]:
        """Return how many words of each row have each code."""
        some, _ = self._some(corruption, slice(None))
        counts = np.array([_counted(row) for row in some])
        counts[:, HOLDS] += self.words.shape[1] - some.shape[1]
        return counts

    def _some(
        self, corruption: Corruption, rows: Some
    ) -> tuple[NDArray[np.uint8], Some]:
        """Return codes of some columns, and which they are; the others surely hold."""
        words = self.words if len(self.words) == 1 else self.words[rows]
        new = changed_words(words, corruption)
        columns = self._doubtful(words, new)
        words, new = _picked(words, columns), _picked(new, columns)
        slopes = self.slopes if len(self.slopes) == 1 else self.slopes[rows]
        old, after = (_about(each, self.site.dtype) for each in (words, new))
        with np.errstate(invalid="ignore", over="ignore"):
            codes = binned(after - old, _picked(slopes, columns), self._typical)
        if self.verdicts is not None:
            found = self.verdicts(words, new, columns, rows)
            codes = np.array(np.broadcast_to(codes, found.shape))
            put(codes, found == 0, np.uint8(HOLDS))
            put(codes, found == 1, np.uint8(FAILS))
        put(codes, np.broadcast_to(new == words, codes.shape), np.uint8(HOLDS))
        return codes, columns

    def _doubtful(self, old: NDArray[Any], new: NDArray[Any]) -> Some:
        """Return the words that may not change so in every row."""
        if len(old) > 1:
            return slice(None)
        surely = old[0] == new[0]
        if self.verdicts is not None:
            surely |= self.verdicts.holding(old[0], new[0])
        columns = np.flatnonzero(~surely)
        return columns if columns.size < _FEW * surely.size else slice(None)


def _counted(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each code is there, two at a time where there are many."""
    if codes.size < _MANY:
        return np.bincount(codes, minlength=_CODES)
    even = codes.size // 2 * 2
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=_CODES**2)
    each = pairs.reshape(_CODES, _CODES)
    last = np.bincount(codes[even:], minlength=_CODES)
    return np.asarray(each.sum(0) + each.sum(1) + last)


def _picked(values: NDArray[Any], columns: Some) -> NDArray[Any]:
    """Return some columns: many times quicker than by an index in brackets."""
    if isinstance(columns, slice):
        return values[:, columns]
    return np.take(values, columns, axis=1)


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
