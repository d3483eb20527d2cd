"""Sizes of uniform samples as the literature computes them, beforehand.

References:
    Leveugle et al., Statistical fault injection, DATE 2009: one sample of all faults.
    Ruospo et al., Assessing convolutional neural networks reliability through
    statistical fault injections, DATE 2023: one sample for each layer, or each bit of
    each layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["sample_sizes"]


def sample_sizes(
    sizes: Mapping[str, int],
    margin: float,
    *,
    confidence: float = 0.95,
    share: float = 0.5,
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

    Raises:
        ValueError: Margin or share is none.
    """
    for name, value in (("margin", margin), ("share", share)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    from scipy.special import ndtri

    quantile = float(ndtri((1 + confidence) / 2))

    def needed(size: int) -> int:
        per_fault = margin**2 / (quantile**2 * share * (1 - share))
        return math.ceil(size / (1 + (size - 1) * per_fault))

    return {name: needed(size) for name, size in sizes.items()}
