"""What leaves the statistics: a number with its interval, and a verdict on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Estimate", "Kind", "Verdict", "verdict"]

Kind = Literal["census", "exact", "guaranteed", "approximate"]
Verdict = Literal["below", "above", "not shown"]


@dataclass(frozen=True)
class Estimate:
    """A mean in [0, 1] with its interval.

    Both limits are one-sided limits at ``(1 + confidence) / 2``: those of a 90 %
    interval are one-sided 95 % limits.

    Args:
        value: Mean over the trials, weighted as the plan asks.
        low: Lower limit.
        high: Upper limit.
        n: Number of trials.
        confidence: That the interval covers the truth.
        kind: ``census``: every fault was tried. ``exact``: limits of a count.
            ``guaranteed``: covers with at least the confidence, at any number of
            trials. ``approximate``: covers about so often, with many trials.
        about: What varies, and what is held fixed.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    kind: Kind
    about: str

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError(
                "low, value and high must be in order within 0..1, "
                f"got {self.low}, {self.value}, {self.high}"
            )

    def __str__(self) -> str:
        if self.low == self.high:
            how = f"all {self.n:,} faults tried" if self.n else "proved, without trials"
            return f"{100 * self.value:.4g} % ({how})"
        # Two digits of the interval's half-width, at least one after the point.
        places = max(1, 1 - math.floor(math.log10(50 * (self.high - self.low))))
        value, low, high = (
            f"{100 * x:.{places}f}" for x in (self.value, self.low, self.high)
        )
        kind = "interval of logic" if self.kind == "census" else f"{self.kind} interval"
        return f"{value} % ({100 * self.confidence:g} % {kind} {low} to {high} %)"


def verdict(estimate: Estimate, threshold: float) -> Verdict:
    """Say whether an estimate is shown to lie below or above a threshold.

    Each side is tested alone: give an estimate at confidence 0.90 for a one-sided test
    at 95 %.
    """
    if estimate.high < threshold:
        return "below"
    return "above" if estimate.low > threshold else "not shown"
