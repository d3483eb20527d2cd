"""Boosting: points for features, learnt step by step.

Every round splits all rows by the one cut that helps most, by Newton's method on the
logistic loss, and each part by another. So features that tell nothing get no points.

References:
    Friedman, Hastie and Tibshirani, Additive logistic regression: a statistical view of
    boosting, 2000.
    Chen and Guestrin, XGBoost: a scalable tree boosting system, 2016: gain of a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats
from stoic.monitors.distance import Distance
from stoic.monitors.points import PER_UNIT, Condition, Points, Step
from stoic.monitors.traces import NOTHING, Origin, Traces

__all__ = ["boosted", "evenly", "grown"]

_Numbers: TypeAlias = NDArray[np.float64]
# Cuts to choose from: so many quantiles of all rows, and these of clean ones.
_QUANTILES = 40
_CLEAN = (0, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1)
# Rows without an opinion that every part of a split is thought to have.
_DRAWN = 3.0


def evenly(origin: Origin) -> _Numbers:
    """Return weights with which each kind, failed or not, counts as much as another.

    Fault-free rows count as much as all others: limits are found by their highest sums.
    """
    kind = np.unique(origin.kind, return_inverse=True)[1].reshape(-1)
    _, group = np.unique(2 * kind + origin.failed, return_inverse=True)
    weights, clean = 1 / np.bincount(group)[group], origin.kind == NOTHING
    weights[clean] *= max(group.max(), 1)
    return np.asarray(weights / weights.mean())


def boosted(
    traces: Traces,
    distance: Distance | None = None,
    *,
    rounds: int = 200,
    rate: float = 0.15,
    pairs: bool = True,
) -> Points:
    """Learn points that tell failed rows from others.

    Args:
        traces: Features are numbers, some rows have failed, and some are fault-free.
        distance: Of some of the features, about which steps may be, too.
        rounds: Of one split, or three.
        rate: Which part of a step is taken.
        pairs: Whether each part is split again, so that steps have two conditions.
    """
    (points,) = grown(traces, distance, (rounds,), rate=rate, pairs=pairs)
    return points


def grown(
    traces: Traces,
    distance: Distance | None,
    stops: Sequence[int],
    *,
    rate: float = 0.15,
    pairs: bool = True,
) -> Iterator[Points]:
    """Yield points after some numbers of rounds, each grown from those before.

    Args:
        traces: As for `boosted`.
        distance: Likewise.
        stops: Numbers of rounds, rising.
        rate: Which part of a step is taken.
        pairs: Whether each part is split again.
    """
    values = traces.values
    if distance:
        own = traces.columns(distance.features).values
        values = np.concatenate([values, distance.told(own)], 1)
    grid = _Grid.of(values, values[traces.origin.kind == NOTHING])
    failed, weights = traces.origin.failed.astype(float), evenly(traces.origin)
    share = np.average(failed, weights=weights)
    base = float(np.log(share / (1 - share)))
    odds = np.full(len(failed), base)
    found: defaultdict[tuple[Condition, ...], float] = defaultdict(float)
    for number in range(1, stops[-1] + 1):
        chance = 1 / (1 + np.exp(-odds))
        push = np.stack([weights * (failed - chance), weights * chance * (1 - chance)])
        for conditions, here, worth in grid.split(push, pairs=pairs):
            found[conditions] += rate * worth
            odds[here] += rate * worth
        if number in stops:
            kept, whole = _whole(found, base)
            yield Points(traces.features, kept, whole, distance=distance)


def _whole(
    found: Mapping[tuple[Condition, ...], float], base: float
) -> tuple[tuple[Step, ...], int]:
    """Return steps in whole points, and what every row has."""
    points = {own: round(PER_UNIT * worth) for own, worth in found.items() if own}
    steps = tuple(Step(own, worth) for own, worth in points.items() if worth)
    return steps, round(PER_UNIT * (base + found.get((), 0.0)))


@dataclass(frozen=True)
class _Split:
    """The best cut of some rows, and what each side is worth."""

    feature: int
    cut: int
    below: float
    above: float


_Part: TypeAlias = tuple[tuple[Condition, ...], NDArray[np.bool_], float]


@dataclass(frozen=True, eq=False)
class _Grid:
    """Features by the cuts that they are above.

    Args:
        cuts: Of each feature, rising.
        bins: Number of cuts that each row is above, counted on from those of the
            features before; of shape ``(rows, features)``.
        width: Bins of a feature.
    """

    cuts: tuple[Floats, ...]
    bins: NDArray[np.int64]
    width: int

    @classmethod
    def of(cls, values: Floats, clean: Floats) -> _Grid:
        levels = np.linspace(0, 1, _QUANTILES + 2)[1:-1]
        ends = [
            np.quantile(part, shares, axis=0, method="lower")
            for part, shares in ((values, levels), (clean, _CLEAN))
        ]
        found = np.concatenate(ends).T
        cuts = tuple(_between(*pair) for pair in zip(found, values.T, strict=True))
        width = max(map(len, cuts)) + 1
        columns = [
            number * width + np.searchsorted(own, values[:, number], side="left")
            for number, own in enumerate(cuts)
        ]
        return cls(cuts, np.stack(columns, 1), width)

    def split(self, push: _Numbers, *, pairs: bool) -> list[_Part]:
        """Return conditions, the rows of which they hold, and what these are worth.

        Worths add up: of a row by all conditions that hold of it.

        Args:
            push: Slope and bend of the loss of each row, of shape ``(2, rows)``.
            pairs: Whether each side is split again.
        """
        first = self._best(push, np.ones(push.shape[1], bool))
        above = self._above(first)
        if not pairs:
            return [
                ((), np.ones_like(above), first.below),
                ((self._condition(first),), above, first.above - first.below),
            ]
        found: list[_Part] = []
        base = 0.0
        for side in (False, True):
            here = above == side
            then = self._best(push, here)
            conditions = (self._condition(first, side),)
            # What is worth something without the second condition, stands without it.
            if side:
                found.append((conditions, above, then.below - base))
            else:
                base = then.below
                found.append(((), np.ones_like(above), base))
            both = (*conditions, self._condition(then))
            found.append((both, here & self._above(then), then.above - then.below))
        return found

    def _condition(self, split: _Split, above: bool = True) -> Condition:
        limit = float(self.cuts[split.feature][split.cut])
        return Condition(split.feature, limit, above)

    def _above(self, split: _Split) -> NDArray[np.bool_]:
        """Say which rows are above a cut."""
        bins = self.bins[:, split.feature] - split.feature * self.width
        return np.asarray(bins > split.cut)

    def _best(self, push: _Numbers, here: NDArray[np.bool_]) -> _Split:
        """Return the cut of some rows that helps most."""
        slopes, bends = (self._below(each[here], here) for each in push)
        more, most = slopes[:, -1:] - slopes, bends[:, -1:] - bends
        below, above = slopes / (bends + _DRAWN), more / (most + _DRAWN)
        gain = (slopes * below + more * above)[:, :-1]
        # Features with fewer cuts than others have bins without a row.
        counts = np.array([len(own) for own in self.cuts])
        gain[np.arange(self.width - 1) >= counts[:, None]] = -1
        feature, cut = np.unravel_index(gain.argmax(), gain.shape)
        worths = float(below[feature, cut]), float(above[feature, cut])
        return _Split(int(feature), int(cut), *worths)

    def _below(self, each: _Numbers, here: NDArray[np.bool_]) -> _Numbers:
        """Return the sum over rows up to each cut, of shape ``(features, width)``."""
        count = len(self.cuts)
        bins, repeated = self.bins[here].ravel(), np.repeat(each, count)
        sums = np.bincount(bins, repeated, minlength=count * self.width)
        return np.asarray(sums.reshape(count, self.width).cumsum(1))


def _between(ends: Floats, values: Floats) -> Floats:
    """Return cuts after some of the values, each halfway to the next larger value.

    Kernels that sum in another order would tell a value apart from itself.
    """
    cuts, known = np.unique(ends), np.unique(values)
    after = known[np.minimum(np.searchsorted(known, cuts, "right"), len(known) - 1)]
    # In doubles no sum is too large; between neighbours there is no number.
    middle = ((cuts.astype(float) + after) / 2).astype(np.float32)
    return np.asarray(np.where(middle < after, middle, cuts), np.float32)
