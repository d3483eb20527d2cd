"""Fitting a monitor to traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.alarm import calibrated
from stoic.monitors.bounds import Bounds, bounds_of
from stoic.monitors.evaluation import RATES
from stoic.monitors.labels import classes_of, examples, labels_of
from stoic.monitors.monitor import Monitor
from stoic.monitors.points import Points
from stoic.monitors.rules import Rules, fitted
from stoic.monitors.strengths import SHARES
from stoic.monitors.traces import MEMORY, NOTHING, Traces
from stoic.monitors.watches import Watch, features_of, reduced

__all__ = ["Lesson", "check_clean_finite", "fit_monitor", "lesson_of", "unlearnable"]

# Failed rows of each class below which nothing can be learnt.
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class Lesson:
    """Traces to learn from, with bounds and labels.

    Args:
        traces: Rows whose features and outputs are finite.
        classes: What may be wrong; the first is nothing.
        labels: Of each row.
        bounds: From fault-free rows.
        clean: As how many classes more fault-free rows weigh, besides their part of
            the regular ones.
    """

    traces: Traces
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    bounds: Bounds
    clean: float = 0.0

    def on(self, features: Sequence[str]) -> Lesson:
        """Return the same with some of the features only."""
        index = [self.traces.features.index(name) for name in features]
        bounds = replace(
            self.bounds, low=self.bounds.low[index], high=self.bounds.high[index]
        )
        return replace(self, traces=self.traces.columns(features), bounds=bounds)

    def rules(self, *, alpha: float, depth: int | None = None, seed: int = 0) -> Rules:
        """Return rules learnt from all rows, as `rules.fitted` does."""
        return fitted(
            self.bounds.normalised(self.traces.values),
            self.labels,
            self.classes,
            self.traces.features,
            self.bounds,
            alpha=alpha,
            depth=depth,
            seed=seed,
            weights=self._weights,
        )

    @property
    def _weights(self) -> NDArray[np.float64] | None:
        """How often each row counts, before classes are made equally heavy."""
        clean = self.traces.origin.kind == NOTHING
        if not self.clean or not clean.any():
            return None
        more = self.clean * (self.labels == 0).sum() / clean.sum()
        return np.asarray(1 + more * clean)


def check_clean_finite(traces: Traces, places: NDArray[Any]) -> None:
    """Refuse a network whose own markers are not finite without any fault.

    Args:
        traces: Fault-free ones among them.
        places: Where each input stands among those given, by its number.

    Raises:
        ValueError: Naming the feature and the input.
    """
    clean = traces.rows(traces.origin.kind == NOTHING)
    lost = np.argwhere(~np.isfinite(clean.values))
    if len(lost):
        row, feature = lost[0]
        raise ValueError(
            "features of fault-free inputs must be finite, got "
            f"{clean.values[row, feature]} for {traces.features[feature]} of input "
            f"{places[clean.origin.image[row]]} (counted from 0); leave the input out, "
            "or watch other values"
        )


def lesson_of(
    traces: Traces, classes: Sequence[str] | None = None, *, clean: float = 0.0
) -> Lesson:
    """Return what can be learnt from traces.

    Args:
        traces: Fault-free ones among them.
        classes: What may be wrong; by default what is there.
        clean: As how many classes more fault-free rows weigh.

    Raises:
        ValueError: Too few rows of a class have failed, or none is fault-free.
    """
    chosen = tuple(classes or classes_of(traces))
    bounds = bounds_of([traces.values[traces.origin.kind == NOTHING]])
    kept = examples(traces)
    labels = labels_of(kept, chosen)
    if len(chosen) < 2:
        raise ValueError(
            "kinds must make the network fail, got none that does so often enough; "
            "choose others, memory among them"
        )
    counts = np.bincount(labels, minlength=len(chosen))
    for name, count in zip(chosen, counts.tolist(), strict=True):
        if count < _FEWEST:
            raise ValueError(
                f"class {name} must have at least {_FEWEST} failed rows to learn from, "
                f"got {count} of {len(traces)} rows; give {_times(count)} times as "
                "many inputs, or leave it out of kinds"
            )
    return Lesson(kept, chosen, labels, bounds, clean)


def _times(count: int) -> int:
    """Return how many times as many inputs would do, with some to spare."""
    return math.ceil(1.5 * _FEWEST / max(count, 1))


def unlearnable(
    learning: Traces, choosing: Traces, *, few: bool = False
) -> tuple[str, ...]:
    """Return corruptions that fail too seldom to learn from, whatever their strength.

    More inputs would not help: even the largest strength was below the least share.

    Args:
        learning: Traces to learn from.
        choosing: Traces to choose features by.
        few: Whether there are no more inputs, so that more would help, but cannot.
    """

    def failed(traces: Traces, kind: str) -> int:
        return int((traces.origin.failed & (traces.origin.kind == kind)).sum())

    own, other, origin = examples(learning), examples(choosing), learning.origin
    return tuple(
        kind
        for kind in classes_of(learning)[1:]
        if kind != MEMORY
        and (few or origin.share[origin.kind == kind].max() < min(SHARES))
        and (failed(own, kind) < _FEWEST or not failed(other, kind))
    )


def fit_monitor(
    lesson: Lesson,
    features: Sequence[str],
    points: Points,
    calibration: Traces,
    watches: Sequence[Watch],
    fingerprint: str,
    *,
    alpha: float = 1e-5,
    rate: float = 0.01,
    seed: int = 0,
    about: dict[str, Any] | None = None,
) -> Monitor:
    """Learn rules, and calibrate an alarm and the limits of points.

    Args:
        lesson: To learn rules from.
        features: That rules may be about.
        points: That were learnt.
        calibration: Traces of other inputs; their fault-free rows are used.
        watches: What the traces were made with.
        fingerprint: Of the network.
        alpha: Of the pruning.
        rate: Of false alarms on fault-free inputs.
        seed: Of ties between forks.
        about: What people should know of it.

    Raises:
        ValueError: There is too little to learn from or to calibrate with.
    """
    # In the order in which they are watched; some markers give all numbers or none.
    kept = reduced(watches, {*features, *points.used})
    names = features_of(kept)
    rules = lesson.on(features).rules(alpha=alpha, seed=seed).over(names)
    clean = calibration.columns(names)
    clean = clean.rows(clean.origin.kind == NOTHING)
    alarm = calibrated(clean.values, lesson.on(names).bounds, rate)
    points = points.over(names).calibrated(clean.values, {*RATES, rate})
    return Monitor(fingerprint, kept, rules, alarm, points, dict(about or {}))
