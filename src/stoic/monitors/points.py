"""Points: how likely it is that an output is wrong, as a sum of whole numbers.

Each step asks whether one or two features are above limits, and is worth some points.
Beyond all that was learnt, each doubling of a distance is worth some more. Whole
numbers sum to the same in any order and on any device, and a person can add them up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats
from stoic.monitors.distance import RUNGS, Distance
from stoic.records.numerals import numeral

__all__ = ["PER_DOUBLING", "PER_UNIT", "Condition", "Points", "Step"]

PER_UNIT = 32
"""Points that are worth one unit of the logarithm of odds."""
PER_DOUBLING = 8
"""Points for each doubling of a distance beyond the span of fault-free inputs."""
_ONE = int(np.float32(1).view(np.int32))


@dataclass(frozen=True)
class Condition:
    """One feature on one side of a limit.

    Args:
        feature: Its index; those that a distance tells come after all others.
        limit: A number of float32.
        above: Whether the feature must be above it; else it must not be. What is no
            number is on neither side.
    """

    feature: int
    limit: float
    above: bool = True

    def holds(self, features: Floats) -> NDArray[np.bool_]:
        """Say of which rows it is true."""
        own, limit = features[:, self.feature], np.float32(self.limit)
        return np.asarray(own > limit if self.above else own <= limit)


@dataclass(frozen=True)
class Step:
    """Points for rows of which all conditions hold.

    Args:
        conditions: One or two.
        points: May be negative.
    """

    conditions: tuple[Condition, ...]
    points: int


@dataclass(frozen=True, eq=False)
class Points:
    """Steps, and what their sum means.

    Args:
        features: Names of the features.
        steps: In any order.
        base: Points that every inference has.
        limits: By a rate of false alarms: sums above are an alarm; calibrated.
        distance: Of some of the features, if steps ask for it.
    """

    features: tuple[str, ...]
    steps: tuple[Step, ...]
    base: int = 0
    limits: Mapping[float, int] = field(default_factory=dict)
    distance: Distance | None = None

    def over(self, features: tuple[str, ...]) -> Points:
        """Return the same points, where there are other features beside those used."""
        other = replace(self, features=features, steps=()).names
        place = {n: other.index(k) for n, k in enumerate(self.names) if k in other}

        def moved(step: Step) -> Step:
            conditions = (replace(c, feature=place[c.feature]) for c in step.conditions)
            return replace(step, conditions=tuple(conditions))

        return replace(self, features=features, steps=tuple(map(moved, self.steps)))

    @property
    def used(self) -> tuple[str, ...]:
        """Features that points depend on, in order."""
        asked = {self.names[c.feature] for step in self.steps for c in step.conditions}
        asked |= set(self.distance.features if self.distance else ())
        return tuple(name for name in self.features if name in asked)

    @property
    def names(self) -> tuple[str, ...]:
        """What conditions are about: features, then what the distance tells."""
        return (*self.features, *(self.distance.names if self.distance else ()))

    @cached_property
    def apart(self) -> list[int]:
        """Where the features that the distance is of are among all."""
        own = self.distance.features if self.distance else ()
        return [self.features.index(name) for name in own]

    def lost(self, features: Floats) -> NDArray[np.bool_]:
        """Say which rows need no points: surely something is wrong with them.

        A feature is no number, or one that the distance is of is infinite; without a
        distance, any is. An infinite number elsewhere may have had no consequence.

        Args:
            features: Of shape ``(rows, features)``.
        """
        ends = features[:, self.apart] if self.distance else features
        return np.asarray(np.isnan(features).any(1) | np.isinf(ends).any(1))

    def total(self, features: Floats) -> NDArray[np.int64]:
        """Return the points of each row.

        Args:
            features: Of shape ``(rows, features)``.
        """
        total = np.full(len(features), self.base, np.int64)
        if self.distance:
            own = features[:, self.apart]
            features = np.concatenate([features, self.distance.told(own)], 1)
            total += PER_DOUBLING * self.distance.doublings(own)
        for step in self.steps:
            all_hold = np.all([c.holds(features) for c in step.conditions], axis=0)
            total += step.points * all_hold
        return total

    @property
    def least(self) -> int:
        """A sum below which there is none."""
        return self.base + sum(min(step.points, 0) for step in self.steps)

    @cached_property
    def shares(self) -> Floats:
        """How likely something is wrong, for each sum from the lowest to the highest.

        Where half of all inputs are fault-free, and all kinds of faults, failed or
        not, equally frequent. No two sums have the same share, and none has 1.
        """
        count = sum(abs(step.points) for step in self.steps)
        count += PER_DOUBLING * len(RUNGS) if self.distance else 0
        odds = (self.least + np.arange(count + 1)) / PER_UNIT
        shares = (1 / (1 + np.exp(-np.clip(odds, -80, 80)))).astype(np.float32)
        # Words of numbers above 0 have their order. Next to 1 there are too few numbers
        # for all sums: a share makes way for those above it, by one number for each.
        words, number = shares.view(np.int32).astype(np.int64), np.arange(count + 1)
        words = np.minimum(words - number, _ONE - 1 - count)
        words = np.minimum.accumulate(words[::-1])[::-1] + number
        return np.asarray(words.astype(np.int32).view(np.float32))

    def scores(self, features: Floats) -> Floats:
        """Return how likely something is wrong with each row, float32; 1 for sure."""
        found = self.shares[self.total(features) - self.least]
        return np.where(self.lost(features), np.float32(1), found)

    def calibrated(self, features: Floats, rates: Iterable[float]) -> Points:
        """Return points with limits that keep to rates of false alarms.

        Another fault-free input exceeds a limit no more often than at its rate; as for
        the calibrated alarm, the guarantee is over both, the input and these. Rates for
        which there are too few inputs have no limit.

        Args:
            features: Of fault-free inputs that served for nothing else.
            rates: Of false alarms.
        """
        ordered, rows = np.sort(self.total(features)), len(features)
        # One of rows + 1 alike inputs is among the highest so often.
        ranks = {rate: math.ceil((rows + 1) * (1 - rate)) for rate in sorted(rates)}
        limits = {r: int(ordered[k - 1]) for r, k in ranks.items() if k <= rows}
        return replace(self, limits=limits)

    def limit(self, rate: float) -> float:
        """Return the score above which there is an alarm at a rate of false alarms.

        Raises:
            KeyError: There is no limit for this rate.
        """
        return float(self.shares[self.limits[rate] - self.least])

    def lines(self) -> Iterator[str]:
        """Yield the steps as lines that a person can read, the heaviest first."""
        for step in sorted(self.steps, key=lambda step: -abs(step.points)):
            yield self._told(step)

    @property
    def beyond(self) -> str:
        """What is worth points beyond all that was learnt, as a line; may be empty."""
        if not self.distance:
            return ""
        return (
            f"{PER_DOUBLING:+d} each time that the span of a feature of "
            f"{self.distance.value} must be doubled to reach it, by the furthest"
        )

    def _told(self, step: Step) -> str:
        conditions = (
            f"{self.names[c.feature]} {'>' if c.above else '<='} {numeral(c.limit)}"
            for c in step.conditions
        )
        return f"{step.points:+d} if {' and '.join(conditions)}"

    def as_record(self) -> dict[str, Any]:
        """Return plain data that a person can read, and `Points.of_record`."""
        steps = list(map(self._told, self.steps))
        limits = {f"{rate:g}": limit for rate, limit in self.limits.items()}
        distance = self.distance.as_record() if self.distance else None
        return {
            "base": self.base,
            "limits": limits,
            "beyond": self.beyond,
            "distance": distance,
            "steps": steps,
        }

    @classmethod
    def of_record(cls, record: dict[str, Any], features: tuple[str, ...]) -> Points:
        """Return the points that were recorded."""
        distance = Distance.of_record(record["distance"])
        names = (*features, *(distance.names if distance else ()))
        index = {name: number for number, name in enumerate(names)}

        def condition(line: str) -> Condition:
            name, side, limit = line.rsplit(" ", 2)
            return Condition(index[name], float(np.float32(limit)), side == ">")

        def step(line: str) -> Step:
            points, _, conditions = line.partition(" if ")
            return Step(tuple(map(condition, conditions.split(" and "))), int(points))

        limits = {float(rate): int(n) for rate, n in record["limits"].items()}
        steps = tuple(map(step, record["steps"]))
        return cls(features, steps, int(record["base"]), limits, distance)
