"""What alarms are worth where faults are as frequent as in the field.

Safety Gain, Residual Hazard and Availability Cost are expected returns per inference.
A failed result that is used costs safety 1; a right result that is not used costs
availability 1; an alarm keeps a result from being used. So Safety Gain, the safety that
alarms add to a network without them, is the share of inferences that failed with an
alarm. Residual Hazard, what is still missing to a perfect monitor, is the share that
failed without one. Availability Cost, what alarms take away, is the share that raised
an alarm and did not fail. The first two sum to the share that fails.

References:
    Guérin, Ferreira, Delmas and Guiochet, Unifying evaluation of machine learning
    safety monitors, 2022 (arXiv 2208.14660). Restated from its definition by expected
    returns; the weights of its case studies are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stoic.estimates.estimate import Estimate
from stoic.monitors.measures import AtRate, Bools, Shares
from stoic.monitors.resamples import Resamples
from stoic.monitors.traces import NOTHING, Traces

__all__ = ["Worth", "worth"]


@dataclass(frozen=True)
class Worth:
    """What alarms are worth at one frequency of faults.

    Args:
        rate: Share of inferences with a fault; None for that of the rows.
        precision: Of alarms, those on failed results; None without an alarm.
        gain: Safety Gain.
        hazard: Residual Hazard.
        cost: Availability Cost.
    """

    rate: float | None
    precision: Estimate | None
    gain: Estimate | None
    hazard: Estimate | None
    cost: Estimate | None


def worth(
    traces: Traces,
    alarmed: Bools,
    resamples: Resamples,
    rows: Bools,
    rates: Sequence[float | None] = (None,),
) -> tuple[Worth, ...]:
    """Return what alarms are worth at frequencies of faults.

    Args:
        traces: What was done to each row.
        alarmed: Rows with an alarm.
        resamples: Of the same rows.
        rows: Which to judge; the mix of faults is theirs.
        rates: Shares of inferences with a fault; None for that of the rows. Which
            share of faults is in memory and which in the input stays as it is.

    Raises:
        ValueError: A rate is not above 0 and at most 1.
    """
    found = []
    for rate in rates:
        if rate is None:
            found.append(_in_rows(traces, alarmed, resamples, rows))
            continue
        if not 0 < rate <= 1:
            raise ValueError(
                f"rate of faults must be above 0 and at most 1, got {rate}; "
                "give a share of inferences"
            )
        found.append(_at_rate(traces, alarmed, resamples, rows, rate))
    return tuple(found)


def _in_rows(
    traces: Traces, alarmed: Bools, resamples: Resamples, rows: Bools
) -> Worth:
    failed = traces.origin.failed
    cells = [failed, failed & alarmed, failed & ~alarmed, ~failed & alarmed]
    among = [rows & alarmed, rows, rows, rows]
    shares = Shares(np.stack(cells, 1), np.stack(among, 1))
    return Worth(None, *resamples.estimates(shares))


def _at_rate(
    traces: Traces, alarmed: Bools, resamples: Resamples, rows: Bools, rate: float
) -> Worth:
    failed, clean = traces.origin.failed, traces.origin.kind == NOTHING
    faulted = rows & ~clean
    at = AtRate(alarmed, failed, faulted, rows & clean, rate)
    cells = np.stack([failed & alarmed, failed & ~alarmed], 1)
    parts = resamples.estimates(Shares(cells, np.stack([faulted, faulted], 1)))
    gain, hazard = (_times(part, rate) for part in parts)
    precision, cost = _unsure(at, resamples)
    return Worth(rate, precision, gain, hazard, cost)


def _unsure(at: AtRate, resamples: Resamples) -> tuple[Estimate | None, ...]:
    """Return precision and cost, no surer than those of their parts that are rare.

    No false alarm on a few hundred clean images leaves room for one in a hundred; where
    faults are rare that is all that matters, and no draw of these images shows it.
    """
    plain = resamples.estimates(at, certain=True)
    limits = [
        _limits(part, among, resamples)
        for part, among in zip(
            resamples.estimates(at.shares), at.shares.among.T, strict=True
        )
    ]
    (least, most), *false = limits
    best = (most, false[0][0], false[1][0])
    worst = (least, false[0][1], false[1][1])
    ends = [
        resamples.estimates(replace(at, fixed=fixed), certain=True)
        for fixed in (best, worst)
    ]
    return tuple(map(_around, plain, *ends))


def _limits(
    part: Estimate | None, among: Bools, resamples: Resamples
) -> tuple[float | None, float | None]:
    """Return the limits of a share that draws tell too little of; None for others."""
    if part is None or not resamples.rare(part.value, resamples.units(among)):
        return None, None
    return part.low, part.high


def _around(
    plain: Estimate | None, best: Estimate | None, worst: Estimate | None
) -> Estimate | None:
    """Return an estimate whose interval holds those of both ends."""
    if plain is None:
        return None
    ends = [each for each in (plain, best, worst) if each is not None]
    low, high = min(each.low for each in ends), max(each.high for each in ends)
    return replace(plain, low=low, high=high)


def _times(part: Estimate | None, rate: float) -> Estimate | None:
    """Return an estimate of a share of a known share."""
    if part is None:
        return None
    value, low, high = (rate * each for each in (part.value, part.low, part.high))
    return replace(part, value=value, low=low, high=high)
