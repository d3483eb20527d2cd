"""The adaptive plan: trials where they tell most, until an estimate is good enough."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stoic.plans.allocation import STAKE, Goal
from stoic.plans.contract import Stratum
from stoic.plans.search import Search
from stoic.plans.steps import Known

__all__ = ["Adaptive"]

# Where no precision is asked for, trials are spread as for such a part of the estimate.
_SENSIBLE = 0.1
# An estimate of nothing needs a width, too.
_LEAST = 1e-6


@dataclass(frozen=True)
class Adaptive:
    """Trials in batches, each drawn where the former ones say that it tells most.

    Args:
        half_width: Half the width that the interval shall have at most.
        relative: The same, as a part of the estimate; the first that is met counts.
        guaranteed: Whether the interval must be guaranteed, not approximate.
        most: Trials at most.
        pilot: Trials of the first batch, which shows where to look and is left out of
            the estimate.
        per_trial: Inputs that a trial runs on.
        confidence: Of the interval.
    """

    half_width: float | None = None
    relative: float | None = None
    guaranteed: bool = False
    most: int = 1 << 40
    pilot: int = 400
    per_trial: int = 1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("half_width", "relative"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                shown = name.replace("_", " ")
                raise ValueError(f"{shown} must be between 0 and 1, got {value}")
        for name in ("most", "pilot", "per_trial"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ValueError(f"{name} must be at least 1, got {value}")

    def goal(self, estimate: float) -> Goal:
        """Return what is wanted, given an estimate so far."""
        widths = [self.half_width] if self.half_width else []
        if self.relative or not widths:
            widths.append(max((self.relative or _SENSIBLE) * estimate, _LEAST))
        return Goal(max(widths), self.guaranteed, self.confidence)

    def met(self, value: float, low: float, high: float) -> bool:
        """Say whether an interval is as narrow as was asked for."""
        if self.half_width is None and self.relative is None:
            return False
        width = (high - low) / 2
        wanted = self.half_width is not None and width <= self.half_width
        return wanted or (self.relative is not None and width <= self.relative * value)

    def search(self, strata: Sequence[Stratum], known: Known, seed: int) -> Search:
        """Return the search that draws the batches."""
        return Search(
            strata,
            known,
            self.goal,
            seed=seed,
            pilot=self.pilot,
            most=self.most,
        )

    def outlook(self, strata: Sequence[Stratum], known: Known) -> str:
        """Say what the plan expects to need, before anything is known.

        Raises:
            ValueError: So many trials as are allowed cannot reach what is wanted.
        """
        open_part = (known.size - known.known) / known.size
        hints = sum(s.size * s.hint for s in strata) / known.size
        goal = self.goal(known.failed / known.size + hints)
        unit = "trial" if self.per_trial == 1 else f"trial of {self.per_trial} inputs"
        text = (
            f"{100 * (1 - open_part):.3g} % of the units are proved; "
            f"± {100 * goal.half_width:.3g} points"
        )
        if not self.guaranteed:
            return f"{text} approximately, one {unit} at a time"
        floor = self._least(known, goal)
        if self.most < floor and self.half_width:
            raise ValueError(
                f"trials must be at least {floor} for a half width of "
                f"{self.half_width:g} even if none fails, got {self.most} at most, "
                f"which reach {self._reach(known):.2g}; allow more, or ask for that or "
                "for an approximate interval"
            )
        return f"{text} guaranteed need at least {floor:,} trials, even if none fails"

    def _least(self, known: Known, goal: Goal) -> int:
        """Return how many trials it takes to reach a half width if none fails.

        The interval then begins at what is proved. A mean above its end is rejected by
        bets that are all won, or because less than that is left.
        """
        width, units = 2 * goal.half_width, known.size - known.known

        def enough(trials: int) -> bool:
            rest = (units - trials) / known.size - width
            if rest <= 0:
                return True
            won = math.log1p(STAKE * width / rest)
            return (trials - self.pilot) * won >= goal.wager

        return bisect.bisect_left(range(units), True, key=enough)

    def _reach(self, known: Known) -> float:
        """Return the half width that so many trials as are allowed reach at best."""
        low, high = 0.0, 0.5
        for _ in range(30):
            middle = (low + high) / 2
            goal = Goal(middle, self.guaranteed, self.confidence)
            low, high = (
                (low, middle)
                if self._least(known, goal) <= self.most
                else (middle, high)
            )
        return high

    def as_record(self) -> dict[str, Any]:
        """Name the plan and its settings."""
        return {"name": "adaptive", **asdict(self)}
