"""How many images are looked at until every scenario has been seen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stoic.causes.scores.truth import Truth

__all__ = ["MOST_OVERLAPPING", "RandomOrder", "first_seen", "until_all"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_OVERLAPPING = 16
"""More scenarios that share failures are too many: their subsets are enumerated."""


def first_seen(order: Integers, truth: Truth) -> Integers:
    """Return the number of images looked at when each scenario is first seen.

    Args:
        order: The place of each failure, each once, in the order of looking.
        truth: The scenarios of each failure.
    """
    if len(order) != len(truth) or len(np.unique(order)) != len(order):
        raise ValueError(
            f"order must hold each of the {len(truth)} failures once, "
            f"got {len(np.unique(order))} of them in {len(order)} places"
        )
    return np.asarray(truth.holds[order].argmax(axis=0) + 1)


def until_all(order: Integers, truth: Truth) -> int:
    """Return the number of images looked at when every scenario has been seen."""
    return int(first_seen(order, truth).max())


@dataclass(frozen=True, eq=False)
class RandomOrder:
    """The number of images until all scenarios are seen, in random order; exact.

    The number exceeds n if some scenario lies outside the first n. By inclusion and
    exclusion that is a sum over sets of scenarios, of the chance that none of the
    images of any of them is among the first n.

    Args:
        failures: How many there are.
        signs: By size: how many sets of an odd number of scenarios have so many images
            together, less those of an even number. Sums to 1.
    """

    failures: int
    signs: dict[int, int]

    @classmethod
    def of(cls, truth: Truth) -> RandomOrder:
        """Read off the scenarios of all failures."""
        overlap = bool((truth.holds.sum(axis=1) > 1).any())
        together = _overlapping if overlap else _apart
        return cls(len(truth), together(truth.holds))

    @cached_property
    def seen(self) -> Floats:
        """The chance that all have been seen after 0, 1, ..., all images."""
        drawn = np.arange(self.failures)
        missed = np.zeros(self.failures + 1)
        for size, sign in self.signs.items():
            # None of `size` images among the first n, from one n to the next.
            left = np.clip(self.failures - size - drawn, 0, None)
            none = np.cumprod(left / (self.failures - drawn))
            missed += sign * np.concatenate([[1.0], none])
        return np.asarray(1 - np.clip(missed, 0, 1))

    @property
    def mean(self) -> float:
        """The expected number of images."""
        # The first of m images among N comes at (N + 1) / (m + 1) on average. Exact,
        # as the signs alternate and may be large.
        total = sum(Fraction(sign, size + 1) for size, sign in self.signs.items())
        return float(total * (self.failures + 1))

    def reliable(self, confidence: float = 0.95) -> int:
        """Return how many images show all scenarios with such a probability."""
        return int(np.argmax(self.seen >= confidence - 1e-12))


def _apart(holds: NDArray[np.bool_]) -> dict[int, int]:
    """Sets of scenarios of which no two share a failure: sizes add up."""
    signs = {0: -1}
    for size in holds.sum(axis=0).tolist():
        grown = dict(signs)
        for total, sign in signs.items():
            grown[total + size] = grown.get(total + size, 0) - sign
        signs = grown
    return {size: sign for size, sign in signs.items() if size and sign}


def _overlapping(holds: NDArray[np.bool_]) -> dict[int, int]:
    scenarios = holds.shape[1]
    if scenarios > MOST_OVERLAPPING:
        raise ValueError(
            "scenarios must be at most "
            f"{MOST_OVERLAPPING} where failures belong to several, got {scenarios}; "
            "count combinations as scenarios of their own"
        )
    masks = holds @ (1 << np.arange(scenarios))
    kinds, counts = np.unique(masks, return_counts=True)
    sets = np.arange(1, 1 << scenarios)
    touched = (kinds[None, :] & sets[:, None]) != 0
    sizes = touched @ counts
    odd = np.array([bin(each).count("1") % 2 for each in sets.tolist()])
    signs: dict[int, int] = {}
    for size, sign in zip(sizes.tolist(), (2 * odd - 1).tolist(), strict=True):
        signs[size] = signs.get(size, 0) + sign
    return {size: sign for size, sign in signs.items() if sign}
