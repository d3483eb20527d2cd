"""Limits of a share from a count, where every trial fails all of its inputs or none."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from stoic.estimates.sample import Floats

__all__ = ["coin_lower", "coin_upper", "wilson"]


def coin_upper(failures: int, n: int, size: int | None, level: float) -> float:
    """Return the exact upper limit of a share, wrong with probability ``level``.

    Clopper-Pearson with replacement; without it, the largest count of failing faults
    that the hypergeometric distribution does not reject.

    Args:
        failures: Trials that failed.
        n: Trials.
        size: Faults in the population, or nothing when drawn with replacement.
        level: Probability that the share lies above the limit.
    """
    if size is None:
        return _clopper_pearson(failures, n, level)
    return _largest(failures, n, size, level) / size


def coin_lower(failures: int, n: int, size: int | None, level: float) -> float:
    """Return the exact lower limit of a share, wrong with probability ``level``."""
    if size is None:
        return 1 - _clopper_pearson(n - failures, n, level)
    return (size - _largest(n - failures, n, size, level)) / size


def wilson(
    failures: int, n: int, size: int | None, confidence: float
) -> tuple[float, float]:
    """Return the approximate limits of Wilson, narrowed for a finite population."""
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    # As many trials with replacement as have the same variance.
    told = n if size is None else n * (size - 1) / max(size - n, 1)
    share, shrink = failures / n, 1 + z**2 / told
    centre = (share + z**2 / (2 * told)) / shrink
    half = z * math.sqrt(share * (1 - share) / told + (z / (2 * told)) ** 2) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def _clopper_pearson(failures: int, n: int, level: float) -> float:
    from scipy.special import betaincinv

    if failures == n:
        return 1.0
    return float(betaincinv(failures + 1, n - failures, 1 - level))


@lru_cache(maxsize=1 << 14)
def _largest(failures: int, n: int, size: int, level: float) -> int:
    """The largest number of failing faults that so few failures do not reject."""
    # Not rejected: as many as were seen. Rejected: so many that more must be seen.
    kept, rejected = failures, size - n + failures + 1
    guess = math.ceil(size * _clopper_pearson(failures, n, level))
    step = max(1, guess - kept)
    while rejected - kept > 1:
        middle = min(kept + step, rejected - 1) if step else (kept + rejected) // 2
        if _tail(failures, n, middle, size) > level:
            kept = middle
        else:
            rejected, step = middle, 0
    return kept


def _tail(failures: int, n: int, failing: int, size: int) -> float:
    """The probability to see at most ``failures``, of ``failing`` among ``size``."""
    first, chances = _chances(n, failing, size)
    return float(chances[: max(0, failures - first + 1)].sum())


def _chances(n: int, failing: int, size: int) -> tuple[int, Floats]:
    """The hypergeometric probabilities near the mean, from the first count on.

    They follow from the ratios of neighbours, so nothing is lost in large populations;
    what is left out has less than 1e-16 in all.
    """
    share = failing / size
    mean = n * share
    spread = 10 * math.sqrt(mean * (1 - share)) + 40
    first = max(0, n + failing - size, math.floor(mean - spread))
    last = min(n, failing, math.ceil(mean + spread))
    count = np.arange(first, last, dtype=np.float64)
    more = (failing - count) * (n - count)
    less = (count + 1) * (size - failing - n + count + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(more / less))])
    chances = np.exp(logs - logs.max())
    return first, chances / chances.sum()
