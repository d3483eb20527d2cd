"""Measured growth of perturbations, and how far estimates lie from it.

Run it as ``python -m benchmarks.tightness``. Inputs are perturbed at random and by
attacks, at equal size, in float64; the strongest growth of each image is what estimates
are held against. A guarantee below it would be wrong: then the command exits 1.

Growth is that of a condition number: relative change of the scores for a relative
change of the input. Networks named ``torchvision-...`` have random weights: they say
what a measurement takes, and nothing about trained networks.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from benchmarks import printing
from benchmarks.networks import build
from torch import Tensor, nn

import stoic
from stoic.cases import CaseError
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.subject import Inputs
from stoic.report.sensitivity import (
    SensitivityRecord,
    TightnessRecord,
    write_sensitivity_report,
)
from stoic.sensitivity.ball import lengths
from stoic.sensitivity.condition import condition
from stoic.sensitivity.growth import ATTACKS, Growth, measured_growth
from stoic.sensitivity.jacobian import Function, function_of, outputs
from stoic.sensitivity.local import average, frobenius, largest
from stoic.sensitivity.norms import Store
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import NotKnownError
from stoic.sensitivity.tightness import Claim, Tightness, tightness

__all__ = ["CLAIMS", "Claims", "Subject", "main"]

_CASES = ("digits", "signs", "fashion", "fashion-vgg", "fashion-alexnet")
_FETCHED = ("cifar10-vgg", "imagenet", "imagenet-squeezenet")
_RANDOM = ("torchvision-alexnet", "torchvision-vgg19")
_RADII = (2.0**-24, 2.0**-10, 2.0**-5)
# A float64 run of these keeps hundreds of megabytes for the way back.
_LARGE = 4


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with images.

    Args:
        name: What tables call it.
        network: In evaluation mode.
        x: Its images, in float64.
        batch: How many at once.
        store: Norms of its operators, once they are known.
    """

    name: str
    network: nn.Module
    x: Tensor
    batch: int
    store: Store = field(default_factory=dict)

    @cached_property
    def program(self) -> Program:
        """The captured network."""
        example = self.x.float()[[0, -1]]
        subject = prepare(self.network, Inputs((example,), {}))
        if not isinstance(subject, CapturedSubject):
            raise SystemExit(f"{self.name} cannot be captured: {subject.reason}")
        return subject.program

    @cached_property
    def f(self) -> Function:
        """What it computes, in float64."""
        return function_of(self.program)

    def by_batch(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """Return one number per image, measured batch by batch."""
        return torch.cat([measure(part) for part in self.x.split(self.batch)])

    @cached_property
    def scale(self) -> Tensor:
        """What makes growth relative: norms of images over those of their scores."""
        scores = self.by_batch(lambda x: lengths(outputs(self.f, x)))
        return lengths(self.x) / scores


Claims: TypeAlias = Callable[[Subject, float, float], list[Claim]]
"""From a network, a radius and its norm to what is claimed of the growth."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    found = []
    for name in options.networks:
        try:
            found.append(_measured(_subject(name, options), options))
        except CaseError as error:
            printing.say(f"{name} is left out: {error}")
    record = {"benchmark": "tightness", "norm": options.norm, "networks": found}
    if options.out:
        write_sensitivity_report(_page(found), options.out)
    printing.show(record, _text(found), as_json=options.json)
    return int(
        any(gap["violations"] for each in _tables(found) for gap in each["gaps"])
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.tightness", description=__doc__
    )
    names = (*_CASES, *_FETCHED, *_RANDOM)
    parser.add_argument(
        *("--networks", "--network"),
        **{"nargs": "+", "choices": names, "default": _CASES},
    )
    parser.add_argument("--inputs", type=int, default=32, help="images per network")
    parser.add_argument(
        "--radii", type=float, nargs="+", default=_RADII, help="relative to each image"
    )
    parser.add_argument("--norm", choices=("2", "inf"), default="2")
    parser.add_argument(
        *("--claims", "--claim"),
        **{"nargs": "*", "choices": tuple(CLAIMS), "default": tuple(CLAIMS)},
    )
    parser.add_argument("--out", type=Path, help="write the figures as one page")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.inputs, options.radii = ["digits"], 4, [0.01]
    return options


def _subject(name: str, options: argparse.Namespace) -> Subject:
    if name in _RANDOM:
        made = build(
            name.removeprefix("torchvision-"),
            batch=max(options.inputs, 2),
            image=224,
            seed=options.seed,
        )
        return Subject(
            name, made.network, made.inputs[: options.inputs].double(), _LARGE
        )
    fetched = 20 if name in _FETCHED else options.inputs
    case = stoic.load(name, min(options.inputs, fetched))
    assert isinstance(case.inputs, Tensor)
    large = name.startswith("imagenet")
    return Subject(name, case.network, case.inputs.double(), _LARGE if large else 32)


def _measured(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    norm = 2.0 if options.norm == "2" else math.inf
    tables, attacking, claiming = [], 0.0, 0.0
    for radius in options.radii:
        printing.say(f"{subject.name}: radius {radius:.3g}")
        start = time.perf_counter()
        growth = measured_growth(
            subject.f,
            subject.x,
            [radius],
            norm,
            ATTACKS,
            seed=options.seed,
            batch=subject.batch,
        )
        middle = time.perf_counter()
        claims = [
            claim
            for name in options.claims
            for claim in CLAIMS[name](subject, radius, norm)
        ]
        attacking += middle - start
        claiming += time.perf_counter() - middle
        tables.append(_record(tightness(growth, claims), growth))
    return {
        "network": subject.name,
        "attack_s": attacking,
        "claim_s": claiming,
        "radii": tables,
    }


def _record(table: Tightness, growth: Sequence[Growth]) -> dict[str, Any]:
    turned = {each.attack: each.turned.double().mean().item() for each in growth}
    medians = {
        name: each.nanquantile(0.5).item() for name, each in table.measured.items()
    }
    return {**table.as_record(), "medians": medians, "turned": turned}


def _local(subject: Subject, radius: float, norm: float) -> list[Claim]:
    """Claim what the derivative at the image itself says."""
    stretch = subject.by_batch(lambda x: largest(subject.f, x, steps=20).value)
    mean = subject.by_batch(
        lambda x: average(frobenius(subject.f, x, probes=16).value, x)
    )
    return [
        Claim("|J|_2, power iteration", "local", stretch * subject.scale),
        Claim("|J|_F / sqrt(n)", "average", mean * subject.scale),
    ]


def _bounds(subject: Subject, radius: float, norm: float) -> list[Claim]:
    """Claim what holds for every perturbation of that size."""
    scores = subject.program.outputs[0].name
    perturbation = Perturbation(radius=radius, norm=norm)
    try:
        found = [
            condition(subject.program, [x], scores, perturbation, subject.store)
            for x in subject.x.split(subject.batch)
        ]
    except NotKnownError as error:
        printing.say(f"{subject.name} has no bounds: {error}")
        return []
    bounds = ("product", "interval", "linearised", "certified")
    return [
        Claim(
            name,
            "guarantee",
            torch.cat([c.number(getattr(c, name), radius) for c in found]),
        )
        for name in bounds
    ]


CLAIMS: Mapping[str, Claims] = {"local": _local, "bounds": _bounds}
"""What is held against the measured growth; each may claim several things."""


def _tables(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [table for each in found for table in each["radii"]]


def _page(found: Sequence[dict[str, Any]]) -> SensitivityRecord:
    tables = [
        {**table, "network": each["network"]}
        for each in found
        for table in each["radii"]
    ]
    return {
        "network": ", ".join(each["network"] for each in found),
        "unit": "relative change of the scores for a relative change of the input",
        "about": [("command", "python -m benchmarks.tightness")],
        "estimates": [],
        "profile": [],
        "tightness": cast("list[TightnessRecord]", tables),
    }


def _text(found: Sequence[dict[str, Any]]) -> str:
    growth = printing.table(
        [
            "network",
            "radius",
            *(attack.name for attack in ATTACKS),
            "turned",
        ],
        [
            [
                f"{each['network']} ({table['images']})",
                f"{table['radius']:.2g}",
                *table["medians"].values(),
                f"{max(table['turned'].values()):.0%}",
            ]
            for each in found
            for table in each["radii"]
        ],
    )
    gaps = printing.table(
        ["network", "radius", "claim", "label", "5 %", "median", "95 %", "violated"],
        [
            [each["network"], f"{table['radius']:.2g}", *_gap(gap)]
            for each in found
            for table in each["radii"]
            for gap in table["gaps"]
        ],
    )
    spent = ", ".join(
        f"{each['network']} {each['attack_s']:.0f} and {each['claim_s']:.0f} s"
        for each in found
    )
    return (
        "Median growth of relative deviations, by attack; images whose decision the "
        f"best of them turned\n\n{growth}\n\n"
        f"log10(claim / strongest measured), over images\n\n{gaps}\n\n"
        f"attacks and claims, all radii: {spent}"
    )


def _gap(gap: Mapping[str, Any]) -> list[object]:
    quantiles = gap["quantiles"]
    told = ["-"] * 3 if quantiles is None else [quantiles[i] for i in (0, 2, 4)]
    violated = len(gap["violations"]) if gap["label"] == "guarantee" else "-"
    return [gap["name"], gap["label"], *told, violated]


if __name__ == "__main__":
    raise SystemExit(main())
