"""Brackets of operator norms against dense decompositions, on random shapes.

Run it as ``python -m benchmarks.norms``. Every map is small enough to be written out as
a matrix, whose norms are the truth; the brackets are found as for maps that are too
large for that. Beside them stands the norm of the kernel flattened into a matrix, which
is often taken for that of the convolution.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks import printing
from torch import Tensor

from stoic.sensitivity import norms
from stoic.sensitivity.linear import LinearMap, dense, stencilled
from stoic.sensitivity.stencil import Stencil

__all__ = ["main"]

# What the decomposition that is the truth may itself be off by.
_OFF = 1e-12
_LARGEST = 1600


@dataclass(frozen=True)
class Kind:
    """Which shapes are drawn.

    Args:
        dims: Of the map.
        sizes: Along each dimension.
        kernels: Likewise.
        strides: Likewise.
        dilations: Likewise.
        groups: Into which channels fall.
        turned: Whether convolutions are transposed.
        least: Of the map that is made, along each dimension.
    """

    dims: int = 2
    sizes: tuple[int, ...] = (4, 7, 9, 12)
    kernels: tuple[int, ...] = (1, 2, 3, 3, 5)
    strides: tuple[int, ...] = (1,)
    dilations: tuple[int, ...] = (1,)
    groups: tuple[int, ...] = (1,)
    turned: bool = False
    least: int = 1


KINDS = {
    "stride 1, 14 to 20 pixels": Kind(sizes=(14, 17, 20), least=14),
    "stride 1, 4 to 12 pixels": Kind(),
    "stride 2 to 4": Kind(strides=(2, 3, 4), sizes=(7, 9, 14, 20)),
    "dilated": Kind(dilations=(2, 3), sizes=(9, 14, 20)),
    "groups": Kind(groups=(2, 3, 4), sizes=(7, 9, 14)),
    "transposed": Kind(strides=(1, 2, 3), turned=True),
    "1-d": Kind(dims=1, sizes=(16, 40, 100), strides=(1, 1, 2), dilations=(1, 2)),
    "3-d": Kind(dims=3, sizes=(3, 4, 6), strides=(1, 1, 2)),
}


@dataclass(frozen=True)
class Trial:
    """One map, measured.

    Args:
        lower: What the true 2-norm is of the lower bound, in times; at least 1.
        upper: What the upper bound is of the true 2-norm, in times; at least 1.
        seconds: That both took.
        wrong: Bounds, of all three norms, that do not hold.
        flat: What the flattened kernel's norm is of the true one; nothing for matrices.
    """

    lower: float
    upper: float
    seconds: float
    wrong: int
    flat: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit 1 if any bound does not hold."""
    parser = argparse.ArgumentParser("python -m benchmarks.norms", description=__doc__)
    printing.common_options(parser, threads=1)
    parser.add_argument("--shapes", type=int, default=300, help="of all kinds together")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    # As for large maps: small ones would be written out here, too.
    norms._SMALL = 0
    shapes = 18 if options.quick else options.shapes
    found = _measured(shapes, random.Random(options.seed))
    record: dict[str, Any] = {
        "benchmark": "norms",
        "shapes": shapes,
        "kinds": {name: _summary(trials) for name, trials in found.items()},
    }
    printing.show(record, _text(record), as_json=options.json)
    return 1 if any(kind["wrong"] for kind in record["kinds"].values()) else 0


def _measured(shapes: int, chance: random.Random) -> dict[str, list[Trial]]:
    makers: dict[str, Callable[[], tuple[LinearMap, float | None]]] = {
        name: lambda kind=kind: _drawn(kind, chance)  # type: ignore[misc]
        for name, kind in KINDS.items()
    }
    makers["linear"] = lambda: (_matrix(chance), None)
    found = defaultdict[str, list[Trial]](list)
    for i in range(shapes):
        name = [*makers][i % len(makers)]
        found[name].append(_tried(*makers[name]()))
        printing.say(f"{i + 1} of {shapes}: {name}")
    return dict(found)


