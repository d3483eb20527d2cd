"""How good the pipelines of each level are, beside all others."""

from __future__ import annotations

from dataclasses import dataclass

from stoic.causes.effects.pairs import a12
from stoic.causes.effects.runs import Runs

__all__ = ["Standing", "standings"]


@dataclass(frozen=True)
class Standing:
    """One level of a factor, against its other levels.

    Args:
        level: Which.
        mean: Of its scores.
        ahead: How probably one of its scores is above one of another level (A12); None
            if there is no other.
    """

    level: str
    mean: float
    ahead: float | None


def standings(runs: Runs, factor: str) -> tuple[Standing, ...]:
    """Return all levels of a factor, that of the largest mean first."""
    labels = runs.column(factor)
    found = []
    for level in runs.levels(factor):
        own, others = runs.scores[labels == level], runs.scores[labels != level]
        ahead = a12(own, others) if len(others) else None
        found.append(Standing(level, float(own.mean()), ahead))
    return tuple(sorted(found, key=lambda each: -each.mean))
