"""Reduction: the fewest features that do nearly as well as all of them.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, 2023, section 3: features in the order
    of their importance, until precision and recall are within 95 % of the full tree's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.fitting import Lesson
from stoic.monitors.labels import examples, labels_of, macro
from stoic.monitors.traces import Traces
from stoic.monitors.watches import Layer

__all__ = [
    "WAYS",
    "Choice",
    "Trial",
    "by_importance",
    "by_layers",
    "by_pairs",
    "by_steps",
    "by_way",
    "importances",
    "pruning",
]

WAYS = ("steps", "importance", "pairs", "layers")
_WITHIN = 0.95
# Part of the best one's worth that is as good, where another is cheaper.
_ALIKE = 0.99
_STEPS = 20
_ALPHAS = (1e-5, 3e-5, 1e-4, 2e-4, 4e-4, 7e-4, 1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Trial:
    """How well some features do.

    Args:
        features: Their names.
        precision: Mean over the fault classes.
        recall: Likewise.
    """

    features: tuple[str, ...]
    precision: float
    recall: float

    def within(self, of: Trial, part: float = _WITHIN) -> bool:
        """Say whether it does nearly as well as another in both."""
        return self.precision >= part * of.precision and self.recall >= part * of.recall

    @property
    def worth(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class Choice:
    """Features that were chosen, and all that was tried on the way.

    Args:
        best: The chosen ones; all features where fewer never did, and might be all.
        full: All features.
        tried: In the order tried.
    """

    best: Trial
    full: Trial
    tried: tuple[Trial, ...]


@dataclass(frozen=True, eq=False)
class _Bench:
    """Tries features: learns on a lesson, judges by other traces."""

    lesson: Lesson
    judged: Traces
    wanted: NDArray[np.int64]
    alpha: float

    @classmethod
    def of(cls, lesson: Lesson, traces: Traces, alpha: float) -> _Bench:
        judged = examples(traces)
        return cls(lesson, judged, labels_of(judged, lesson.classes), alpha)

    def __call__(self, features: Sequence[str]) -> Trial:
        rules = self.lesson.on(features).rules(alpha=self.alpha)
        leaf = rules.leaf_of(self.judged.columns(features).values)
        classes = len(self.lesson.classes)
        return Trial(tuple(features), *macro(self.wanted, rules.labels[leaf], classes))


def importances(lesson: Lesson) -> NDArray[np.float64]:
    """Return how much impurity each feature takes away in the full tree, in all 1."""
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(lesson.labels)
    weights = dict(enumerate((counts.min() / counts).tolist()))
    tree = DecisionTreeClassifier(class_weight=weights, random_state=0)
    tree.fit(lesson.bounds.normalised(lesson.traces.values), lesson.labels)
    return np.asarray(tree.feature_importances_)


def _by_rank(lesson: Lesson) -> list[str]:
    """Return the features, the most important one first."""
    order = np.argsort(-importances(lesson), kind="stable")
    return [lesson.traces.features[number] for number in order]


def by_importance(
    lesson: Lesson,
    traces: Traces,
    *,
    most: int | None = None,
    alpha: float = 1e-5,
    tick: Callable[[Trial], None] | None = None,
) -> Choice:
    """Take features in the order of importance until they do nearly as well as all.

    Args:
        lesson: To learn from.
        traces: Of other inputs and faults, to judge by.
        most: How many features to choose at most; the best of fewer where none will do.
        alpha: Of the pruning.
        tick: Told of each trial.
    """
    names = _by_rank(lesson)
    few = len(names[:most])
    bench = _Bench.of(lesson, traces, alpha)
    full, tried = bench(lesson.traces.features), []
    for trial in _told(bench, (names[:n] for n in _counts(few)), tick):
        tried.append(trial)
        if trial.within(full):
            return Choice(trial, full, tuple(tried))
    best = full if few == len(names) else max(tried, key=lambda trial: trial.worth)
    return Choice(best, full, tuple(tried))


def by_pairs(
    lesson: Lesson,
    traces: Traces,
    *,
    among: int = 24,
    alpha: float = 1e-5,
    tick: Callable[[Trial], None] | None = None,
) -> Choice:
    """Try every pair of the most important features, and choose the best.

    Args:
        lesson: To learn from.
        traces: Of other inputs and faults, to judge by.
        among: How many of the most important ones to pair.
        alpha: Of the pruning.
        tick: Told of each trial.
    """
    names = _by_rank(lesson)[:among]
    bench = _Bench.of(lesson, traces, alpha)
    full = bench(lesson.traces.features)
    tried = list(_told(bench, itertools.combinations(names, 2), tick))
    return Choice(max(tried, key=lambda trial: trial.worth), full, tuple(tried))


def by_steps(
    lesson: Lesson,
    traces: Traces,
    *,
    most: int = 4,
    among: int = 24,
    alpha: float = 1e-5,
    tick: Callable[[Trial], None] | None = None,
) -> Choice:
    """Add the feature that helps most, again and again, until they do nearly as well.

    Args:
        lesson: To learn from.
        traces: Of other inputs and faults, to judge by.
        most: How many features to choose at most.
        among: How many of the most important ones to choose from.
        alpha: Of the pruning.
        tick: Told of each trial.
    """
    names = _by_rank(lesson)[:among]
    bench = _Bench.of(lesson, traces, alpha)
    full, tried = bench(lesson.traces.features), []
    best = Trial((), 0.0, 0.0)
    while len(best.features) < most and not best.within(full):
        more = [(*best.features, n) for n in names if n not in best.features]
        found = list(_told(bench, more, tick))
        tried += found
        best = max(found, key=lambda trial: trial.worth)
    return Choice(best, full, tuple(tried))


def by_layers(
    lesson: Lesson,
    traces: Traces,
    layers: Sequence[Layer],
    *,
    most: int = 2,
    alpha: float = 1e-5,
    tick: Callable[[Trial], None] | None = None,
) -> Choice:
    """Add the layer that helps most, with all it tells, until that does nearly as well.

    A layer costs what it takes to read, and its other features next to nothing. So of
    layers that help as much, the one with the fewest numbers is added.

    Args:
        lesson: To learn from.
        traces: Of other inputs and faults, to judge by.
        layers: To choose from.
        most: How many to choose at most.
        alpha: Of the pruning.
        tick: Told of each trial.
    """
    bench = _Bench.of(lesson, traces, alpha)
    full, tried = bench(lesson.traces.features), []
    best, left = Trial((), 0.0, 0.0), list(layers)
    for _ in range(min(most, len(left))):
        more = [(*best.features, *layer.features) for layer in left]
        found = list(_told(bench, more, tick))
        tried += found
        best, layer = _cheapest(list(zip(found, left, strict=True)))
        left.remove(layer)
        if best.within(full):
            break
    return Choice(best, full, tuple(tried))


def _cheapest(found: Sequence[tuple[Trial, Layer]]) -> tuple[Trial, Layer]:
    """Return the layer with the fewest numbers of those that do as well as the best."""
    best = max(trial.worth for trial, _ in found)
    alike = [pair for pair in found if pair[0].worth >= _ALIKE * best]
    return min(alike, key=lambda pair: (pair[1].numbers, -pair[0].worth))


def pruning(lesson: Lesson, traces: Traces, *, part: float = 0.99) -> float:
    """Return the strongest pruning that does nearly as well as the best one.

    Args:
        lesson: To learn from, with the features that were chosen.
        traces: Of other inputs and faults, to judge by.
        part: Of the best one's worth that is enough.
    """
    features = lesson.traces.features
    worth = {a: _Bench.of(lesson, traces, a)(features).worth for a in _ALPHAS}
    best = max(worth.values())
    return max(alpha for alpha, found in worth.items() if found >= part * best)


def by_way(
    way: str,
    lesson: Lesson,
    traces: Traces,
    *,
    most: int,
    layers: Sequence[Layer],
    values: int,
) -> Choice:
    """Choose features in one of the `WAYS`.

    Args:
        way: Its name.
        lesson: To learn from.
        traces: Of other inputs and faults, to judge by.
        most: How many features to choose at most, if not whole layers.
        layers: To choose from, where layers are chosen.
        values: How many layers to choose at most.
    """
    if way == "layers":
        return by_layers(lesson, traces, layers, most=max(values, 1))
    if way == "steps":
        return by_steps(lesson, traces, most=most)
    if way == "importance":
        return by_importance(lesson, traces, most=most)
    return by_pairs(lesson, traces)


def _told(
    bench: _Bench,
    sets: Iterator[Sequence[str]] | Sequence[Sequence[str]],
    tick: Callable[[Trial], None] | None,
) -> Iterator[Trial]:
    for features in sets:
        trial = bench(features)
        if tick:
            tick(trial)
        yield trial


def _counts(most: int) -> Iterator[int]:
    """Yield how many features to take: by one, by ten, then by two hundred."""
    yield from range(1, min(_STEPS, most) + 1)
    yield from range(_STEPS + 10, min(100, most) + 1, 10)
    yield from range(300, most + 1, 200)
