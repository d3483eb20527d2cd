"""The course of a plan that is fixed beforehand, on units: its draws, what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stoic.estimates.course import Course, Portion, without_trials
from stoic.estimates.design import student
from stoic.estimates.estimate import Estimate, Kind
from stoic.estimates.facts import Bools, Integers
from stoic.estimates.mean import Interval, estimate_mean
from stoic.estimates.sample import Floats, Sample
from stoic.plans import Adaptive, Known, Lot, Preset, Stratum
from stoic.plans.steps import check_partition

__all__ = ["PresetCourse", "course_of"]

# Drawn with replacement: the size plays no part.
_ENDLESS = 1 << 60
# Half a width that is less, as a part of all units, is one of rounding alone.
_SAME = 1e-12


class PresetCourse:
    """A preset plan under way: one batch, estimated from its first trials on.

    Args:
        plan: How units are drawn.
        strata: With parts down to the smallest ones.
        known: What is proved of the population.
        seed: Of all draws.
    """

    def __init__(
        self, plan: Preset, strata: Sequence[Stratum], known: Known, seed: int
    ) -> None:
        self.plan, self.known = plan, known
        self._lot = plan.lot(strata, seed) if strata else None
        leaves = [list(stratum.leaves()) for stratum in strata]
        check_partition([leaf for own in leaves for leaf in own], known)
        self._sizes = np.array([leaf.size for own in leaves for leaf in own], float)
        self._outer = np.repeat(np.arange(len(leaves)), list(map(len, leaves)))
        self._low = self._high = np.zeros(0)
        self._asked = False

    def batch(self) -> Lot | None:
        """Return the draws, once."""
        if self._asked or self._lot is None:
            return None
        self._asked = True
        return self._lot

    def learn(self, low: Floats, high: Floats) -> None:
        """Take what came of the first trials: shares of failed inputs."""
        self._low, self._high = low, high

    @property
    def trials(self) -> int:
        """How many trials have been learnt."""
        return len(self._low)

    @property
    def expected(self) -> int:
        """How many trials there will be."""
        return len(self._lot.draws) if self._lot else 0

    @property
    def drawn(self) -> Integers:
        """The smallest stratum of each trial that has been learnt."""
        draws = self._lot.draws[: self.trials] if self._lot else ()
        return np.array([draw.stratum for draw in draws], np.int64)

    def estimate(
        self,
        *,
        guaranteed: bool,
        confidence: float = 0.95,
        about: str = "these inputs",
    ) -> Estimate:
        """Return the estimate of the whole population."""
        if not self.trials:
            return without_trials(self.known, confidence, about)
        everywhere = np.ones(len(self._sizes), np.bool_)
        units = self.known.size - self.known.known
        whole = Portion(everywhere, units, self.known.failed, self._low, self._high)
        value, low, high, kind = self.part(whole, confidence, guaranteed=guaranteed)
        return Estimate(value, low, high, self.trials, confidence, kind, about)

    def part(
        self, portion: Portion, confidence: float, *, guaranteed: bool
    ) -> tuple[float, float, float, Kind]:
        """Return what some strata add to the population's mean: value, limits, kind."""
        units, low, high = portion.units, portion.low, portion.high
        inside = portion.leaves[self.drawn]
        interval: Interval = "guaranteed" if guaranteed else "approximate"
        if self.plan.design == "importance":
            low, high = np.where(inside, low, 0.0), np.where(inside, high, 0.0)
            found = self._weighted(low, high, inside, units, confidence, interval)
        elif inside.any():
            samples = self._samples(portion.leaves, inside, low, high)
            mean = estimate_mean(samples, confidence=confidence, interval=interval)
            ends = units * np.array([mean.value, mean.low, mean.high])
            found = (*ends.tolist(), mean.kind)
        else:
            found = units / 2, 0.0, float(units), "guaranteed"
        value, least, most = (
            (portion.failed + min(max(own, 0.0), units)) / self.known.size
            for own in found[:3]
        )
        return value, min(least, value), max(most, value), found[3]

    def _samples(
        self, leaves: Bools, inside: Bools, low: Floats, high: Floats
    ) -> list[Sample]:
        """Return the trials inside, by the stratum that they were drawn from.

        Given how many fell there, they are a uniform sample of its units there.
        """
        assert self._lot is not None
        several = len(self._lot.sizes) > 1
        outer = self._outer if several else np.zeros_like(self._outer)
        sizes = np.bincount(outer[leaves], self._sizes[leaves], len(self._lot.sizes))
        group = self._lot.group[: self.trials]
        coins = self.plan.per_trial == 1
        return [
            Sample(low[rows], high[rows], int(sizes[number]), coins=coins)
            for number in np.flatnonzero(sizes)
            for rows in [inside & (group == number)]
        ]

    def _weighted(
        self,
        low: Floats,
        high: Floats,
        inside: Bools,
        units: int,
        confidence: float,
        interval: Interval,
    ) -> tuple[float, float, float, Kind]:
        """Return the sum over units, from draws that speak for more than one each.

        Draws are independent, and no share times its weight is above 1 / even: bets on
        them hold whatever the scores are worth. They are needed, too, where draws have
        shown no variance, or chance took the approximate interval above all units.
        """
        assert self._lot is not None
        weight, whole = self._lot.weight[: len(low)], sum(self._lot.sizes)
        even = self.plan.even
        # Rounding must not take a bounded number above its bound.
        least, most = (np.minimum(x * weight * even, 1.0) for x in (low, high))
        value = float(((low + high) / 2 * weight).mean()) * whole
        if interval == "approximate":
            half = self._half(low, high, inside, confidence) * whole
            if half > _SAME * whole and value - half < units:
                return value, value - half, value + half, "approximate"
        sample = Sample(least, most, _ENDLESS, True, self.plan.trials)
        mean = estimate_mean([sample], confidence=confidence)
        return value, mean.low * whole / even, mean.high * whole / even, "guaranteed"

    def _half(
        self, low: Floats, high: Floats, inside: Bools, confidence: float
    ) -> float:
        """Return half the width of an approximate interval of the mean.

        Of draws from strata that have had no failure, half a one counts as failed: what
        scores call harmless speaks for most. Student's t has as many degrees of freedom
        as there are draws that the variance hangs on.
        """
        assert self._lot is not None
        n, weight = len(low), self._lot.weight[: len(low)]
        outer = self._outer[self.drawn]
        failures = np.bincount(outer, high, self._outer[-1] + 1)
        quiet = inside & (failures[outer] == 0)
        said = (low + high) / 2 * weight
        parts = ((said - said.mean()) / n) ** 2 * n / max(n - 1, 1)
        rare = 0.5 / (quiet.sum() + 1) * ((weight[quiet] / n) ** 2).sum()
        variance = float(parts.sum() + rare)
        free = float(parts.sum()) ** 2 / max(float((parts**2).sum()), 1e-300)
        unknown = float(((high - low) / 2 * weight).mean())
        return student(confidence, max(free, 1.0)) * math.sqrt(variance) + unknown


def course_of(
    plan: Adaptive | Preset, strata: Sequence[Stratum], known: Known, seed: int
) -> Course | PresetCourse:
    """Return the course of a plan on units, from its beginning."""
    if isinstance(plan, Preset):
        return PresetCourse(plan, strata, known, seed)
    return Course(plan, strata, known, seed)
