"""Evaluation: how well classes and scores of a detector fit what was wrong.

What it says is judged at the three levels of the paper; what it scores by curves. Rows
are chosen by masks, so that all numbers come from the same draws. No number stands
without an interval; one that nothing speaks of is None.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, A low-cost strategic monitoring
    approach for scalable and interpretable error detection in deep neural networks,
    2023: classes, levels, and macro averages over fault classes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stoic.estimates.estimate import Estimate
from stoic.monitors.bounds import Floats
from stoic.monitors.measures import Auroc, Bools, RecallAt, Shares
from stoic.monitors.resamples import Difference, Resamples
from stoic.monitors.traces import MEMORY, NOTHING, Traces

__all__ = [
    "LEVELS",
    "RATES",
    "Against",
    "Curve",
    "FalseAlarms",
    "Integers",
    "Judged",
    "Level",
    "check_examples",
    "curve",
    "curve_difference",
    "false_alarms",
    "levels",
    "parts",
    "right_rows",
]

Integers = NDArray[np.int64]
Against = Literal["clean", "benign", "regular"]
LEVELS = ("fault class", "memory or input", "SDC or not")
RATES = (0.001, 0.01)


@dataclass(frozen=True)
class Judged:
    """Precision and recall of one class.

    Args:
        name: Of the class; ``macro`` for the mean over all fault classes.
        precision: Of rows that were said to be of it, those that are; None where none
            was said to be.
        recall: Of rows that are of it, those that were said to be; None without any.
    """

    name: str
    precision: Estimate | None
    recall: Estimate | None


@dataclass(frozen=True)
class Level:
    """All fault classes at one level of detail.

    Args:
        name: One of `LEVELS`.
        classes: Each, without the regular one.
        macro: Their mean; None where one of them has no number.
    """

    name: str
    classes: tuple[Judged, ...]
    macro: Judged


@dataclass(frozen=True)
class FalseAlarms:
    """Shares of alarms on rows that did not fail.

    Args:
        clean: On fault-free images.
        benign: On rows with a fault that changed nothing.
    """

    clean: Estimate | None
    benign: Estimate | None


@dataclass(frozen=True)
class Curve:
    """What a score can do at any threshold.

    Args:
        auroc: How often a failed row scores higher than one it is compared with.
        recall: At each rate of clean false alarms; None where fewer clean rows than
            one in the rate, as no threshold can be told then.
    """

    auroc: Estimate | None
    recall: dict[float, Estimate | None]


def parts(traces: Traces) -> dict[str, Bools]:
    """Return masks of rows: with numbers only, with others, and together.

    The paper drops rows of which features or outputs are not finite.
    """
    finite = traces.finite & ~traces.origin.broken
    return {"finite": finite, "non-finite": ~finite, "together": np.ones_like(finite)}


def check_examples(labels: Integers, classes: Sequence[str]) -> None:
    """Refuse labels among which a class has no example.

    Raises:
        ValueError: There is such a class.
    """
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if not count:
            raise ValueError(
                f"each class must have examples to be judged by, got none of {name}; "
                "collect more, or leave the class out"
            )


def levels(
    labels: Integers,
    said: Integers,
    classes: Sequence[str],
    resamples: Resamples,
    rows: Bools,
) -> tuple[Level, ...]:
    """Return precision and recall at all three levels.

    A fault that is taken for another one is a mistake at the first level, and none at
    the last. A corrupted input or a flip that changed nothing is labelled regular.

    Args:
        labels: Class of each row, 0 for regular; the others in any order.
        said: Likewise; one number more than there are classes is for a row that is not
            finite, which is taken for a memory fault, or for one of no class without.
        classes: Names; all but the first and ``memory`` are of inputs.
        resamples: Of the same rows.
        rows: Which to judge.
    """
    if MEMORY in classes:
        said = np.where(said == len(classes), list(classes).index(MEMORY), said)
    names = [MEMORY if name == MEMORY else "input" for name in classes[1:]]
    kinds = ("regular", *(kind for kind in (MEMORY, "input") if kind in names))
    of = [kinds.index(name) for name in names]
    to_kind = np.array([0, *of, len(kinds)])
    return (
        _level(LEVELS[0], labels, said, classes, resamples, rows),
        _level(LEVELS[1], to_kind[labels], to_kind[said], kinds, resamples, rows),
        _level(LEVELS[2], labels > 0, said > 0, ("regular", "SDC"), resamples, rows),
    )


def false_alarms(
    traces: Traces, alarmed: Bools, resamples: Resamples, rows: Bools
) -> FalseAlarms:
    """Return how often an alarm is raised though nothing failed.

    Args:
        traces: What was done to each row.
        alarmed: Rows with an alarm.
        resamples: Of the same rows.
        rows: Which to judge.
    """
    among = np.stack([rows & right_rows(traces, k) for k in ("clean", "benign")], 1)
    shares = Shares(np.repeat(alarmed[:, None], 2, 1), among)
    return FalseAlarms(*resamples.estimates(shares))


def curve(
    traces: Traces,
    score: Floats,
    resamples: Resamples,
    rows: Bools,
    *,
    against: Against = "regular",
    rates: Sequence[float] = RATES,
) -> Curve:
    """Return how well a score tells failed rows from others.

    Recall at a rate of false alarms is always against all clean rows, chosen or not.

    Args:
        traces: What was done to each row.
        score: Of each; more is more likely wrong.
        resamples: Of the same rows.
        rows: Which to judge.
        against: What failed rows are compared with in the AUROC: fault-free rows, the
            chosen rows with a fault that changed nothing, or both.
        rates: Of clean false alarms.
    """
    area, recall = _curves(traces, score, rows, against, tuple(rates))
    (auroc,) = resamples.estimates(area)
    found = dict(zip(rates, resamples.estimates(recall), strict=True))
    return Curve(
        auroc, {r: e if _enough(traces, r) else None for r, e in found.items()}
    )


def curve_difference(
    traces: Traces,
    first: Floats,
    second: Floats,
    resamples: Resamples,
    rows: Bools,
    *,
    against: Against = "regular",
    rates: Sequence[float] = RATES,
) -> tuple[Difference | None, dict[float, Difference | None]]:
    """Return by how much one score beats another: in AUROC, and in recall at rates.

    Arguments are those of `curve`.
    """
    one = _curves(traces, first, rows, against, tuple(rates))
    other = _curves(traces, second, rows, against, tuple(rates))
    (auroc,) = resamples.differences(one[0], other[0])
    found = dict(zip(rates, resamples.differences(one[1], other[1]), strict=True))
    return auroc, {r: d if _enough(traces, r) else None for r, d in found.items()}


def right_rows(traces: Traces, against: Against) -> Bools:
    """Return rows that did not fail, of one sort."""
    failed, clean = traces.origin.failed, traces.origin.kind == NOTHING
    if against == "clean":
        return np.asarray(clean & ~failed)
    return np.asarray(~failed if against == "regular" else ~clean & ~failed)


def _curves(
    traces: Traces,
    score: Floats,
    rows: Bools,
    against: Against,
    rates: tuple[float, ...],
) -> tuple[Auroc, RecallAt]:
    if np.isnan(score).any():
        raise ValueError(
            f"scores must be numbers, got NaN for {int(np.isnan(score).sum())} rows; "
            "score what cannot be judged as infinite"
        )
    wrong, clean = rows & traces.origin.failed, right_rows(traces, "clean")
    right = right_rows(traces, against) & (rows | clean)
    return Auroc(score, wrong, right), RecallAt(score, wrong, clean, rates)


def _enough(traces: Traces, rate: float) -> bool:
    """Say whether one clean row is at most such a share of all clean rows."""
    return bool((traces.origin.kind == NOTHING).sum() * rate >= 1)


def _level(
    name: str,
    labels: NDArray[np.generic],
    said: NDArray[np.generic],
    classes: Sequence[str],
    resamples: Resamples,
    rows: Bools,
) -> Level:
    numbers = np.arange(1, len(classes))
    wanted = (labels[:, None] == numbers) & rows[:, None]
    got = (said[:, None] == numbers) & rows[:, None]
    *precision, mean_precision = resamples.estimates(Shares(wanted, got, macro=True))
    *recall, mean_recall = resamples.estimates(Shares(got, wanted, macro=True))
    found = zip(classes[1:], precision, recall, strict=True)
    macro = Judged(
        "macro", _widened(mean_precision, precision), _widened(mean_recall, recall)
    )
    return Level(name, tuple(Judged(*each) for each in found), macro)


def _widened(
    mean: Estimate | None, parts: Sequence[Estimate | None]
) -> Estimate | None:
    """Return a mean that is no surer than those of its parts that no draw moves."""
    if mean is None:
        return None
    sure = [part for part in parts if part is not None and part.value in (0, 1)]
    below = sum(part.value - part.low for part in sure) / len(parts)
    above = sum(part.high - part.value for part in sure) / len(parts)
    low, high = max(0.0, mean.low - below), min(1.0, mean.high + above)
    return replace(mean, low=low, high=high)
