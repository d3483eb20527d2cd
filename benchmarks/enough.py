"""Work for an interval of a given width: Stoic's adaptive campaigns, uniform sampling.

Run it as ``python -m benchmarks.enough``. Work is counted in evaluations, one fault on
one input each, and in seconds. Uniform sampling gets its own best number of inputs per
fault: for evaluations that is one, as inputs of a fault mostly fail together; for
seconds it is what PyTorchFI, whose rate is measured in between, is quickest with. How
many faults it needs follows from the variance of a uniform sample that Stoic runs.

Seconds are those that pass; those of the processor, which other work on the machine
changes less, are shown beside them.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from benchmarks.faultlist import draw_weights, layers_of
from benchmarks.peers import PyTorchFIWeights

import stoic
from stoic.cases import Case

__all__ = ["main"]

_Z = 1.959964
_CASES = ("digits", "signs", "imagenet")
_KINDS = ("approximate", "guaranteed")


@dataclass(frozen=True)
class Spread:
    """How failures vary, from a uniform sample of faults on all inputs.

    Args:
        faults: In the space.
        inputs: Of the case.
        mean: Share of failed inputs.
        between: Variance of that share over faults.
        within: Variance over the inputs of a fault.
    """

    faults: int
    inputs: int
    mean: float
    between: float
    within: float

    def needed(self, half_width: float, inputs: int) -> float:
        """Return how many faults on so many inputs each give such an interval."""
        left = 1 - inputs / self.inputs
        variance = self.between + self.within / inputs * left
        endless = _Z**2 * variance / half_width**2
        units = self.faults * self.inputs / inputs
        return endless / (1 + endless / units)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    records = [_case(name, options) for name in options.cases]
    record = {"benchmark": "enough", "half_width": options.half_width, "cases": records}
    printing.show(record, _text(records), as_json=options.json)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.enough", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=_CASES, default=_CASES)
    parser.add_argument("--half-width", type=float, default=0.0005)
    parser.add_argument("--kinds", nargs="+", choices=_KINDS, default=_KINDS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--uniform", type=int, default=4000, help="faults for variance")
    parser.add_argument("--peer-faults", type=int, default=24, help="a round and size")
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.cases, options.half_width = ["digits"], 0.01
        options.uniform, options.peer_faults = 400, 4
    return options


def _case(name: str, options: argparse.Namespace) -> dict[str, Any]:
    case = stoic.load(name)
    printing.say(f"{name}: how failures vary")
    spread = _spread(case, options)
    peer: dict[int, list[Spent]] = {1: [], spread.inputs: []}
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in options.kinds}
    for number in range(options.rounds):
        seed = options.seed + number
        for inputs, spent in peer.items():
            printing.say(f"{name}: PyTorchFI on {inputs} inputs")
            spent.append(_peer(case, inputs, options.peer_faults, seed))
        for kind, found in runs.items():
            printing.say(f"{name}: Stoic, {kind}")
            found.append(_stoic(case, kind, seed, options))
    return {
        "case": name,
        "spread": asdict(spread),
        "uniform_evaluations": spread.needed(options.half_width, 1),
        **{
            f"peer_{kind}": {
                inputs: median(getattr(each, kind) for each in spent)
                * spread.needed(options.half_width, inputs)
                for inputs, spent in peer.items()
            }
            for kind in ("seconds", "cpu_seconds")
        },
        "stoic": runs,
    }


def _spread(case: Case, options: argparse.Namespace) -> Spread:
    """Return the variances of a uniform sample, or of all faults if there are few."""
    whole = case.name == "digits" and not options.quick
    measured = stoic.pvf(
        case.network,
        case.inputs,
        case.labels,
        faults=None if whole else options.uniform,
        mode="fast",
        seed=options.seed + 1000,
        tail=case.tail,
    )
    with measured.run.connection() as connection:
        counts = connection.execute(
            "SELECT count(input) FILTER (failed) AS failed FROM trials "
            "LEFT JOIN outcomes USING (trial) GROUP BY trial"
        ).fetchnumpy()["failed"]
    inputs = measured.run.manifest.data.inputs
    share = np.asarray(counts, float) / inputs
    mean = float(share.mean())
    within = float((share * (1 - share)).mean()) * inputs / max(inputs - 1, 1)
    between = float(share.var())
    return Spread(measured.run.manifest.space.size, inputs, mean, between, within)


@dataclass(frozen=True)
class Spent:
    """Time that something took.

    Args:
        seconds: That have passed.
        cpu_seconds: Of the processor.
    """

    seconds: float
    cpu_seconds: float


class _Watch:
    """Measures what is spent from when it is made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def spent(self, times: int = 1) -> Spent:
        """Return what was spent, for each of so many times."""
        seconds, cpu = self._begun
        return Spent(
            (time.perf_counter() - seconds) / times, (time.process_time() - cpu) / times
        )