def _drawn(kind: Kind, chance: random.Random) -> tuple[LinearMap, float]:
    """Return a convolution, and the norm of its flattened kernel."""
    while True:
        stencil = _stencil(kind, chance)
        sides = [math.prod(side) for side in (stencil.domain, stencil.range)]
        if min(stencil.out) >= kind.least and max(sides) <= _LARGEST:
            flat = float(torch.linalg.matrix_norm(stencil.weight.flatten(1), 2))
            return stencilled(stencil, turned=kind.turned), flat


def _stencil(kind: Kind, chance: random.Random) -> Stencil:
    def each(choices: Sequence[int]) -> tuple[int, ...]:
        return tuple(chance.choice(choices) for _ in range(kind.dims))

    groups = chance.choice(kind.groups)
    inside, outside = chance.choice((1, 2, 3, 4)), chance.choice((1, 2, 4))
    kernel, size, stride = each(kind.kernels), each(kind.sizes), each(kind.strides)
    dilation = each(kind.dilations)
    padding = tuple(chance.choice((0, k // 2, k - 1)) for k in kernel)
    spans = zip(size, kernel, stride, dilation, padding, strict=True)
    out = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in spans)
    weight = _random(chance, outside * groups, inside, *kernel)
    # A low-pass filter has one sharp peak, which the edges of a small map cut.
    weight = weight.abs() if chance.random() < 0.4 else weight
    return Stencil(weight, groups, size, out, stride, padding, dilation)


def _matrix(chance: random.Random) -> LinearMap:
    rows, columns = (chance.choice((10, 60, 300, 700)) for _ in range(2))
    return dense((columns,), _random(chance, rows, columns))


def _random(chance: random.Random, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(chance.randrange(2**31))
    return torch.randn(shape, generator=generator).double()


def _tried(linear: LinearMap, flat: float | None) -> Trial:
    began = time.perf_counter()
    bracket = norms.norm(linear, 2)
    seconds = time.perf_counter() - began
    count = math.prod(linear.shape)
    units = torch.eye(count, dtype=torch.float64).reshape(count, *linear.shape)
    matrix = linear.apply(units).reshape(count, -1).t()
    true = float(torch.linalg.matrix_norm(matrix, 2))
    sums = {1: matrix.abs().sum(0), math.inf: matrix.abs().sum(1)}
    pairs = [(bracket, true)]
    pairs += [(norms.norm(linear, p), float(s.max())) for p, s in sums.items()]
    wrong = sum(
        (b.lower > value * (1 + _OFF)) + (b.upper < value * (1 - _OFF))
        for b, value in pairs
    )
    share = None if flat is None else flat / true
    return Trial(true / bracket.lower, bracket.upper / true, seconds, wrong, share)


def _summary(trials: list[Trial]) -> dict[str, Any]:
    widths = [trial.lower * trial.upper for trial in trials]
    flats = [trial.flat for trial in trials if trial.flat is not None]
    return {
        "shapes": len(trials),
        "wrong": sum(trial.wrong for trial in trials),
        "width_median": statistics.median(widths),
        "width_widest": max(widths),
        "true_of_lower_widest": max(trial.lower for trial in trials),
        "upper_of_true_widest": max(trial.upper for trial in trials),
        "milliseconds_median": 1e3 * statistics.median(t.seconds for t in trials),
        "flat_below_truth": sum(flat < 1 - _OFF for flat in flats),
        "flat_of_true_least": min(flats, default=None),
    }


def _text(record: dict[str, Any]) -> str:
    heads = ["kind", "shapes", "wrong", "upper/lower: median", "widest"]
    heads += ["ms", "flattened too low", "least of true"]
    rows = [
        (
            *(name, kind["shapes"], kind["wrong"]),
            *(f"{kind['width_median']:.4f}", f"{kind['width_widest']:.4f}"),
            kind["milliseconds_median"],
            *(
                ("-", "-")
                if kind["flat_of_true_least"] is None
                else (kind["flat_below_truth"], kind["flat_of_true_least"])
            ),
        )
        for name, kind in record["kinds"].items()
    ]
    return printing.table(heads, rows)


if __name__ == "__main__":
    raise SystemExit(main())
