"""What a guarded network takes more than the network alone, verdict included.

Run it as ``python -m benchmarks.overhead``. The network and the guarded one run in
turn, pair by pair; the ratio of each pair is what counts, of wall time and of the time
that the processor spent on it, which other processes disturb less. The monitor is one
that was really fitted to the network: the ``--monitor`` that ``stoic monitor fit`` has
saved; otherwise ``--monitors`` is the folder of its file, and it is fitted and saved
there first if there is none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from benchmarks.fitted import (
    NETWORKS,
    Subject,
    fitted_monitor,
    monitor_options,
    subject,
)

from stoic.monitors.guarded import guard
from stoic.monitors.monitor import Monitor
from stoic.network.subject import Inputs

__all__ = ["main"]

_WAYS = ("eager", "compiled")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.networks:
        found = subject(name, max(options.batches))
        monitor = fitted_monitor(found, options)
        rows += [
            _row(found, monitor, batch, way, options.pairs)
            for batch in options.batches
            for way in options.ways
        ]
    printing.show(
        {"benchmark": "overhead", "rows": rows}, _text(rows), as_json=options.json
    )
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.overhead", description=__doc__
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=["eager"])
    parser.add_argument("--pairs", type=int, default=60, help="of runs")
    monitor_options(parser)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.batches, options.pairs = ["signs"], [1], 5
    if options.monitor and len(options.networks) > 1:
        parser.error(
            "--monitor must be of one network, got "
            f"{len(options.networks)} networks; name one with --networks"
        )
    return options


def _row(
    of: Subject, monitor: Monitor, batch: int, way: str, pairs: int
) -> dict[str, Any]:
    printing.say(f"{of.name}, batch {batch}, {way}")
    inputs = of.inputs[:batch]
    example = inputs if batch > 1 else inputs.repeat(2, 1, 1, 1)
    guarded: Any = guard(of.network, monitor, Inputs((example,), {}))
    plain: Any = of.network
    if way == "compiled":
        torch._dynamo.reset()
        plain, guarded = torch.compile(plain), torch.compile(guarded)
    with torch.inference_mode():
        found = _pairs(lambda: plain(inputs), lambda: guarded(inputs), pairs)
    wall, spent = found[..., 0], found[..., 1]
    return {
        "network": of.name,
        "batch": batch,
        "way": way,
        "layers": list(dict.fromkeys(watch.value for watch in monitor.watches)),
        "features": len(monitor.rules.features),
        "leaves": len(monitor.rules.leaves),
        "steps": len(monitor.points.steps),
        "plain_ms": 1000 * statistics.median(wall[:, 0]),
        "more_us": 1e6 * statistics.median(wall[:, 1] - wall[:, 0]),
        "ratio": _limits(wall),
        "processor_ratio": _limits(spent),
    }


def _pairs(plain: Callable[[], Any], guarded: Callable[[], Any], count: int) -> Any:
    """Return seconds, wall and spent, of both: shape ``(pairs, 2, 2)``.

    They run in turn, and each first as often.
    """
    for _ in range(3):
        plain(), guarded()
    found = []
    for number in range(count):
        order = (plain, guarded) if number % 2 else (guarded, plain)
        times = {call: _timed(call) for call in order}
        found.append((times[plain], times[guarded]))
    return np.array(found)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return wall time, and the time that all threads of this process spent."""
    begun, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - spent


def _limits(pairs: Any) -> list[float]:
    """Return the median of the ratios of pairs, with bootstrapped 95 % limits."""
    ratios = pairs[:, 1] / pairs[:, 0]
    chance = np.random.default_rng(0)
    drawn = chance.choice(ratios, (4000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return [float(np.median(ratios)), float(low), float(high)]


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = (
        *("network", "batch", "way", "layers", "features", "alone, ms", "more, µs"),
        *("ratio", "95 %", "processor", "95 %"),
    )
    cells = [
        [
            *(row["network"], row["batch"], row["way"]),
            *(len(row["layers"]), row["features"]),
            f"{row['plain_ms']:.2f}",
            f"{row['more_us']:.0f}",
            *_told(row["ratio"]),
            *_told(row["processor_ratio"]),
        ]
        for row in rows
    ]
    return printing.table(heads, cells)


def _told(limits: Sequence[float]) -> tuple[str, str]:
    value, low, high = limits
    return f"{value:.4f}", f"{low:.4f} to {high:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
