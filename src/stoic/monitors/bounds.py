"""Reference bounds: how far each feature goes where nothing is wrong.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, 2023, section 3: normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "Floats", "bounds_of", "check_finite"]

Floats = NDArray[np.float32]
_TINY = np.float32(1e-8)


@dataclass(frozen=True, eq=False)
class Bounds:
    """The least and the largest value of each feature in fault-free runs.

    Args:
        low: Of each feature.
        high: Likewise.
        rows: How many inputs they come from.
    """

    low: Floats
    high: Floats
    rows: int

    def normalised(self, features: Floats) -> Floats:
        """Return features between 0 and 1, where 0.5 is on a bound and more is outside.

        How far they are away, through a hyperbolic tangent.

        Args:
            features: Of shape ``(rows, features)``.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((np.tanh(self.away(features)) + 1) / 2, np.float32)

    def away(self, features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return how far features are outside; 0 is on a bound and less is inside.

        By how much a feature exceeds its upper bound as a part of that bound, or falls
        below its lower one.

        Args:
            features: Of shape ``(rows, features)``.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            above = (features - self.high) / (np.abs(self.high) + _TINY)
            below = (self.low - features) / (np.abs(self.low) + _TINY)
            return np.where(features < self.low, below, above)

    def span(self, feature: int, threshold: float) -> tuple[float, float]:
        """Return between which values a normalised feature is at most a threshold.

        So a rule about it can be told, and checked, in the units of the marker itself.
        """
        if threshold >= 1:
            return -math.inf, math.inf
        return self.reach(feature, math.atanh(max(2 * threshold - 1, -1 + 1e-12)))

    def reach(self, feature: int, away: float) -> tuple[float, float]:
        """Return between which values a feature is at most so far away."""
        low, high = float(self.low[feature]), float(self.high[feature])
        least = low - max(away, 0.0) * (abs(low) + float(_TINY))
        most = high + away * (abs(high) + float(_TINY))
        with np.errstate(over="ignore"):
            return float(np.float32(least)), float(np.float32(most))


def bounds_of(batches: Iterable[Floats]) -> Bounds:
    """Return the bounds of features that come batch by batch.

    Raises:
        ValueError: There are none, or not all are finite: a network that is not finite
            without a fault cannot be watched.
    """
    low = high = None
    rows = 0
    for batch in batches:
        check_finite(batch, rows)
        least, most = batch.min(0), batch.max(0)
        low = least if low is None else np.minimum(low, least)
        high = most if high is None else np.maximum(high, most)
        rows += len(batch)
    if low is None or high is None:
        raise ValueError("bounds need at least one fault-free input, got none")
    return Bounds(low.astype(np.float32), high.astype(np.float32), rows)


def check_finite(features: Floats, first: int = 0) -> None:
    """Refuse features of fault-free inputs that are no numbers, or infinite.

    Args:
        features: Of shape ``(rows, features)``.
        first: Number of the first input.

    Raises:
        ValueError: There is one.
    """
    if not np.isfinite(features).all():
        row, feature = np.argwhere(~np.isfinite(features))[0]
        raise ValueError(
            "features of fault-free inputs must be finite, got "
            f"{features[row, feature]} for feature {feature} of input {first + row}; "
            "leave the input out, or watch other values"
        )
