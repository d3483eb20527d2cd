"""Sizes of uniform samples as the literature computes them, beforehand.

References:
    Leveugle et al., Statistical fault injection, DATE 2009: one sample of all faults.
    Ruospo et al., Assessing convolutional neural networks reliability through
    statistical fault injections, DATE 2023: one sample for each layer, or each bit of
    each layer, the latter with a share of failures by how far bits move the weights.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from statistics import quantiles
from typing import TypeVar

__all__ = ["expected_shares", "sample_sizes"]

_Key = TypeVar("_Key", bound=Hashable)
# Beyond so many widths of the middle half from it, a number is an outlier.
_FENCE = 1.5


def sample_sizes(
    sizes: Mapping[str, int],
    margin: float,
    *,
    confidence: float = 0.95,
    share: float = 0.5,
    shares: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Return how many faults of each stratum a Wald interval of a given margin needs.

    Each stratum gets a sample of its own, without replacement, so that its own share of
    failures is known within the margin. It is the textbook size for coins: a fault that
    fails some of its inputs varies less.

    Args:
        sizes: Faults of each stratum.
        margin: Half the width of its interval.
        confidence: Of the interval.
        share: Of failures that is reckoned with; one half is the worst.
        shares: The same, stratum by stratum; one of 0 gets a single fault.

    Raises:
        ValueError: Margin or share is none.
    """
    for name, value in (("margin", margin), ("share", share)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    from scipy.special import ndtri

    quantile = float(ndtri((1 + confidence) / 2))

    def needed(size: int, share: float) -> int:
        variance = quantile**2 * share * (1 - share)
        if not variance:
            return 1
        return math.ceil(size / (1 + (size - 1) * margin**2 / variance))

    own = shares or {}
    return {name: needed(size, own.get(name, share)) for name, size in sizes.items()}


def expected_shares(distances: Mapping[_Key, float]) -> dict[_Key, float]:
    """Return the share of failures to reckon with for each bit: data-aware, DATE 2023.

    In proportion to how far the bit moves weights on average: 0 for the least of all
    bits, 0.5 for the most, and for outliers, which do not count for the proportion.
    (Outliers are what Tukey's fences leave out.)

    It is a guess from the weights alone: where it is too low, intervals come out wider
    than the margin.

    Args:
        distances: Mean distances that faults move words, by bit.
    """
    known = sorted(distances.values())
    low, high = known[0], known[-1]
    if len(known) > 1:
        first, _, third = quantiles(known, n=4, method="inclusive")
        fence = third + _FENCE * (third - first)
        high = max(value for value in known if value <= fence)

    def share(value: float) -> float:
        if value > high or high == low:
            return 0.5
        return (value - low) / (high - low) / 2

    return {key: share(value) for key, value in distances.items()}
