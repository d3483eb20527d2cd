"""Do alarms keep to their rates of false alarms, and what is chance?

Run it as ``python -m benchmarks.promises signs FILE...``. Fault-free inputs that no
file was fitted with run through the network. Each file's own alarms are tried on them:
the limits of its score, and its calibrated alarm. A promise is over both, the inputs
and those that a file was calibrated with, so one file may be above it: *chance* is
between which rates 95 of 100 files are, by the law of the rank that was calibrated.
Then as many inputs as the file was calibrated with are drawn to calibrate the same
points and spans anew, and others to try them on, again and again: on average a promise
must hold, and by how much single draws miss it is chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray
from scipy.stats import beta

import stoic
from stoic.campaign.scores import scores_of
from stoic.cases.case import Case
from stoic.monitors.alarm import Alarm, calibrated
from stoic.monitors.bounds import Bounds, Floats
from stoic.monitors.collecting import Recipe, Watched, collected
from stoic.monitors.division import Division
from stoic.monitors.monitor import Monitor
from stoic.monitors.points import Points
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.study import as_inputs

__all__ = ["chance", "main"]

_LEVEL = 0.95


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a promise is broken by more than three errors."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    monitors = {path.name: Monitor.load(path) for path in options.files}
    first = max(int(monitor.about["inputs"]) for monitor in monitors.values())
    case = stoic.load(options.case, first + options.inputs)
    rows = []
    for name, monitor in monitors.items():
        printing.say(name)
        values = _clean(case, monitor, first)
        rows += [{"file": name, **row} for row in _rows(monitor, values, options)]
    record = {"benchmark": "promises", "case": options.case, "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return int(any(row["mean"] > row["rate"] + 3 * row["error"] for row in rows))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.promises", description=__doc__
    )
    parser.add_argument("case")
    parser.add_argument("files", nargs="+", type=Path, help="monitors of the case")
    parser.add_argument(
        "--rate",
        nargs="+",
        type=float,
        default=[0.01, 0.001],
        help="of false alarms, to calibrate for anew",
    )
    parser.add_argument("--inputs", type=int, default=30_000, help="to try limits on")
    parser.add_argument(
        "--trials", type=int, default=2500, help="inputs tried per draw"
    )
    parser.add_argument("--draws", type=int, default=500)
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.inputs, options.trials, options.draws = 2000, 500, 20
    return options


def _clean(case: Case, monitor: Monitor, first: int) -> Floats:
    """Return features of all inputs from one on, without a fault."""
    inputs = as_inputs(case.inputs)
    subject = prepare(case.network, inputs.rows(0, 50))
    assert isinstance(subject, CapturedSubject)
    watched = Watched(subject, monitor.watches, case.judged_by, case.tail or scores_of)
    rest, nothing = inputs.rows(first, inputs.count), Recipe((), ())
    return collected(watched, rest, nothing, batch=50, seed=0, half=None).values


class _Promise(Protocol):
    """An alarm that keeps to a rate, as a file has it and calibrated anew."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def own(self, values: Floats, rate: float) -> NDArray[np.bool_] | None:
        """Say which rows the file's own alarm is raised for, if it has one."""
        ...

    def anew(self, by: Floats, values: Floats, rate: float) -> NDArray[np.bool_]:
        """Say which rows raise one that other rows calibrate."""
        ...


@dataclass(frozen=True, eq=False)
class _Score:
    """Limits of the score."""

    points: Points
    name: str = "score"

    def own(self, values: Floats, rate: float) -> NDArray[np.bool_] | None:
        """Say which rows are above the file's limit."""
        if rate not in self.points.limits:
            return None
        return np.asarray(self.points.total(values) > self.points.limits[rate])

    def anew(self, by: Floats, values: Floats, rate: float) -> NDArray[np.bool_]:
        """Say which rows are above a limit by other rows."""
        limit = self.points.calibrated(by, [rate]).limits[rate]
        return np.asarray(self.points.total(values) > limit)


@dataclass(frozen=True, eq=False)
class _Spans:
    """The calibrated alarm; anew, its spans are widened evenly, or left."""

    alarm: Alarm
    name: str = "calibrated alarm"

    def own(self, values: Floats, rate: float) -> NDArray[np.bool_] | None:
        """Say which rows are outside of the file's spans."""
        if rate != self.alarm.rate:
            return None
        return self.alarm.raised(values)

    def anew(self, by: Floats, values: Floats, rate: float) -> NDArray[np.bool_]:
        """Say which rows are outside of spans that other rows calibrate."""
        begun = Bounds(self.alarm.low, self.alarm.high, self.alarm.rows)
        alarm = calibrated(by, begun, rate)
        return alarm.raised(values)


def _rows(
    monitor: Monitor, values: Floats, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield a line per promise of a file and rate."""
    about = monitor.about
    count = Division(int(about["inputs"]), int(about["seed"])).calibration_count
    if len(values) < count + options.trials:
        raise SystemExit(
            f"--inputs must be at least {count + options.trials}, to calibrate by and "
            f"to try, got {len(values)}; give more"
        )
    for promise in (_Score(monitor.points), _Spans(monitor.alarm)):
        for rate in options.rate:
            yield _row(promise, rate, count, values, options)


def _row(
    promise: _Promise,
    rate: float,
    count: int,
    values: Floats,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Try a promise as the file has it, and calibrated anew again and again."""
    drawing = np.random.default_rng(options.seed)
    found = []
    for _ in range(options.draws):
        drawn = drawing.permutation(len(values))[: count + options.trials]
        tried = values[drawn[count:]]
        found.append(promise.anew(values[drawn[:count]], tried, rate).mean())
    own = promise.own(values, rate)
    return {
        "promise": promise.name,
        "rate": rate,
        "calibrated": count,
        "tried": len(values),
        "own": None if own is None else _share(int(own.sum()), len(own)),
        "chance": chance(rate, count),
        "mean": float(np.mean(found)),
        "error": float(np.std(found) / np.sqrt(len(found))),
        "spread": float(np.std(found)),
    }


def _share(some: int, of: int) -> list[float]:
    """Return a share with its exact interval.

    References:
        Clopper and Pearson, 1934.
    """
    low, high = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2
    least = float(beta.ppf(low, some, of - some + 1)) if some else 0.0
    most = float(beta.ppf(high, some + 1, of - some)) if some < of else 1.0
    return [some / of, least, most]


def chance(rate: float, count: int) -> list[float]:
    """Return between which rates of false alarms 95 of 100 files are.

    Args:
        rate: That is promised.
        count: Inputs that each was calibrated by.

    References:
        Vovk, Conditional validity of inductive conformal predictors, 2012.
    """
    above = count + 1 - math.ceil((count + 1) * (1 - rate))
    ends = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2
    return [float(beta.ppf(end, above, count + 1 - above)) for end in ends]


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = (
        *("file", "promise", "promised", "calibrated by", "its own, of others"),
        *("chance", "draws", "±", "spread"),
    )
    cells = [
        [
            *(row["file"], row["promise"], f"{row['rate']:.2%}", row["calibrated"]),
            _told(row["own"], row["tried"]),
            f"{row['chance'][0]:.2%} to {row['chance'][1]:.2%}",
            *(f"{row[name]:.3%}" for name in ("mean", "error", "spread")),
        ]
        for row in rows
    ]
    return printing.table(heads, cells)


def _told(own: Sequence[float] | None, tried: int) -> str:
    if own is None:
        return "-"
    value, low, high = own
    return f"{value:.3%} [{low:.3%}, {high:.3%}] of {tried:,}"


if __name__ == "__main__":
    raise SystemExit(main())
