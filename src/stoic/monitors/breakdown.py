"""Tables of an evaluation: per bit, per site, and per strength of corruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stoic.estimates.estimate import Estimate
from stoic.monitors.bounds import Floats
from stoic.monitors.evaluation import RATES, Against, Curve, curve
from stoic.monitors.measures import Bools, Shares
from stoic.monitors.resamples import Resamples
from stoic.monitors.traces import MEMORY, NOTHING, Traces

__all__ = ["By", "Group", "Line", "alarms_on", "curves_by", "groups", "recalls_by"]

By = Literal["bit", "bits", "site", "kind", "strength"]


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that have something in common.

    Args:
        name: What, such as ``noise 0.25`` or ``30``.
        rows: Which.
        share: Of the inputs that a strength was chosen by, how many failed; else None.
    """

    name: str
    rows: Bools
    share: float | None = None


@dataclass(frozen=True)
class Line:
    """Alarms on one group of rows.

    Args:
        name: Of the group.
        failed: Share of its rows that failed.
        recall: Of these, those with an alarm; None if none failed.
        benign: Of the others, those with an alarm; None if all failed.
    """

    name: str
    failed: Estimate | None
    recall: Estimate | None
    benign: Estimate | None


def groups(traces: Traces, by: By) -> Iterator[Group]:
    """Yield groups of rows with a fault, in order.

    Args:
        traces: What was done to each row.
        by: Bit or site of a fault in memory; how many bits it touched at once,
            whatever its kind; kind of a fault; or kind and strength of a corruption.
    """
    origin = traces.origin
    memory, faulted = origin.kind == MEMORY, origin.kind != NOTHING
    struck = faulted & (origin.site != "")
    if by == "bit":
        for bit in np.unique(origin.bit[memory]).tolist():
            yield Group(str(bit), memory & (origin.bit == bit))
    elif by == "bits":
        for bits in np.unique(origin.bits[struck]).tolist():
            yield Group(
                f"{bits} bit{'s' * (bits != 1)}", struck & (origin.bits == bits)
            )
    elif by == "site":
        for site in dict.fromkeys(origin.site[memory].tolist()):
            yield Group(site, memory & (origin.site == site))
    elif by == "kind":
        for kind in np.unique(origin.kind[faulted]).tolist():
            yield Group(kind, origin.kind == kind)
    else:
        spoilt = faulted & ~struck
        pairs = zip(origin.kind[spoilt], origin.strength[spoilt].tolist(), strict=True)
        for kind, strength in sorted(set(pairs)):
            rows = (origin.kind == kind) & (origin.strength == strength)
            share = float(origin.share[rows][0])
            yield Group(f"{kind} {strength:.4g}", rows, share)


def recalls_by(
    traces: Traces, alarmed: Bools, resamples: Resamples, rows: Bools, by: By
) -> tuple[Line, ...]:
    """Return how many failures of each group raised an alarm.

    Args:
        traces: What was done to each row.
        alarmed: Rows with an alarm.
        resamples: Of the same rows.
        rows: Which to judge.
        by: What makes a group.
    """
    return tuple(
        alarms_on(group.name, rows & group.rows, traces, alarmed, resamples)
        for group in groups(traces, by)
    )


def alarms_on(
    name: str, rows: Bools, traces: Traces, alarmed: Bools, resamples: Resamples
) -> Line:
    """Return how many failures of some rows, and of the others, raised an alarm.

    Args:
        name: Of these rows.
        rows: Which.
        traces: What was done to each row.
        alarmed: Rows with an alarm.
        resamples: Of the same rows.
    """
    failed = traces.origin.failed
    counted = np.stack([failed, alarmed, alarmed], 1)
    among = np.stack([rows, rows & failed, rows & ~failed], 1)
    return Line(name, *resamples.estimates(Shares(counted, among)))


def curves_by(
    traces: Traces,
    score: Floats,
    resamples: Resamples,
    rows: Bools,
    by: By,
    *,
    against: Against = "clean",
    rates: Sequence[float] = RATES,
) -> dict[str, Curve]:
    """Return what a score can do on each group; arguments as `evaluation.curve`.

    Failed rows are compared with clean ones by default: at a strength at which most
    fail, what did not fail is hardly different.
    """
    return {
        group.name: curve(
            traces,
            score,
            resamples,
            rows & group.rows,
            against=against,
            rates=rates,
        )
        for group in groups(traces, by)
    }
