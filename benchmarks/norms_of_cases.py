"""Brackets of the operator norms of a real network, and what they cost.

Run it as ``python -m benchmarks.norms_of_cases``. A batch norm that alone reads a
convolution is folded into it. The cost is told in forward passes at batch 32.
``--cases vgg16`` are the convolutions of a VGG-16, without a head, from a package that
does not say where they came from.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from benchmarks import printing
from torch import nn

import stoic
from stoic.cases.imagenet.vgg16 import load_vgg16
from stoic.network.certified.contract import Call
from stoic.network.folds import only_norm
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.slopes import program_of
from stoic.network.subject import Inputs
from stoic.sensitivity.bracket import Bracket
from stoic.sensitivity.linear import LinearMap, compose
from stoic.sensitivity.maps import linear_map
from stoic.sensitivity.norms import norm
from stoic.study import as_inputs

__all__ = ["main"]

_CASES = ("digits", "signs", "fashion-vgg", "imagenet", "imagenet-squeezenet")
_BATCH = 32


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.norms_of_cases", description=__doc__
    )
    printing.common_options(parser, threads=1)
    parser.add_argument("--cases", nargs="+", default=_CASES)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    names = options.cases[:1] if options.quick else options.cases
    record = {"benchmark": "norms_of_cases", "cases": {n: _measured(n) for n in names}}
    printing.show(record, _text(record), as_json=options.json)
    return 0


def _measured(name: str) -> dict[str, Any]:
    printing.say(name)
    network, inputs = _network(name)
    program = program_of(prepare(network, inputs))
    began = time.perf_counter()
    store: dict[Any, Bracket] = {}
    found = [norm(linear, 2, store) for linear in _maps(program, inputs)]
    seconds = time.perf_counter() - began
    widths = [bracket.width for bracket in found]
    return {
        "maps": len(found),
        "width_median": statistics.median(widths),
        "width_widest": max(widths),
        "seconds": seconds,
        "forward_seconds": _forward(program, inputs),
    }


def _network(name: str) -> tuple[nn.Module, Inputs]:
    if name == "vgg16":
        pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        return load_vgg16(), as_inputs(pixels)
    case = stoic.load(name, 2)
    return case.network, as_inputs(case.inputs)


def _maps(program: Program, inputs: Inputs) -> Iterator[LinearMap]:
    """Yield the convolutions and matrices of a network, batch norms folded in."""
    values = program.run(inputs.leaves)
    moved = set(program.inputs)
    for step in program.steps:
        if moved & {*step.inputs} and step.operator != "sym_size":
            moved.add(step.name)
    fixed = {*values} - moved
    for step in program.steps:
        weighted = step.operator.startswith(("conv", "linear", "addmm"))
        linear = linear_map(Call(step, values.__getitem__, fixed)) if weighted else None
        if linear is None:
            continue
        after = only_norm(program, step)
        scale = linear_map(Call(after, values.__getitem__, fixed)) if after else None
        yield linear if scale is None else compose(linear, scale)


def _forward(program: Program, inputs: Inputs) -> float:
    """Return the seconds of a forward pass, the best of three."""
    leaves = [
        leaf.repeat(_BATCH // 2, *[1] * (leaf.dim() - 1)) for leaf in inputs.leaves
    ]
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        program.run(leaves)
        best = min(best, time.perf_counter() - began)
    return best


def _text(record: dict[str, Any]) -> str:
    heads = ("network", "maps", "upper/lower: median", "widest", "s", "forward passes")
    rows = [
        (
            *(name, case["maps"]),
            *(f"{case['width_median']:.4f}", f"{case['width_widest']:.4f}"),
            *(case["seconds"], case["seconds"] / case["forward_seconds"]),
        )
        for name, case in record["cases"].items()
    ]
    return printing.table(heads, rows)


if __name__ == "__main__":
    raise SystemExit(main())
