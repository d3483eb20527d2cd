"""Faults per second of activation faults, one per input, as the peers batch them.

Run it as ``python -m benchmarks.activations``. The peers hit each input of a batch with
a fault of its own in one forward; Stoic gets the same faults as trials of one input
each. The faults are uniform over the output bits of convolutions and linear layers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks import printing, standings
from benchmarks.baselines import HookTool
from benchmarks.faultlist import (
    ActivationFault,
    digest_of,
    draw_activations,
    harsh,
    layers_of,
)
from benchmarks.networks import NAMES, Setup, build
from benchmarks.peers import MrfiActivations, PyTorchFIActivations
from benchmarks.race import race
from benchmarks.stoic_side import Mode, StoicTool, prepared
from benchmarks.workers import Tool, Tools, started

__all__ = ["main", "make"]

REFERENCE = "hooks"
OURS = ("stoic fast", "stoic exact")
TOOLS = (*OURS, "PyTorchFI", "MRFI", REFERENCE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if any tool's outcomes differ."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    printing.say(f"building {options.network}")
    setup = _build(options)
    layers = layers_of(setup.network, setup.inputs)
    count = options.batch * options.rounds * options.batches
    faults = draw_activations(layers, count, options.batch, options.seed)
    checks = draw_activations(layers, options.batch, options.batch, options.seed + 1)
    groups = standings.groups(options.tools, OURS, keep_all=options.keep_memory)
    with started(make, options, groups) as runners:
        result = race(
            runners,
            faults,
            rounds=options.rounds,
            shares={},
            checks=harsh(checks),
            block=options.batch,
        )
    record = {
        "benchmark": "activations",
        "network": setup.name,
        "batch": options.batch,
        "image": options.image,
        "rounds": options.rounds,
        "keep_memory": options.keep_memory,
        "golden_classes": setup.classes,
        "fault_list": digest_of(faults),
        **standings.as_record(result, reference=REFERENCE, ours=OURS),
    }
    printing.show(record, _text(record), as_json=options.json)
    return 1 if standings.wrong(record) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.activations", description=__doc__
    )
    parser.add_argument("--network", choices=NAMES, default="resnet18")
    parser.add_argument("--batch", type=int, default=32, help="inputs per run")
    parser.add_argument("--image", type=int, default=224, help="pixels along a side")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batches", type=int, default=4, help="of faults, per round")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    standings.race_options(parser)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.batch, options.image, options.rounds, options.batches = 4, 64, 2, 1
    return options


def _build(options: argparse.Namespace) -> Setup:
    return build(
        options.network, batch=options.batch, image=options.image, seed=options.seed
    )


def make(options: argparse.Namespace, names: tuple[str, ...]) -> Tools:
    """Make the tools of one process."""
    torch.set_num_threads(options.threads)
    setup = _build(options)
    network, inputs = setup.network, setup.inputs
    if set(names) <= set(OURS):
        ready = prepared(network, inputs)
        modes: dict[str, Mode] = {"stoic fast": "fast", "stoic exact": "exact"}
        return {name: StoicTool(ready, modes[name]) for name in names}
    layers = layers_of(network, inputs)
    makers: dict[str, Callable[[], Tool[ActivationFault]]] = {
        "PyTorchFI": lambda: PyTorchFIActivations(network, inputs),
        "MRFI": lambda: MrfiActivations(network, inputs, layers),
        REFERENCE: lambda: HookTool(network, inputs),
    }
    return {name: makers[name]() for name in names}


def _text(record: dict[str, Any]) -> str:
    return (
        f"{record['network']}, {record['batch']} inputs of {record['image']} pixels "
        f"({record['golden_classes']} classes among them), a uniform bit flip in an "
        f"output of each input, fault list {record['fault_list']}\n\n"
        f"{standings.text(record)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
