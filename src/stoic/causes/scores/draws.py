"""A number over random draws, with the interval that holds most of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Draws"]


@dataclass(frozen=True)
class Draws:
    """A number over draws: what it is on average, and where it mostly lies.

    Args:
        mean: Over all draws that have the number.
        low: A twentieth of them, halved, lies below.
        high: Likewise above.
        n: How many have it.
    """

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Draws | None:
        """Return what draws tell; None if none of them has the number."""
        known = np.array([value for value in values if value is not None], float)
        if not len(known):
            return None
        low, high = np.quantile(known, (0.025, 0.975))
        return cls(float(known.mean()), float(low), float(high), len(known))

    def as_record(self) -> dict[str, float | int]:
        """Return plain data."""
        return asdict(self)
