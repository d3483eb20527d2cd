"""Every single-bit fault of the case ``digits``: 117,056 faults on 128 inputs.

Run it as ``python -m benchmarks.digits``. Stoic's time is that of the whole campaign,
from capture to the run folder. The naive loop flips a bit in place, runs the network
and judges; it is timed on a sample in between, and its time for all is extrapolated.
The sample's outcomes are compared with what the run folder says.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from benchmarks.baselines import flip_word
from benchmarks.faultlist import unraveled
from benchmarks.verdicts import CRASHED, FAILED, NONFINITE, Codes, judge
from torch import Tensor, nn

import stoic
from stoic import records

__all__ = ["main"]

_PARTS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if an outcome differs from the naive loop's."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    case = stoic.load("digits", options.inputs)
    assert isinstance(case.inputs, Tensor)
    times, wrong, faults = [], set(), 0
    naive: list[float] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            printing.say(f"round {number + 1}/{options.rounds}: Stoic")
            times.append(_campaign(case, options, Path(folder) / "run"))
            run = records.open_run(Path(folder) / "run")
            faults = run.manifest.space.size
            sample = _sample(run, options.sample, options.seed + number)
            codes = _recorded(run, list(sample), len(case.inputs))
        printing.say(f"round {number + 1}/{options.rounds}: naive loop")
        right, seconds = _loop(case.network, case.inputs, list(sample.values()))
        naive += seconds
        pairs = zip(sample, right, strict=True)
        wrong |= {trial for trial, code in pairs if (codes[trial] != code).any()}
    record = _record(options, int(faults), times, naive, sorted(wrong))
    printing.show(record, _text(record), as_json=options.json)
    return 1 if wrong else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.digits", description=__doc__)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--mode", choices=("fast", "exact"), default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=2000, help="faults compared")
    printing.common_options(parser)
    options = parser.parse_args(argv)
    options.sites = "*"
    if options.quick:
        options.rounds, options.sample, options.sites = 1, 50, "head.bias"
    return options


def _campaign(case: Any, options: argparse.Namespace, out: Path) -> float:
    begun = time.perf_counter()
    stoic.pvf(
        case.network,
        case.inputs,
        case.labels,
        sites=options.sites,
        faults=None,
        mode=options.mode,
        criterion="top1-changed",
        # As many of the best classes as the naive loop looks at.
        best=1,
        out=out,
    )
    return time.perf_counter() - begun


_Place = tuple[str, int, int]


def _sample(run: records.Run, count: int, seed: int) -> dict[int, _Place]:
    """Return site, element and bit of some recorded trials."""
    with run.connection() as connection:
        rows = connection.execute(
            "SELECT trial, site, element, bit FROM faults ORDER BY trial"
        ).fetchall()
    chosen = random.Random(f"sample {seed}").sample(rows, min(count, len(rows)))
    return {trial: (site, element, bit) for trial, site, element, bit in chosen}


def _recorded(run: records.Run, trials: list[int], inputs: int) -> dict[int, Codes]:
    """Return what the run folder says of some trials."""
    codes = {trial: np.zeros(inputs, np.uint8) for trial in trials}
    with run.connection() as connection:
        rows = connection.execute(
            "SELECT trial, input, failed, nonfinite > 0 FROM outcomes"
        ).fetchall()
        undone = connection.execute(
            "SELECT trial FROM trials WHERE status <> 'done'"
        ).fetchall()
    for trial, input, failed, broken in rows:
        if trial in codes:
            codes[trial][input] = failed * FAILED + broken * NONFINITE
    for (trial,) in undone:
        if trial in codes:
            codes[trial][:] = CRASHED
    return codes


@torch.inference_mode()
def _loop(
    network: nn.Module, inputs: Tensor, places: list[_Place]
) -> tuple[list[Codes], list[float]]:
    """Run faults naively; return the codes and seconds per fault, part by part."""
    golden = network(inputs)
    codes: list[Codes] = []
    seconds = []
    size = -(-len(places) // _PARTS)
    for start in range(0, len(places), size):
        part = places[start : start + size]
        begun = time.perf_counter()
        codes += [_one(network, inputs, golden, place) for place in part]
        seconds.append((time.perf_counter() - begun) / len(part))
    return codes, seconds


def _one(network: nn.Module, inputs: Tensor, golden: Tensor, place: _Place) -> Codes:
    name, element, bit = place
    weight = network.get_parameter(name).detach()
    index = unraveled(element, weight.shape)
    flip_word(weight, index, bit)
    try:
        return judge(golden, network(inputs))
    finally:
        flip_word(weight, index, bit)


def _record(
    options: argparse.Namespace,
    faults: int,
    times: list[float],
    naive: list[float],
    wrong: list[int],
) -> dict[str, Any]:
    mine, loop = statistics.median(times), statistics.median(naive) * faults
    return {
        "benchmark": "digits",
        "mode": options.mode,
        "inputs": options.inputs,
        "faults": faults,
        "stoic_s": mine,
        "stoic_rounds_s": times,
        "naive_s_extrapolated": loop,
        "naive_s_per_fault": naive,
        "times_faster": loop / mine,
        "compared": options.sample * options.rounds,
        "differing": wrong,
    }


def _text(record: dict[str, Any]) -> str:
    rows = [
        [
            f"stoic {record['mode']}",
            record["stoic_s"],
            "measured, capture to run folder",
        ],
        ["naive loop", record["naive_s_extrapolated"], "extrapolated from the sample"],
    ]
    wrong = record["differing"]
    return (
        f"digits: {record['faults']:,} faults on {record['inputs']} inputs\n\n"
        f"{printing.table(['tool', 'seconds', 'how'], rows)}\n\n"
        f"Stoic is {record['times_faster']:.2f} times faster (medians).\n"
        f"{record['compared']:,} outcomes compared with the naive loop's: "
        + (
            f"{len(wrong)} DIFFER, such as trial {wrong[0]}"
            if wrong
            else "none differs"
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
