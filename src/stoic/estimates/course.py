"""The course of an adaptive plan: its batches, and what they say so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from stoic.estimates.estimate import Estimate, Kind
from stoic.estimates.facts import Bools, Integers
from stoic.estimates.martingale import Told, interval
from stoic.estimates.sample import Floats
from stoic.plans import Adaptive, Batch, Draw, Known, Steps, Stratum

__all__ = ["Course", "Portion", "run_course", "without_trials"]

# Limits that differ by less, as a part of them, differ by rounding alone.
_SAME = 1e-12


class _Drawn(Protocol):
    """Units that were drawn together."""

    @property
    def draws(self) -> tuple[Draw, ...]: ...


class _UnderWay(Protocol):
    """A plan that is told what comes of its units."""

    def batch(self) -> _Drawn | None: ...

    def learn(self, low: Floats, high: Floats) -> None: ...


_Any = TypeVar("_Any", bound=_UnderWay)


@dataclass(frozen=True, eq=False)
class Portion:
    """Some of the smallest strata, and what came of all trials.

    Args:
        leaves: Which strata.
        units: How many they hold that are not proved.
        failed: Sum over their proved units.
        low: Share of failed inputs of every trial, at least.
        high: At most.
    """

    leaves: Bools
    units: int
    failed: float
    low: Floats
    high: Floats


class Course:
    """An adaptive plan under way.

    The same trials give the same batches again, so a campaign can be gone on with, and
    estimates can be made of its record alone.

    Args:
        plan: What is wanted.
        strata: As for a search.
        known: What is proved of the population.
        seed: Of all draws.
    """

    def __init__(
        self, plan: Adaptive, strata: Sequence[Stratum], known: Known, seed: int
    ) -> None:
        self.plan, self.known = plan, known
        self._search = plan.search(strata, known, seed) if strata else None
        self._steps: list[Steps] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._reached = math.inf
        self._last = False

    def batch(self) -> Batch | None:
        """Return the next batch, or nothing where the plan is done."""
        if self._search is None or self._is_met():
            return None
        batch = self._search.batch(self._reached)
        if batch is not None:
            self._steps.append(batch.steps)
            self._last = batch.last
        return batch

    def learn(self, low: Floats, high: Floats) -> None:
        """Take what came of the batch, or of its first trials.

        Args:
            low: Share of failed inputs per trial; 0 where it is unknown.
            high: The same; 1 where it is unknown.
        """
        assert self._search is not None
        if len(low) == len(self._steps[-1]):
            self._search.learn((low + high) / 2)
        self._low.append(low)
        self._high.append(high)

    def _is_met(self) -> bool:
        if not self._low or not self.known.size:
            return False
        if not self.steps.weight.any():
            return False
        found = self.estimate(guaranteed=self.plan.guaranteed)
        self._reached = (found.high - found.low) / 2
        # Stopping where an interval happens to be narrow would bias the value.
        return self._last and self.plan.met(found.value, found.low, found.high)

    @property
    def trials(self) -> int:
        """How many trials have been learnt."""
        return sum(map(len, self._low))

    @property
    def expected(self) -> int:
        """How many trials there will be, by what is known so far."""
        return self._search.expected if self._search else 0

    @property
    def drawn(self) -> Integers:
        """The smallest stratum of each trial that has been learnt."""
        found = self.steps.stratum if self.trials else np.zeros(0)
        return np.asarray(found, np.int64)

    @property
    def steps(self) -> Steps:
        """What was known before each trial that has been learnt."""
        return Steps.joined(self._steps).first(self.trials)

    def estimate(
        self,
        *,
        guaranteed: bool,
        confidence: float | None = None,
        about: str = "these inputs",
    ) -> Estimate:
        """Return the estimate of the whole population."""
        level = self.plan.confidence if confidence is None else confidence
        if not self.trials:
            return without_trials(self.known, level, about)
        low, high = np.concatenate(self._low), np.concatenate(self._high)
        below = Told(self.steps, low, self.known)
        above = Told(self.steps, high, self.known)
        *ends, kind = _limits(below, above, level, guaranteed=guaranteed)
        value, least, most = np.clip(ends, 0.0, 1.0).tolist()
        return Estimate(value, least, most, self.trials, level, kind, about)

    def part(
        self, portion: Portion, confidence: float, *, guaranteed: bool
    ) -> tuple[float, float, float, Kind]:
        """Return what some strata add to the population's mean: value, limits, kind.

        All trials count, those outside with nothing: so the estimate is fair however
        the plan came to draw more here than there.
        """
        whole, steps = self.known.size, self.steps.unguided()
        inside = portion.leaves[steps.stratum]
        known = Known(whole, whole - portion.units, portion.failed)
        below = Told(steps, np.where(inside, portion.low, 0.0), known, inside)
        above = replace(below, share=np.where(inside, portion.high, 0.0))
        # Trials without weight, those of the pilot, show no variance.
        guaranteed |= not below.weight[inside].any()
        return _limits(below, above, confidence, guaranteed=guaranteed)


def _limits(
    below: Told, above: Told, confidence: float, *, guaranteed: bool
) -> tuple[float, float, float, Kind]:
    """Return the mean over a population with its limits, and their kind.

    An approximate interval without any width has seen no variance, or lies outside of
    what is possible: then only a guaranteed one says something.
    """
    value, least, most = interval(below, above, confidence, guaranteed=guaranteed)
    if below.certain[0] == above.certain[1]:
        return value, least, most, "census"
    if guaranteed:
        return value, least, most, "guaranteed"
    if most - least <= _SAME * most:
        return _limits(below, above, confidence, guaranteed=True)
    return value, least, most, "approximate"


def without_trials(known: Known, confidence: float, about: str) -> Estimate:
    """Return what proofs alone say of a population."""
    low = known.failed / known.size
    high = low + (known.size - known.known) / known.size
    kind: Kind = "census" if low == high else "guaranteed"
    return Estimate((low + high) / 2, low, high, 0, confidence, kind, about)


def run_course(course: _Any, low: Floats, high: Floats) -> _Any:
    """Take a course through trials that are there, in the order drawn."""
    done = 0
    while done < len(low) and (batch := course.batch()) is not None:
        part = slice(done, done + len(batch.draws))
        course.learn(low[part], high[part])
        done += len(batch.draws)
    return course
