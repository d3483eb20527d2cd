"""Downstream work avoided: how close Stoic comes to the limit of suffix re-execution.

Run it as ``python -m benchmarks.work --network resnet18``. A fault in a weight leaves
everything before its layer as it was. Re-running only what comes after the layer, for
faults uniform over the weights, would be so many times less arithmetic than a full run:
that is the limit. The table says which share of it each set of optimisations reaches,
in executed arithmetic and in time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks import printing
from benchmarks.baselines import InPlaceTool
from benchmarks.faultlist import Layer, WeightFault, draw_weights, layers_of
from benchmarks.networks import NAMES, Setup, build
from benchmarks.race import race
from benchmarks.stoic_side import (
    Mode,
    Prepared,
    StoicTool,
    keeping_memory,
    prepared,
    switch_names,
    with_switches,
)
from benchmarks.workers import Here
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["limit_of", "main"]

KNOWN = {
    "resnet18": 6.6,
    "resnet50": 5.4,
    "mobilenet_v2": 7.7,
    "alexnet": 32,
    "vgg19": 39,
}
"""Limits at 224 pixels as computed by hand, to check ours against."""

_TOLERANCE = 0.02


@dataclass(frozen=True)
class Variant:
    """A mode with some optimisations on."""

    mode: Mode
    on: tuple[str, ...]
    name: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if a limit is not the known one."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    limits = {name: _limit(name, options) for name in options.limits}
    record: dict[str, Any] = {"benchmark": "work", "limits": limits}
    parts = [_limits_text(limits, options.image)]
    if options.network != "none":
        with keeping_memory():
            record["network"] = _network(options)
        parts.append(_text(record["network"]))
    printing.show(record, "\n\n".join(parts), as_json=options.json)
    return 0 if options.image != 224 or all(map(_right, limits.items())) else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.work", description=__doc__)
    parser.add_argument("--network", choices=(*NAMES, "none"), default="resnet18")
    parser.add_argument("--limits", nargs="*", choices=NAMES, default=list(KNOWN))
    parser.add_argument("--batch", type=int, default=32, help="inputs per run")
    parser.add_argument("--image", type=int, default=224, help="pixels along a side")
    parser.add_argument("--faults", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4, help="0: no times")
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.batch, options.faults, options.rounds = 2, 8, 2
        options.image, options.limits = 64, ["resnet18"]
    return options


def limit_of(layers: Sequence[Layer]) -> float:
    """Return full arithmetic over what comes after a layer, averaged over weights.

    After the layer in the order of execution, the layer itself not counted: of it, a
    fault changes one channel.
    """
    after = _after(layers)
    left = sum(layer.weights * after[layer] for layer in layers)
    weights = sum(layer.weights for layer in layers)
    return sum(layer.flops for layer in layers) * weights / left


def _limit_of_faults(layers: Sequence[Layer], faults: Sequence[WeightFault]) -> float:
    """Return the same, averaged over the faults that were drawn."""
    after = _after(layers)
    left = sum(after[fault.layer] for fault in faults)
    return sum(layer.flops for layer in layers) * len(faults) / max(left, 1)


def _after(layers: Sequence[Layer]) -> dict[Layer, int]:
    """Return the arithmetic that comes after each layer."""
    found, left = {}, sum(layer.flops for layer in layers)
    for layer in layers:
        left -= layer.flops
        found[layer] = left
    return found


def _limit(name: str, options: argparse.Namespace) -> float:
    setup = build(name, batch=2, image=options.image, seed=options.seed)
    return limit_of(layers_of(setup.network, setup.inputs))


def _right(pair: tuple[str, float]) -> bool:
    name, limit = pair
    return name not in KNOWN or abs(limit / KNOWN[name] - 1) < _TOLERANCE


def _limits_text(limits: dict[str, float], image: int) -> str:
    rows = [[n, limit, KNOWN.get(n, "-")] for n, limit in limits.items()]
    heads = ["limit of suffix re-execution", f"at {image} pixels", "known, at 224"]
    return printing.table(heads, rows)


def _network(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every variant on one network."""
    setup = build(
        options.network, batch=options.batch, image=options.image, seed=options.seed
    )
    layers = layers_of(setup.network, setup.inputs)
    faults = draw_weights(layers, options.faults, options.seed)
    ready = prepared(setup.network, setup.inputs)
    full = _flops(setup.network, setup.inputs)
    limit = _limit_of_faults(layers, faults)
    rows = {}
    for variant in variants():
        printing.say(f"{options.network}: {variant.name}")
        rows[variant.name] = _measured(
            variant, ready, setup, faults, full, limit, options.rounds
        )
    return {
        "name": setup.name,
        "batch": options.batch,
        "image": options.image,
        "faults": len(faults),
        "limit": limit,
        "full_flops": full,
        "variants": rows,
    }


