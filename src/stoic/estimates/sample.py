"""Trials that were drawn from one stratum, or from the part of it in a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Floats", "Sample"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

# Beyond this, drawing without replacement cannot be told from drawing with it, and
# floats no longer count one by one.
_ENDLESS = 1 << 53


@dataclass(frozen=True)
class Sample:
    """Trials in the order in which their faults were drawn, uniformly, from a stratum.

    The fault is the unit: a trial counts by the share of its inputs that failed,
    however many inputs it had.

    Args:
        low: Share of failed inputs per trial; 0 where it is unknown.
        high: The same; 1 where it is unknown.
        size: Number of faults in the stratum.
        replacement: Whether a fault could be drawn again.
        horizon: Trials that the plan expects here. It may not depend on outcomes.
        coins: Whether the design allows no other shares than 0 and 1.
    """

    low: Floats
    high: Floats
    size: int
    replacement: bool = False
    horizon: int = 0
    coins: bool = False

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape or self.low.ndim != 1:
            raise ValueError(
                "low and high must have one share per trial each, "
                f"got shapes {self.low.shape} and {self.high.shape}"
            )
        if not ((self.low >= 0) & (self.low <= self.high) & (self.high <= 1)).all():
            raise ValueError("shares must be in order within 0..1, got others")
        if not self.replacement and self.n > self.size:
            raise ValueError(
                f"trials must be at most the {self.size} faults there are, got {self.n}"
            )

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.low)

    @property
    def finite(self) -> int | None:
        """Size of the population from which trials take their faults away, if any."""
        endless = self.replacement or self.size >= _ENDLESS
        return None if endless else self.size

    @property
    def complete(self) -> bool:
        """Whether every fault was tried."""
        return not self.replacement and self.n == self.size

    @property
    def value(self) -> float:
        """Mean share over the trials of which it is known; one half if of none."""
        known = self.low == self.high
        return float(self.low[known].mean()) if known.any() else 0.5

    @property
    def planned(self) -> int:
        """Trials that the bets are tuned for, at least one."""
        return max(1, self.horizon or self.n)

    @property
    def strength(self) -> float:
        """Trials with replacement that would tell as much as the planned ones."""
        if self.finite is None:
            return float(self.planned)
        planned = min(self.planned, self.finite - 1) or 1
        return planned * self.finite / max(self.finite - planned, 1)
