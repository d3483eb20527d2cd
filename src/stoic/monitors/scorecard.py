"""A scorecard: everything that one monitor says of traces it has not seen, judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.estimates.estimate import Estimate
from stoic.monitors.baselines import Detector, Trivial
from stoic.monitors.beside import Standing, standings
from stoic.monitors.bounds import Floats
from stoic.monitors.breakdown import By, Line, alarms_on, groups, recalls_by
from stoic.monitors.evaluation import (
    FalseAlarms,
    Level,
    check_examples,
    curve,
    false_alarms,
    levels,
    parts,
)
from stoic.monitors.labels import labels_of
from stoic.monitors.measures import Bools, Shares
from stoic.monitors.monitor import Monitor
from stoic.monitors.resamples import Difference, Resamples
from stoic.monitors.traces import NOTHING, Traces
from stoic.monitors.worth import Worth, worth

__all__ = ["FREQUENCIES", "Part", "ScoreLine", "Scorecard", "scorecard", "told"]

# Shares of inferences with a fault.
FREQUENCIES = (0.0001, 0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class ScoreLine:
    """What the score does on one group of rows.

    Args:
        name: Of the group.
        auroc: Failed rows against all that did not fail.
        recall: By rate of false alarms, above the limit that was calibrated for it.
        exact: The same above the limit at which exactly such a share of the fault-free
            rows that are judged would raise an alarm; None where these are too few.
    """

    name: str
    auroc: Estimate | None
    recall: dict[float, Estimate | None]
    exact: dict[float, Estimate | None]


@dataclass(frozen=True)
class Part:
    """Rows with numbers only, with others, or all.

    Args:
        rows: How many, fault-free ones among them.
        alarms: Of the rules, on those with a fault.
    """

    rows: int
    alarms: Line


@dataclass(frozen=True)
class Scorecard:
    """How well a monitor does.

    Args:
        images: Inputs that it was tried on.
        rows: Inferences.
        levels: Precision and recall of its rules on rows with numbers only, as the
            paper has them, and on all.
        parts: Rows that are finite, that are not, and all, with alarms of the rules.
        rules: False alarms of the rules.
        alarm: False alarms of the calibrated alarm.
        kinds: Alarms of the rules by kind of fault, kinds it never saw among them.
        unlike: The same for the calibrated alarm.
        strengths: Alarms of the rules by corruption and strength.
        bits: Alarms of the rules by the bit that a single flip hit.
        several: The same by how many bits of a word were hit at once.
        sites: The same by the value or weight that was hit.
        limits: False alarms at the calibrated limits of the score, by promised rate.
        scores: What the score can do, by kind and then by kind and strength.
        worth: What alarms of rules and of the calibrated alarm are worth where faults
            are as frequent as `FREQUENCIES`.
        trivial: False alarms of the trivial detector, if it is among others.
        trivially: Its alarms by kind of fault.
        beside: The score beside those of other detectors, by group.
    """

    images: int
    rows: int
    levels: dict[str, tuple[Level, ...]]
    parts: tuple[Part, ...]
    rules: FalseAlarms
    alarm: FalseAlarms
    kinds: tuple[Line, ...]
    unlike: tuple[Line, ...]
    strengths: tuple[Line, ...]
    bits: tuple[Line, ...]
    several: tuple[Line, ...]
    sites: tuple[Line, ...]
    limits: dict[float, FalseAlarms]
    scores: tuple[ScoreLine, ...]
    worth: dict[str, tuple[Worth, ...]]
    trivial: FalseAlarms | None = None
    trivially: tuple[Line, ...] = ()
    beside: tuple[Standing, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def scorecard(
    monitor: Monitor,
    traces: Traces,
    *,
    others: Sequence[Detector] = (),
    draws: int = 400,
) -> Scorecard:
    """Judge a monitor by traces of inputs and words that it was not fitted with.

    Args:
        monitor: Whose features the traces have.
        traces: Fault-free inferences among them.
        others: Detectors to compare its score with; the traces have their features.
        draws: Of the bootstrap over images and words.

    Raises:
        ValueError: A class of the monitor has no failed row, or none is fault-free.
    """
    names, own = monitor.rules.classes, traces.columns(monitor.rules.features)
    said, simple = monitor.verdicts(own.values), _simple(traces, others)
    resamples = Resamples.of(traces.origin, count=draws)
    known = np.isin(traces.origin.kind, (NOTHING, *names))
    labels = _labels(own, names, known)
    check_examples(labels[known], names)
    limits = {rate: monitor.points.limit(rate) for rate in monitor.points.limits}
    rows = parts(own)  # By what the monitor itself looks at.
    every = rows["together"]

    def by(alarmed: Bools, what: By) -> tuple[Line, ...]:
        return recalls_by(own, alarmed, resamples, every, what)

    def false(alarmed: Bools) -> FalseAlarms:
        return false_alarms(own, alarmed, resamples, every)

    return Scorecard(
        images=len(np.unique(traces.origin.image)),
        rows=len(traces),
        levels={
            part: levels(labels, said.label, names, resamples, known & rows[part])
            for part in ("finite", "together")
        },
        parts=tuple(_parts(own, said.label > 0, resamples)),
        rules=false(said.label > 0),
        alarm=false(said.unlike),
        kinds=by(said.label > 0, "kind"),
        unlike=by(said.unlike, "kind"),
        strengths=by(said.label > 0, "strength"),
        bits=by(said.label > 0, "bit"),
        several=by(said.label > 0, "bits"),
        sites=by(said.label > 0, "site"),
        limits={rate: false(said.score > limit) for rate, limit in limits.items()},
        scores=tuple(_scores(own, said.score, resamples, limits)),
        worth={
            name: worth(own, alarmed, resamples, every, FREQUENCIES)
            for name, alarmed in (("rules", said.label > 0), ("alarm", said.unlike))
        },
        trivial=None if simple is None else false(simple),
        trivially=() if simple is None else by(simple, "kind"),
        beside=tuple(standings(traces, said.score, others, resamples, learnt=names)),
    )


def _simple(traces: Traces, others: Sequence[Detector]) -> Bools | None:
    """Return alarms of the trivial detector, if it is among others."""
    for each in others:
        if isinstance(each, Trivial):
            return np.asarray(each.score(traces.columns(each.features)) > 0)
    return None


def _parts(traces: Traces, alarmed: Bools, resamples: Resamples) -> Iterator[Part]:
    """Yield rows that are finite, those that are not, and all."""
    faulted = traces.origin.kind != NOTHING
    for name, rows in parts(traces).items():
        line = alarms_on(name, rows & faulted, traces, alarmed, resamples)
        yield Part(int(rows.sum()), line)


def _scores(
    traces: Traces, score: Floats, resamples: Resamples, limits: dict[float, float]
) -> Iterator[ScoreLine]:
    """Yield what the score does by kind, and by kind and strength."""
    ways: tuple[By, ...] = ("kind", "strength")
    for group in (group for by in ways for group in groups(traces, by)):
        found = curve(traces, score, resamples, group.rows)
        failed = (group.rows & traces.origin.failed)[:, None]
        recall: dict[float, Estimate | None] = {}
        for rate, limit in limits.items():
            shares = Shares((score > limit)[:, None], failed)
            (recall[rate],) = resamples.estimates(shares)
        yield ScoreLine(group.name, found.auroc, recall, found.recall)


def _labels(traces: Traces, names: tuple[str, ...], known: Bools) -> NDArray[np.int64]:
    """Return classes of rows; regular where the kind is none that has a class."""
    labels = np.zeros(len(traces), np.int64)
    labels[known] = labels_of(traces.rows(known), names)
    return labels


def told(estimate: Estimate | Difference | None) -> str:
    """Return an estimate, or a difference, as a cell of a table, in percent."""
    if estimate is None:
        return "-"
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
