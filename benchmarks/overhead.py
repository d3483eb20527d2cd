"""What a guarded network takes more than the network alone, verdict included.

Run it as ``python -m benchmarks.overhead``. The network and the guarded one run in
turn, pair by pair; the ratio of each pair is what counts. The monitor watches two
layers, with three features and a tree of some thirty leaves: an operator's time hangs
on that, not on what the rules say, so they are learnt from made features.
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
from benchmarks.networks import build
from torch import Tensor, nn

import stoic
from stoic.campaign.fingerprint import network_fingerprint
from stoic.monitors.alarm import calibrated
from stoic.monitors.bounds import bounds_of
from stoic.monitors.guarded import guard
from stoic.monitors.markers import ChannelQuantiles
from stoic.monitors.monitor import Monitor
from stoic.monitors.rules import fitted
from stoic.monitors.watches import Watch, every_layer, features_of
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs

__all__ = ["main", "monitor_of"]

_NETWORKS = ("resnet50", "efficientnet-lite0", "signs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = [
        _row(name, batch, way, options)
        for name in options.networks
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
    parser.add_argument("--networks", nargs="+", choices=_NETWORKS, default=_NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument(
        "--ways", nargs="+", choices=("eager", "compiled"), default=["eager"]
    )
    parser.add_argument("--pairs", type=int, default=60, help="of runs")
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.batches, options.pairs = ["signs"], [1], 5
    return options


def _network(name: str, batch: int) -> tuple[nn.Module, Tensor]:
    if name == "signs":
        case = stoic.load("signs", batch)
    elif name == "efficientnet-lite0":
        case = stoic.load("imagenet")
    else:
        made = build(name, batch=max(batch, 2), image=224)
        return made.network, made.inputs[:batch]
    assert isinstance(case.inputs, Tensor)
    return case.network, case.inputs.repeat(-(-batch // len(case)), 1, 1, 1)[:batch]


def monitor_of(network: nn.Module, inputs: Tensor, leaves: int = 30) -> Monitor:
    """Return a monitor of an early and a late layer, with rules that were made up."""
    subject = prepare(network, Inputs((inputs[:2],), {}))
    assert isinstance(subject, CapturedSubject)
    layers = [w for w in every_layer(subject) if "conv" in w.value or w.channels == 1]
    watches = (
        Watch(layers[len(layers) // 4].value, 1, ChannelQuantiles((0.0, 0.9))),
        Watch(layers[-1].value, layers[-1].channels, ChannelQuantiles((1.0,))),
    )
    names = features_of(watches)
    chance = np.random.default_rng(0)
    values = chance.normal(size=(4000, len(names))).astype(np.float32)
    labels = chance.integers(0, 3, 4000)
    values += labels[:, None].astype(np.float32)
    bounds = bounds_of([values[labels == 0]])
    told = bounds.normalised(values)
    rules = min(
        (
            fitted(told, labels, ("regular", "memory", "noise"), names, bounds, alpha=a)
            for a in np.geomspace(1e-4, 1e-2, 30)
        ),
        key=lambda rules: abs(len(rules.leaves) - leaves),
    )
    alarm = calibrated(values[labels == 0], bounds, 0.01)
    return Monitor(network_fingerprint(network), watches, rules, alarm)


def _row(
    name: str, batch: int, way: str, options: argparse.Namespace
) -> dict[str, Any]:
    printing.say(f"{name}, batch {batch}, {way}")
    torch.manual_seed(options.seed)
    network, inputs = _network(name, batch)
    monitor = monitor_of(network, inputs.repeat(2, 1, 1, 1)[:2])
    example = Inputs((inputs if batch > 1 else inputs.repeat(2, 1, 1, 1),), {})
    guarded: Any = guard(network, monitor, example)
    plain: Any = network
    if way == "compiled":
        torch._dynamo.reset()
        plain, guarded = torch.compile(network), torch.compile(guarded)
    with torch.inference_mode():
        pairs = np.array(
            _pairs(lambda: plain(inputs), lambda: guarded(inputs), options)
        )
    return {
        "network": name,
        "batch": batch,
        "way": way,
        "leaves": len(monitor.rules.leaves),
        "plain_ms": 1000 * statistics.median(pairs[:, 0]),
        "more_us": 1e6 * statistics.median(pairs[:, 1] - pairs[:, 0]),
        "ratio": _limits(pairs),
    }


def _pairs(
    plain: Callable[[], Any], guarded: Callable[[], Any], options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Return seconds of both, run by run, in turn and each first as often."""
    for _ in range(3):
        plain(), guarded()
    found = []
    for number in range(options.pairs):
        order = (plain, guarded) if number % 2 else (guarded, plain)
        times = {call: _timed(call) for call in order}
        found.append((times[plain], times[guarded]))
    return found


def _timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _limits(pairs: Any) -> list[float]:
    """Return the median of the ratios of pairs, with bootstrapped 95 % limits."""
    ratios = pairs[:, 1] / pairs[:, 0]
    chance = np.random.default_rng(0)
    drawn = chance.choice(ratios, (4000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return [float(np.median(ratios)), float(low), float(high)]


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = ("network", "batch", "way", "alone, ms", "more, µs", "ratio", "95 %")
    cells = [
        [
            row["network"],
            row["batch"],
            row["way"],
            f"{row['plain_ms']:.2f}",
            f"{row['more_us']:.0f}",
            f"{row['ratio'][0]:.4f}",
            f"{row['ratio'][1]:.4f} to {row['ratio'][2]:.4f}",
        ]
        for row in rows
    ]
    return printing.table(heads, cells)


if __name__ == "__main__":
    raise SystemExit(main())
