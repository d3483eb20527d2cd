"""The knee of a curve: where more of one thing stops to pay off.

References:
    Satopää, Albrecht, Irwin and Raghavan, "Finding a Kneedle in a Haystack", 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FALLBACK", "KNEE", "Knee", "knee"]

KNEE = "knee"
FALLBACK = "middle: no knee"
"""How a place is named that was taken because the curve has no knee."""

_LEAST = 0.02


@dataclass(frozen=True)
class Knee:
    """A place on a curve.

    Args:
        place: Its index.
        by: ``KNEE`` or ``FALLBACK``.
    """

    place: int
    by: str


def knee(
    across: NDArray[np.float64], up: NDArray[np.float64], *, above: bool = False
) -> Knee:
    """Return where a curve is farthest from its chord, both ends not counted.

    A curve that leaves its chord by less than a fiftieth of its height has no knee:
    its middle is taken, and the result says so.

    Args:
        across: Increasing.
        up: The curve at each of these.
        above: Whether the curve bends upwards from its chord rather than downwards.
    """
    rise = up[-1] - up[0]
    run = across[-1] - across[0]
    chord = up[0] + rise * (across - across[0]) / (run or 1)
    away = (up - chord) * (1 if above else -1)
    height = float(np.ptp(up))
    place = int(away.argmax())
    # "Not more" rather than "less": a curve with NaN has no knee, either.
    if len(up) < 3 or not away[place] > _LEAST * height:
        return Knee(len(up) // 2, FALLBACK)
    return Knee(place, KNEE)
