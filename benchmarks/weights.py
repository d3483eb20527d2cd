"""Faults per second of uniform weight-bit faults: Stoic, its peers and naive tools.

Run it as ``python -m benchmarks.weights --network resnet18``. All tools get the same
seeded faults, in turn; a peer runs a uniform random subset of each round's. A digest of
what came of the faults that all have run shows that all tools did the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks import printing, standings
from benchmarks.baselines import CopyTool, InPlaceTool
from benchmarks.faultlist import (
    Layer,
    WeightFault,
    digest_of,
    draw_weights,
    harsh,
    layers_of,
)
from benchmarks.networks import NAMES, Setup, build
from benchmarks.peers import MrfiWeights, PyTorchFIWeights
from benchmarks.race import Race, race
from benchmarks.stoic_side import StoicTool, prepared, with_switches
from benchmarks.workers import Tool, Tools, started

__all__ = ["main", "make"]

REFERENCE = "in place"
TOOLS = ("stoic fast", "stoic exact", "stoic serial", "PyTorchFI", "MRFI", REFERENCE)
OURS = ("stoic fast", "stoic exact", "stoic serial")
_DEFAULT = [tool for tool in TOOLS if tool != "stoic serial"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if any tool's outcomes differ."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    printing.say(f"building {options.network}")
    setup = _build(options)
    layers = layers_of(setup.network, setup.inputs)
    faults = draw_weights(layers, options.faults, options.seed)
    checks = harsh(draw_weights(layers, options.checks, options.seed + 1))
    share = max(options.peer_faults // options.rounds, 1)
    others = [name for name in options.tools if name not in OURS]
    groups = standings.groups(options.tools, OURS, keep_all=options.keep_memory)
    with started(make, options, groups) as runners:
        result = race(
            runners,
            faults,
            rounds=options.rounds,
            shares=dict.fromkeys(others, share),
            checks=checks,
            seed=options.seed,
        )
    record = _record(options, setup, layers, faults, result)
    printing.show(record, _text(record), as_json=options.json)
    return 1 if standings.wrong(record) else 0


def _build(options: argparse.Namespace) -> Setup:
    setup = build(
        options.network, batch=options.batch, image=options.image, seed=options.seed
    )
    return setup.on(options.device)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.weights", description=__doc__
    )
    parser.add_argument("--network", choices=NAMES, default="resnet18")
    parser.add_argument("--batch", type=int, default=32, help="inputs per run")
    parser.add_argument("--image", type=int, default=224, help="pixels along a side")
    parser.add_argument("--faults", type=int, default=768, help="that Stoic runs")
    parser.add_argument(
        "--peer-faults", type=int, default=48, help="of them that every other tool runs"
    )
    parser.add_argument(
        "--checks", type=int, default=12, help="harsh faults that all run, untimed"
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--tools", nargs="+", choices=(*TOOLS, "deep copy"), default=_DEFAULT
    )
    printing.device_option(parser)
    standings.race_options(parser)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.batch, options.image = 2, 64
        options.faults, options.peer_faults, options.rounds = 24, 6, 3
    return options


def make(options: argparse.Namespace, names: tuple[str, ...]) -> Tools:
    """Make the tools of one process."""
    torch.set_num_threads(options.threads)
    setup = _build(options)
    network, inputs = setup.network, setup.inputs
    if set(names) <= set(OURS):
        ready = prepared(network, inputs)
        serial = with_switches(ready, ()) if "stoic serial" in names else ready
        tools = {
            "stoic fast": StoicTool(ready, "fast"),
            "stoic exact": StoicTool(ready, "exact"),
            "stoic serial": StoicTool(serial, "exact", "stoic serial"),
        }
        return {name: tools[name] for name in names}
    layers = layers_of(network, inputs)
    makers: dict[str, Callable[[], Tool[WeightFault]]] = {
        "PyTorchFI": lambda: PyTorchFIWeights(network, inputs),
        "MRFI": lambda: MrfiWeights(network, inputs, layers),
        "deep copy": lambda: CopyTool(network, inputs),
        REFERENCE: lambda: InPlaceTool(network, inputs),
    }
    return {name: makers[name]() for name in names}


def _record(
    options: argparse.Namespace,
    setup: Setup,
    layers: Sequence[Layer],
    faults: Sequence[WeightFault],
    result: Race,
) -> dict[str, Any]:
    """Return everything that is known of a run as plain data."""
    every = sum(parameter.numel() for parameter in setup.network.parameters())
    ours = sum(layer.weights for layer in layers)
    return {
        "benchmark": "weights",
        "network": setup.name,
        "batch": options.batch,
        "image": options.image,
        "rounds": options.rounds,
        "keep_memory": options.keep_memory,
        "golden_classes": setup.classes,
        "weights_hit": ours,
        "share_of_parameters": ours / every,
        "fault_list": digest_of(faults),
        **standings.as_record(result, reference=REFERENCE, ours=OURS),
    }


def _text(record: dict[str, Any]) -> str:
    share = record["share_of_parameters"]
    return (
        f"{record['network']}, {record['batch']} inputs of {record['image']} pixels "
        f"({record['golden_classes']} classes among them), uniform bit flips in "
        f"{record['weights_hit']:,} weights ({share:.3f} of all parameters), fault "
        f"list {record['fault_list']}\n\n{standings.text(record)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
