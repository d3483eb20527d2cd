"""Do limits of the score keep to their rates of false alarms, and what is chance?

Run it as ``python -m benchmarks.promises signs FILE...``. Fault-free inputs that no
file was fitted with run through the network. Each file's own limits are tried on them.
Then as many as it was calibrated with are drawn to calibrate the same points anew, and
others to try them on, again and again: on average a promise must hold, and by how much
single draws miss it is chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing

import stoic
from stoic.campaign.scores import scores_of
from stoic.cases.case import Case
from stoic.monitors.bounds import Floats
from stoic.monitors.collecting import Recipe, Watched, collected
from stoic.monitors.division import Division
from stoic.monitors.monitor import Monitor
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.study import as_inputs

__all__ = ["main"]


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


def _rows(
    monitor: Monitor, values: Floats, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield a line per promise of a file."""
    own, totals = monitor.points, monitor.points.total(values)
    chance = np.random.default_rng(options.seed)
    about = monitor.about
    count = Division(int(about["inputs"]), int(about["seed"])).calibration_count
    if len(values) < count + options.trials:
        raise SystemExit(
            f"--inputs must be at least {count + options.trials}, to calibrate by and "
            f"to try, got {len(values)}; give more"
        )
    for rate, limit in own.limits.items():
        found = []
        for _ in range(options.draws):
            drawn = chance.permutation(len(values))[: count + options.trials]
            anew = own.calibrated(values[drawn[:count]], [rate]).limits[rate]
            found.append((totals[drawn[count:]] > anew).mean())
        yield {
            "rate": rate,
            "calibrated": count,
            "own": float((totals > limit).mean()),
            "mean": float(np.mean(found)),
            "error": float(np.std(found) / np.sqrt(len(found))),
            "spread": float(np.std(found)),
        }


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = ("file", "promised", "calibrated by", "its limit", "draws", "±", "spread")
    cells = [
        [
            *(row["file"], f"{row['rate']:.2%}", row["calibrated"]),
            *(f"{row[name]:.3%}" for name in ("own", "mean", "error", "spread")),
        ]
        for row in rows
    ]
    return printing.table(heads, cells)


if __name__ == "__main__":
    raise SystemExit(main())
