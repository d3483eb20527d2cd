"""How good the networks of the cases are, on inputs that none has learnt from.

Run it as ``python -m benchmarks.accuracy``. Of networks that name a class, the share of
inputs named right, with its exact interval; of ``scenes``, the mean average precision
at an overlap of 0.5 (mAP50), with an interval by a bootstrap over scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from benchmarks import printing
from scipy.stats import beta
from torch import Tensor, nn

from stoic.cases.fashion.data import held_out
from stoic.cases.fashion.networks import load_network as fashion_network
from stoic.cases.scenes import layout
from stoic.cases.scenes.detect import detect
from stoic.cases.scenes.network import load_network as scenes_network
from stoic.cases.scenes.precision import mean_average_precision
from stoic.cases.scenes.render import render as scenes_render
from stoic.cases.signs import scenes
from stoic.cases.signs.art import SIGNS
from stoic.cases.signs.network import load_network as signs_network
from stoic.cases.signs.render import render as signs_render

__all__ = ["Found", "accuracy", "main", "named_right", "precision"]

_CASES = ("signs", "scenes", "fashion", "fashion-vgg", "fashion-alexnet")
_BATCH = 250
_ENDS = 0.025, 0.975


@dataclass(frozen=True)
class Found:
    """How good a network is.

    Args:
        case: Its name.
        measure: What is measured.
        inputs: How many were tried.
        value: Of the measure.
        low: End of the 95 % interval.
        high: Likewise.
    """

    case: str
    measure: str
    inputs: int
    value: float
    low: float
    high: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    found = []
    for name in options.case:
        printing.say(name)
        found += [*_of_case(name, options)]
    record = {"benchmark": "accuracy", "rows": [asdict(each) for each in found]}
    printing.show(record, _text(found), as_json=options.json)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.accuracy", description=__doc__
    )
    parser.add_argument("--case", nargs="+", choices=_CASES, default=_CASES)
    parser.add_argument("--signs", type=int, default=10_000, help="pictures of signs")
    parser.add_argument(
        "--scenes", nargs="+", type=int, default=[1000, 5000], help="so many, and more"
    )
    parser.add_argument("--draws", type=int, default=200, help="of the bootstrap")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.case, options.signs = ["signs", "scenes"], 100
        options.scenes, options.draws = [20, 60], 10
    return options


def _of_case(name: str, options: argparse.Namespace) -> Iterator[Found]:
    """Yield what is found of a case."""
    if name == "scenes":
        yield from _scenes(options)
        return
    if name == "signs":
        right = named_right(signs_network(), _signs(options.signs))
    else:
        clothes = held_out()
        parts = (each.split(_BATCH) for each in clothes)
        right = named_right(fashion_network(name), zip(*parts, strict=True))
    yield accuracy(name, int(right.sum()), len(right))


@torch.inference_mode()
def named_right(network: nn.Module, parts: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """Say of which inputs a network names the class.

    Args:
        network: Gives a score for each class.
        parts: Inputs, and their classes.
    """
    return torch.cat([network(inputs).argmax(1) == want for inputs, want in parts])


def accuracy(case: str, right: int, of: int) -> Found:
    """Return a share with its exact interval.

    References:
        Clopper and Pearson, 1934.
    """
    low = float(beta.ppf(_ENDS[0], right, of - right + 1)) if right else 0.0
    high = float(beta.ppf(_ENDS[1], right + 1, of - right)) if right < of else 1.0
    return Found(case, "named right", of, right / of, low, high)


def _signs(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    for part in scenes.nominal(count, seed=scenes.HELD_OUT).split(_BATCH):
        yield signs_render(part), part.sign


def _scenes(options: argparse.Namespace) -> Iterator[Found]:
    """Yield the precision on some scenes, and on more that begin with the same."""
    counts = sorted(options.scenes)
    every = layout.draw(counts[-1], seed=layout.HELD_OUT)
    network, found = scenes_network(), []
    for part in every.split(_BATCH):
        with torch.inference_mode():
            found.append(detect(network(scenes_render(part))))
    detections, labels = torch.cat(found), layout.truth(every)
    for count in counts:
        own = detections[:count], labels[:count]
        yield precision(*own, draws=options.draws, seed=options.seed)


def precision(found: Tensor, labels: Tensor, *, draws: int, seed: int) -> Found:
    """Return the mean average precision with an interval by a bootstrap over scenes.

    Args:
        found: Detections of each scene.
        labels: Box and class of each of its signs.
        draws: Of the bootstrap.
        seed: Of chance.
    """
    chance, count = torch.Generator().manual_seed(seed), len(found)
    classes = len(SIGNS)
    drawn = []
    for _ in range(draws):
        rows = torch.randint(count, (count,), generator=chance)
        drawn.append(mean_average_precision(found[rows], labels[rows], classes=classes))
    value = mean_average_precision(found, labels, classes=classes)
    low, high = np.quantile(drawn, _ENDS).tolist()
    return Found("scenes", "mAP50", count, value, low, high)


def _text(found: Sequence[Found]) -> str:
    cells = [
        [
            *(each.case, each.measure, f"{each.inputs:,}", f"{each.value:.4f}"),
            f"{each.low:.4f} to {each.high:.4f}",
        ]
        for each in found
    ]
    return printing.table(["case", "measure", "inputs", "value", "95 %"], cells)


if __name__ == "__main__":
    raise SystemExit(main())
