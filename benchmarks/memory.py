"""Peak memory: what a campaign adds to a plain run of the network, against its budget.

Run it as ``python -m benchmarks.memory``. Each setting runs in a process of its own:
first a tiny campaign, so that every library is loaded, then the network alone on the
batch, then its capture, which takes memory once whatever the batch, then the campaign.
The growth of the peak by the last must stay within the budget plus a tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from benchmarks import printing
from benchmarks.networks import NAMES, build
from benchmarks.stoic_side import prepared
from torch import nn

from stoic.study import Settings, pvf

__all__ = ["main"]

_MIB = 1 << 20
_SLACK = 1.1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if a campaign goes over its budget."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    if options.child is not None:
        print(json.dumps(_child(options)))
        return 0
    known = any(field.name == "memory" for field in fields(Settings))
    if not known:
        printing.say("stoic.pvf has no setting 'memory': only the campaign without one")
    budgets = [0, *(options.budgets if known else [])]
    rows = [_spawned(options, budget) for budget in budgets]
    record = {
        "benchmark": "memory",
        "network": options.network,
        "batch": options.batch,
        "image": options.image,
        "device": options.device,
        "mode": options.mode,
        "settings": rows,
    }
    printing.show(record, _text(record), as_json=options.json)
    return 1 if any(row["within"] is False for row in rows) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--network", choices=NAMES, default="resnet18")
    parser.add_argument("--batch", type=int, default=32, help="inputs per run")
    parser.add_argument("--image", type=int, default=224, help="pixels along a side")
    parser.add_argument("--faults", type=int, default=64)
    parser.add_argument("--mode", choices=("fast", "exact"), default="fast")
    printing.device_option(parser)
    parser.add_argument(
        "--budgets", nargs="+", type=int, default=[512, 1024, 2048], help="MiB"
    )
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.batch, options.image, options.faults = 4, 64, 8
        options.budgets = [16, 64]
    return options


def _spawned(options: argparse.Namespace, budget: int) -> dict[str, Any]:
    """Measure one setting in a process of its own."""
    printing.say(f"campaign with {budget or 'no'} MiB")
    names = ("network", "batch", "image", "faults", "mode", "device", "threads", "seed")
    given = [f"--{name}={getattr(options, name)}" for name in names]
    command = [sys.executable, "-m", "benchmarks.memory", *given, f"--child={budget}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    grown = row["campaign_mib"] - row["captured_mib"]
    within = grown <= budget * _SLACK if budget else None
    return {"budget_mib": budget or None, **row, "grown_mib": grown, "within": within}


def _child(options: argparse.Namespace) -> dict[str, float]:
    """Return the peaks of the network alone, its capture and the campaign."""
    torch.manual_seed(0)
    _campaign(nn.Sequential(nn.Linear(4, 3)).eval(), torch.randn(8, 4), options, 0)
    setup = build(
        options.network, batch=options.batch, image=options.image, seed=options.seed
    )
    network, inputs = setup.network.to(options.device), setup.inputs.to(options.device)
    with torch.inference_mode():
        network(inputs)
    golden = _peak(options.device)
    prepared(network, inputs[:2])
    captured = _peak(options.device)
    _campaign(network, inputs, options, options.child)
    return {
        "golden_mib": golden,
        "captured_mib": captured,
        "campaign_mib": _peak(options.device),
    }


def _campaign(
    network: nn.Module, inputs: torch.Tensor, options: argparse.Namespace, budget: int
) -> None:
    given: dict[str, Any] = {"memory": budget * _MIB} if budget else {}
    pvf(
        network,
        inputs,
        faults=options.faults,
        mode=options.mode,
        batch=len(inputs),
        seed=options.seed,
        **given,
    )


def _peak(device: str) -> float:
    """Return the largest memory so far, in MiB: of the process or CUDA's tensors."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / _MIB
    # The peak that getrusage tells is inherited from the parent process; this is not.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status must name VmHWM, got no such line")


def _text(record: dict[str, Any]) -> str:
    heads = ["budget MiB", "network alone", "captured", "campaign", "growth"]
    heads += ["within budget + 10 %"]
    rows = [
        [
            row["budget_mib"] or "none",
            round(row["golden_mib"]),
            round(row["captured_mib"]),
            round(row["campaign_mib"]),
            round(row["grown_mib"]),
            {True: "yes", False: "NO", None: "-"}[row["within"]],
        ]
        for row in record["settings"]
    ]
    return (
        f"{record['network']}, {record['batch']} inputs of {record['image']} pixels on "
        f"{record['device']}, {record['mode']} mode; peaks in MiB\n\n"
        f"{printing.table(heads, rows)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
