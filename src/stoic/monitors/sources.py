"""Sources: which values of a network tell most about failures, few as they are.

Conditions that nobody has seen are what a monitor is for. So values are judged by other
inputs, and by each kind of corruption that was left out of the lesson on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.boosting import boosted, grown
from stoic.monitors.distance import Distance, distance_of
from stoic.monitors.labels import examples
from stoic.monitors.markers import ChannelSums
from stoic.monitors.measures import Auroc
from stoic.monitors.points import Points
from stoic.monitors.traces import MEMORY, NOTHING, Traces
from stoic.monitors.watches import Watch, features_of

__all__ = ["points_of", "sources"]

# By how much an area must grow for one more value to be worth its cost.
_WORTH = 0.003
_ROUNDS = 60
_RATE = 0.3
# How many rounds points may take: the more there is to learn from, the more help.
_STOPS = (200, 400, 800)
# By how much an area must grow for twice as many to be worth their cost.
_GROWTH = 0.001


def points_of(
    learning: Traces,
    choosing: Traces,
    watches: Sequence[Watch],
    features: Sequence[str],
    most: int | None,
) -> Points:
    """Learn points from the values that rules are about, and few others.

    Once values and rounds are chosen, the inputs that they were chosen by are learnt
    from, too.

    Args:
        learning: Traces of all watches.
        choosing: Likewise, of other inputs and faults.
        watches: To choose from.
        features: That rules are about.
        most: Values in all, if rules are not about more; None for all.
    """
    first = [w.value for w in watches if not set(features).isdisjoint(w.features)]
    kept = tuple(watches)
    if most is not None:
        values = sources(learning, choosing, watches, first, most=most)
        kept = tuple(watch for watch in watches if watch.value in values)
    names = features_of(kept)
    own, other = learning.columns(names), choosing.columns(names)
    rounds = _rounds(examples(own), examples(other), _distance(own, kept))
    every = Traces.joined([own, other])
    return boosted(examples(every), _distance(every, kept), rounds=rounds)


def _rounds(own: Traces, other: Traces, distance: Distance) -> int:
    """Return how many rounds to take: twice as many as long as other inputs gain."""
    rounds, best = _STOPS[0], 0.0
    for stop, points in zip(_STOPS, grown(own, distance, _STOPS), strict=True):
        area = float(np.nanmean([*_areas(points, other)]))
        if not area >= best + _GROWTH:
            break
        rounds, best = stop, area
    return rounds


def _distance(traces: Traces, watches: Sequence[Watch]) -> Distance:
    """Return the distance of the last value: nothing comes after it to mend a fault."""
    last = [watch for watch in watches if watch.value == watches[-1].value]
    scores = [watch for watch in last if isinstance(watch.marker, ChannelSums)]
    own = traces.columns(features_of(last))
    clean = own.values[own.origin.kind == NOTHING]
    return distance_of(last[0].value, own.features, clean, features_of(scores))


def sources(
    learning: Traces,
    choosing: Traces,
    watches: Sequence[Watch],
    first: Sequence[str] = (),
    *,
    most: int = 3,
    among: int = 8,
) -> tuple[str, ...]:
    """Return values from which points are to be taken.

    Values are added one after the other, the best first, while that helps.

    Args:
        learning: Traces of all watches.
        choosing: Likewise, of other inputs and faults.
        watches: To choose from.
        first: Values that are watched anyway.
        most: How many in all, if there are not more of the first.
        among: How many to choose from: those that have most points beside all others.
    """
    bench = _Bench(examples(learning), examples(choosing), tuple(watches))
    pool = [value for value in bench.ranked() if value not in first][:among]
    chosen = list(first)
    best = bench.worth(chosen) if chosen else 0.0
    while pool and len(chosen) < most:
        found = {value: bench.worth([*chosen, value]) for value in pool}
        value = max(found, key=found.__getitem__)
        if chosen and found[value] < best + _WORTH:
            break
        best = found[value]
        chosen.append(value)
        pool.remove(value)
    return tuple(watch.value for watch in watches if watch.value in chosen)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Tries values: learns from some traces, judges by others."""

    learning: Traces
    choosing: Traces
    watches: tuple[Watch, ...]

    def ranked(self) -> list[str]:
        """Return all values, the one with most points first."""
        points = boosted(self.learning, rounds=2 * _ROUNDS, rate=_RATE, pairs=False)
        value = {name: w.value for w in self.watches for name in w.features}
        total = dict.fromkeys((watch.value for watch in self.watches), 0)
        for step in points.steps:
            name = points.features[step.conditions[0].feature]
            total[value[name]] += abs(step.points)
        return sorted(total, key=lambda value: -total[value])

    def worth(self, values: Sequence[str]) -> float:
        """Return the mean area over kinds, those that were left out among them."""
        names = features_of(watch for watch in self.watches if watch.value in values)
        own, other = self.learning.columns(names), self.choosing.columns(names)
        return float(np.nanmean(list(self._areas(own, other))))

    def _areas(self, own: Traces, other: Traces) -> Iterator[float]:
        yield from _areas(boosted(own, rounds=_ROUNDS, rate=_RATE), other)
        spoilt = [kind for kind in _kinds(own) if kind != MEMORY]
        for kind in spoilt if len(spoilt) > 1 else ():
            rest = own.rows(own.origin.kind != kind)
            points = boosted(rest, rounds=_ROUNDS, rate=_RATE)
            yield _area(points.total(other.values), other, kind)


def _kinds(traces: Traces) -> list[str]:
    return sorted(set(traces.origin.kind.tolist()) - {NOTHING})


def _areas(points: Points, traces: Traces) -> Iterator[float]:
    """Yield the area of each kind of fault."""
    totals = points.total(traces.values)
    for kind in _kinds(traces):
        yield _area(totals, traces, kind)


def _area(totals: NDArray[np.int64], traces: Traces, kind: str) -> float:
    """Return how often a failed row of a kind has more points than one that did not."""
    here, failed = np.isin(traces.origin.kind, (kind, NOTHING)), traces.origin.failed
    area = Auroc(totals.astype(np.float32), here & failed, here & ~failed)
    return float(area(np.ones((1, len(traces))))[0, 0])