@torch.no_grad()
def _peer(case: Case, inputs: int, faults: int, seed: int) -> Spent:
    """Return what PyTorchFI spends per fault on so many inputs."""
    assert isinstance(case.inputs, torch.Tensor)
    few = case.inputs[:inputs]
    drawn = draw_weights(layers_of(case.network, few), faults, seed)
    tool = PyTorchFIWeights(case.network, few)
    watch = _Watch()
    tool.run(drawn)
    return watch.spent(faults)


def _stoic(
    case: Case, kind: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what an adaptive campaign needs, from capture to the estimate."""
    watch = _Watch()
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        measured = stoic.pvf(
            case.network,
            case.inputs,
            case.labels,
            half_width=options.half_width,
            interval=kind,
            mode="fast",
            seed=seed,
            tail=case.tail,
            out=Path(folder) / "run",
            notice=notes.append,
        )
        found = measured.pvf
        with measured.run.connection() as connection:
            row = connection.execute(
                "SELECT sum(known) / sum(units + known) FROM cells"
            ).fetchone()
    proved = float(row[0]) if row else 0.0
    return {
        "evaluations": found.n,
        **asdict(watch.spent()),
        "value": found.value,
        "half_width": (found.high - found.low) / 2,
        "proved": proved,
        "floor": (1 - proved) * math.log(40) / options.half_width,
    }


def _text(records: Sequence[dict[str, Any]]) -> str:
    heads = (
        "case",
        "interval",
        "PVF",
        "half width",
        "proved",
        "evaluations",
        "uniform",
        "ratio",
        "floor",
        "seconds",
        "PyTorchFI",
        "ratio",
        "CPU seconds",
        "PyTorchFI",
        "ratio",
    )
    rows = []
    for record in records:
        uniform = record["uniform_evaluations"]
        for kind, runs in record["stoic"].items():
            work = median(run["evaluations"] for run in runs)
            rows.append(
                (
                    record["case"],
                    kind,
                    f"{100 * runs[0]['value']:.4g} %",
                    f"{100 * runs[0]['half_width']:.3g}",
                    f"{100 * runs[0]['proved']:.1f} %",
                    f"{work:,.0f}",
                    f"{uniform:,.0f}",
                    f"1/{uniform / work:.1f}",
                    f"{runs[0]['floor']:,.0f}",
                    *_times(record, runs, "seconds"),
                    *_times(record, runs, "cpu_seconds"),
                )
            )
    return printing.table(heads, rows) + (
        "\n\nhalf width in points; uniform: evaluations that uniform sampling without "
        "replacement needs at its best number\nof inputs per fault, one; floor: trials "
        "that a guaranteed interval needs even if none fails;\nPyTorchFI: its seconds "
        "for a uniform approximate interval of that width, on one input or all, "
        "whichever is less"
    )


def _times(
    record: dict[str, Any], runs: Sequence[dict[str, Any]], kind: str
) -> tuple[str, str, str]:
    """Return our time, PyTorchFI's and their ratio."""
    ours = median(run[kind] for run in runs)
    best = min(record[f"peer_{kind}"].values())
    return f"{ours:,.1f}", f"{best:,.0f}", f"{best / ours:,.0f}x"


if __name__ == "__main__":
    raise SystemExit(main())
