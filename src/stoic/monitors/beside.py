"""A monitor beside other detectors: each by its score, on the same rows and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stoic.estimates.estimate import Estimate
from stoic.monitors import baselines
from stoic.monitors.baselines import Detector
from stoic.monitors.bounds import Floats
from stoic.monitors.breakdown import Group, groups
from stoic.monitors.evaluation import RATES, curve, curve_difference
from stoic.monitors.kinds import LEARNT
from stoic.monitors.labels import classes_of, labels_of
from stoic.monitors.resamples import Difference, Resamples
from stoic.monitors.traces import NOTHING, Traces

__all__ = ["OWN", "Standing", "fit_others", "main_groups", "standings"]

OWN = "this monitor"
"""Name of the monitor's own score among those of others."""


@dataclass(frozen=True)
class Standing:
    """How well one detector tells the failures of one group.

    Args:
        detector: Name of it; `OWN` for the monitor.
        group: Of rows with a fault.
        auroc: Failed rows of the group against its others, and fault-free ones.
        recall: At exactly such rates of false alarms on the fault-free rows that are
            judged; None where these are too few.
        less: The monitor's area less this one, paired; None for the monitor itself.
        recall_less: The same of recall, by rate.
    """

    detector: str
    group: str
    auroc: Estimate | None
    recall: dict[float, Estimate | None]
    less: Difference | None
    recall_less: dict[float, Difference | None]


def main_groups(traces: Traces, learnt: Sequence[str] = LEARNT) -> Iterator[Group]:
    """Yield rows with a fault: in memory, of kinds that are learnt from, of others.

    Args:
        traces: What was done to each row.
        learnt: Kinds that are learnt from.
    """
    origin = traces.origin
    memory, several = origin.site != "", origin.bits > 1
    spoilt, known = (origin.kind != NOTHING) & ~memory, np.isin(origin.kind, learnt)
    parts = {
        "memory": memory & ~several,
        "memory, several bits": memory & several,
        "input, known kinds": spoilt & known,
        "input, unseen kinds": spoilt & ~known,
    }
    for name, rows in parts.items():
        if rows.any():
            yield Group(name, rows)


def standings(
    traces: Traces,
    own: Floats,
    others: Sequence[Detector],
    resamples: Resamples,
    *,
    rates: Sequence[float] = RATES,
    learnt: Sequence[str] = LEARNT,
) -> Iterator[Standing]:
    """Yield how the monitor and others stand, by group, the monitor first in each.

    Args:
        traces: With the features of all.
        own: The monitor's score of each row.
        others: To compare with; if there are more than one, strengths are groups too.
        resamples: Of the rows.
        rates: Of false alarms on fault-free rows.
        learnt: Kinds that are learnt from.
    """
    # A number that another detector looks at, and that is not finite, is not its own.
    told = {each.name: each.score(traces.columns(each.features)) for each in others}
    scores = {OWN: own} | told
    found = list(main_groups(traces, learnt))
    found += list(groups(traces, "strength")) if len(others) > 1 else []
    for group in found:
        for name, score in scores.items():
            yield _standing(name, score, traces, own, group, resamples, rates)


def _standing(
    name: str,
    score: Floats,
    traces: Traces,
    own: Floats,
    group: Group,
    resamples: Resamples,
    rates: Sequence[float],
) -> Standing:
    told = curve(traces, score, resamples, group.rows, rates=rates)
    if name == OWN:
        return Standing(name, group.name, told.auroc, told.recall, None, {})
    less, at = curve_difference(traces, own, score, resamples, group.rows, rates=rates)
    return Standing(name, group.name, told.auroc, told.recall, less, at)


def fit_others(
    learning: Traces, say: Callable[[str], None], *, scored: bool
) -> Iterator[Detector]:
    """Yield every baseline that can be fitted, the trivial one first.

    Args:
        learning: Fault-free rows and others, with the features of all markers.
        say: Told which are left out, and why.
        scored: Whether the network's output is a score per class, which two of them,
            confidence and energy, take for granted.
    """
    makers: dict[str, Callable[[], Detector]] = {
        "trivial": lambda: baselines.fit_trivial(learning),
        "ranger": lambda: baselines.fit_ranger(learning),
        "feature-map tracing": lambda: _tracing(learning),
        "mahalanobis": lambda: baselines.fit_mahalanobis(learning),
        "signatures": lambda: baselines.fit_signatures(learning),
    }
    if scored:
        makers["softmax confidence"] = lambda: baselines.fit_confidence(learning)
        makers["energy"] = lambda: baselines.fit_energy(learning)
    else:
        say("confidence and energy are left out: the output is no score per class")
    for name, make in makers.items():
        try:
            yield make()
        except ValueError as error:
            say(f"{name} is left out: {error}")


def _tracing(learning: Traces) -> Detector:
    """Fit feature-map tracing to the kinds of fault of which any row failed."""
    origin = learning.origin
    failing = set(origin.kind[origin.failed & learning.finite].tolist())
    rows = learning.rows(np.isin(origin.kind, (NOTHING, *failing)))
    return baselines.fit_tracing(rows, labels_of(rows, classes_of(rows)))