def variants() -> list[Variant]:
    """Return what is compared: all off, what comes first, all on, each one off."""
    names = switch_names()
    first = tuple(name for name in ("narrow",) if name in names)
    fast = tuple(name for name in ("narrow", "sums", "stack") if name in names)
    return [
        Variant("exact", (), "exact: all off"),
        Variant("exact", first, f"exact: only {', '.join(first)}"),
        Variant("exact", names, "exact: all on"),
        Variant("fast", fast, f"fast: only {', '.join(fast)}"),
        Variant("fast", names, "fast: all on"),
        *(
            Variant("fast", tuple(n for n in names if n != off), f"fast: without {off}")
            for off in names
        ),
    ]


def _measured(
    variant: Variant,
    ready: Prepared,
    setup: Setup,
    faults: list[WeightFault],
    full: int,
    limit: float,
    rounds: int,
) -> dict[str, float]:
    tool = StoicTool(with_switches(ready, variant.on), variant.mode, "stoic")
    first, again = (_counted(tool, faults) / len(faults) for _ in range(2))
    row = {
        "flops_per_fault": again,
        "flops_per_fault_first": first,
        "work_avoided": full / max(again, 1),
        "share_of_limit": full / max(again, 1) / limit,
    }
    if rounds:
        naive = InPlaceTool(setup.network, setup.inputs)
        shares = {naive.name: max(len(faults) // rounds // 16, 2)}
        result = race([Here(tool), Here(naive)], faults, rounds=rounds, shares=shares)
        ratio = result.ratio("stoic", naive.name)
        row |= {"times_faster": ratio.totals, "share_in_time": ratio.totals / limit}
    return row


def _counted(tool: StoicTool, faults: list[WeightFault]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        tool.run(faults)
    return int(counter.get_total_flops())


def _flops(network: nn.Module, inputs: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(inputs)
    return int(counter.get_total_flops())


def _text(record: dict[str, Any]) -> str:
    heads = ["optimisations", "GFLOP/fault", "(first time)", "work avoided"]
    heads += ["of the limit", "times faster", "of the limit"]
    rows = [
        [
            name,
            row["flops_per_fault"] / 1e9,
            row["flops_per_fault_first"] / 1e9,
            f"{row['work_avoided']:.2f}x",
            f"{row['share_of_limit']:.2f}",
            f"{row['times_faster']:.2f}x" if "times_faster" in row else "-",
            f"{row['share_in_time']:.2f}" if "share_in_time" in row else "-",
        ]
        for name, row in record["variants"].items()
    ]
    return (
        f"{record['name']}, {record['batch']} inputs of {record['image']} pixels, "
        f"{record['faults']} uniform weight-bit faults; a full run takes "
        f"{record['full_flops'] / 1e9:.3g} GFLOP, their limit is "
        f"{record['limit']:.2f}x\n\n"
        f"{printing.table(heads, rows)}\n\n"
        "(first time): with self-tests, probes and folding, which a bench does once;\n"
        "times faster: than flips in place with full runs, all faults over all "
        "seconds;\nboth keep freed memory in the process"
    )


if __name__ == "__main__":
    raise SystemExit(main())
