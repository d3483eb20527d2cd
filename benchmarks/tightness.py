"""Measured growth of perturbations, and how far estimates lie from it.

Run it as ``python -m benchmarks.tightness``. Inputs are perturbed at random and by
attacks, at equal size, in float64; the strongest growth of each image is what estimates
are held against. A guarantee below it would be wrong: then the command exits 1, and so
it does where one of the built-in networks has lost its guarantee.

Growth is that of a condition number: relative change of the scores for a relative
change of the input. Networks named ``torchvision-...`` have random weights: they say
what a measurement takes, and nothing about trained networks. ``minilm`` is perturbed
where its embedding has looked words up, which are drawn by lot.

``--record FILE`` keeps what is known, batch by batch: the same command goes on where it
was ended. Growth and bounds are lines of their own, so that bounds can be made anew
(take the lines of the older ones out) without attacking again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from benchmarks import printing
from benchmarks.ledger import Ledger
from benchmarks.perturbed import BUILT_IN, NAMES, Perturbed, perturbed
from benchmarks.tightness_claims import BOUNDS, CLAIMS, local_claims
from torch import Tensor

from stoic.cases import CaseError
from stoic.report.sensitivity import (
    SensitivityRecord,
    TightnessRecord,
    write_sensitivity_report,
)
from stoic.sensitivity.attacks.ascent import PGD
from stoic.sensitivity.attacks.contract import Attack
from stoic.sensitivity.attacks.decisions import FGSM, DeepFool
from stoic.sensitivity.attacks.directions import PowerDirection, RandomDirections
from stoic.sensitivity.ball import Ball
from stoic.sensitivity.growth import Growth, measured_growth
from stoic.sensitivity.jacobian import Function
from stoic.sensitivity.reach import NotKnownError
from stoic.sensitivity.tightness import Claim, tightness

__all__ = ["attacks_of", "main"]

_RADII = (2.0**-24, 2.0**-10, 2.0**-5)
_COLUMNS = ("change", "size", "inputs", "outputs", "turned")


@dataclass
class Remembered:
    """An attack that others start from: its last answer is not sought again.

    Args:
        attack: That is asked.
    """

    attack: Attack
    _last: tuple[Tensor, Ball, int, Tensor] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What figures call it."""
        return self.attack.name

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return perturbed inputs, those of the last call where it was the same."""
        if self._last is not None:
            last, own, chance, moved = self._last
            same = own.norm == ball.norm and chance == seed and torch.equal(last, x)
            if same and torch.equal(own.radius, ball.radius):
                return moved
        moved = self.attack(f, x, ball, seed)
        self._last = (x.clone(), ball, seed, moved)
        return moved


def attacks_of(budget: int) -> tuple[Attack, ...]:
    """Return attacks whose two strong ones take so many forward passes of each input.

    A way back counts as two passes, a product with the derivative as four. The strong
    ones take as many steps each; the others cost what they cost.
    """
    steps = max((budget - 9) // 12, 1)
    random, power = Remembered(RandomDirections(16)), Remembered(PowerDirection(steps))
    return (
        RandomDirections(1),
        random,
        FGSM(),
        DeepFool(),
        power,
        PGD(steps, starts=(random, power)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    ledger = Ledger(options.record)
    found: list[dict[str, Any]] = []
    for name in options.networks:
        try:
            subject = perturbed(name, options.inputs, options.seed)
        except CaseError as error:
            printing.say(f"{name} is left out: {error}")
            continue
        for radius in options.radii:
            growth, claims = _filled(subject, radius, options, ledger)
            if options.fill is None:
                found.append(_measured(subject, radius, options, growth, claims))
                _tell(found, options)
    record = {"benchmark": "tightness", "norm": options.norm, "tables": found}
    printing.show(record, _verdict(found), as_json=options.json)
    return int(any(table["wrong"] for table in found))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.tightness", description=__doc__
    )
    parser.add_argument(
        *("--networks", "--network"), nargs="+", choices=NAMES, default=BUILT_IN
    )
    parser.add_argument("--inputs", type=int, default=32, help="images per network")
    parser.add_argument(
        "--radii", type=float, nargs="+", default=_RADII, help="relative to each image"
    )
    parser.add_argument("--norm", choices=("2", "inf"), default="2")
    parser.add_argument(
        "--claims", nargs="*", choices=tuple(CLAIMS), default=("bounds",)
    )
    parser.add_argument(
        "--budget", type=int, default=250, help="passes of the strong attacks, an image"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="per network and radius"
    )
    parser.add_argument("--record", type=Path, help="file to keep results in, go on")
    parser.add_argument(
        "--fill",
        choices=("growth", "claims"),
        help="only put these into the record, which another run makes tables of",
    )
    parser.add_argument("--out", type=Path, help="write the figures as one page")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.inputs, options.radii = ["digits"], 4, [0.01]
    return options


def _filled(
    subject: Perturbed, radius: float, options: argparse.Namespace, ledger: Ledger
) -> tuple[list[Any], list[Any]]:
    """Return growth and claims of one network and radius, batch by batch."""
    norm, attacks = _norm(options), attacks_of(options.budget)
    growth, claims, begun = list[Any](), list[Any](), time.perf_counter()
    for number, x in enumerate(subject.x.split(subject.batch)):
        if time.perf_counter() - begun > 60 * options.minutes:
            break
        key = {"network": subject.name, "radius": radius, "norm": options.norm}
        key |= {"first": number * subject.batch, "inputs": len(x)}
        if options.fill != "claims":
            own = {"what": "growth", "seed": options.seed, "budget": options.budget}
            make = partial(_grown, subject, x, radius, norm, attacks, options.seed)
            growth.append(ledger.once(key | own, make))
        for name in options.claims if options.fill != "growth" else ():
            make = partial(_claimed, subject, x, radius, norm, name)
            claims.append(ledger.once(key | {"what": name}, make))
    return growth, claims


def _norm(options: argparse.Namespace) -> float:
    return 2.0 if options.norm == "2" else math.inf


def _grown(
    subject: Perturbed,
    x: Tensor,
    radius: float,
    norm: float,
    attacks: Sequence[Attack],
    seed: int,
) -> dict[str, Any]:
    """Attack a batch, and return what came of it as plain data."""
    begun = time.process_time()
    found = measured_growth(
        *(subject.f, x, [radius], norm, attacks), seed=seed, batch=len(x)
    )
    columns = {
        each.attack: {name: getattr(each, name).tolist() for name in _COLUMNS}
        for each in found
    }
    return {"seconds": time.process_time() - begun, "attacks": columns}


def _claimed(
    subject: Perturbed, x: Tensor, radius: float, norm: float, name: str
) -> dict[str, Any]:
    """Make claims about a batch, and return them as plain data."""
    begun = time.process_time()
    silent = ""
    try:
        claims = CLAIMS[name](subject, x, radius, norm)
    except NotKnownError as error:
        claims, silent = local_claims(subject, x, radius, norm), str(error)
    told = [
        {"name": each.name, "label": each.label, "values": each.values.tolist()}
        for each in claims
    ]
    seconds = time.process_time() - begun
    return {"seconds": seconds, "claims": told, "silent": silent}


def _growth(parts: Sequence[Any], radius: float, norm: float) -> list[Growth]:
    """Return what each attack did to all inputs."""
    found = []
    for attack in parts[0]["attacks"]:
        columns = [
            torch.tensor([v for part in parts for v in part["attacks"][attack][name]])
            for name in _COLUMNS
        ]
        wide = [each if each.dtype == torch.bool else each.double() for each in columns]
        found.append(Growth(attack, radius, norm, *wide))
    return found


def _joined(parts: Sequence[Any]) -> list[Claim]:
    """Return claims about all inputs."""
    values: dict[tuple[str, Any], list[float]] = {}
    for part in parts:
        for each in part["claims"]:
            values.setdefault((each["name"], each["label"]), []).extend(each["values"])
    return [
        Claim(name, label, torch.tensor(own, dtype=torch.float64))
        for (name, label), own in values.items()
    ]


def _measured(
    subject: Perturbed,
    radius: float,
    options: argparse.Namespace,
    growth: Sequence[Any],
    claims: Sequence[Any],
) -> dict[str, Any]:
    """Return the table of one network and radius."""
    table = tightness(_growth(growth, radius, _norm(options)), _joined(claims))
    count = len(table.strongest)
    unit = subject.pass_seconds * count
    turned = [part["attacks"]["PGD"]["turned"] for part in growth]
    known = {
        claim.name: int(claim.values.isfinite().sum())
        for claim in table.claims
        if claim.label == "guarantee"
    }
    violated = sum(len(gap.violations) for gap in table.gaps)
    silent = next((part["silent"] for part in claims if part["silent"]), "")
    asked = bool(silent or known)
    lost = asked and subject.name in BUILT_IN and known.get("certified") != count
    return {
        **table.as_record(),
        "network": subject.name,
        "depth": subject.depth,
        "medians": {
            name: each.nanquantile(0.5).item() for name, each in table.measured.items()
        },
        "turned": sum(map(sum, turned)) / count,
        "attack passes": sum(part["seconds"] for part in growth) / unit,
        "claim passes": sum(part["seconds"] for part in claims) / unit,
        "silent": silent,
        "violated": violated,
        "lost": lost,
        "wrong": bool(violated) or lost,
    }


def _tell(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the row of the last table, and draw all there are."""
    if options.out:
        write_sensitivity_report(_page(found), options.out)
    if options.json:
        return
    if len(found) == 1:
        print(
            "Median growth of relative deviations, by attack; share of decisions that "
            "PGD turned; log10(claim /\nstrongest), medians over inputs, and of the "
            "certified bound the 5 % and 95 % quantiles; costs of\nattacks and claims "
            "in forward passes of the network, at batch 32, for each input\n"
        )
        print(_line([*_HEADS, *_TRIED, *_MORE]))
    print(_line(_row(found[-1])), flush=True)
    if found[-1]["silent"]:
        printing.say(f"{found[-1]['network']} has no bounds: {found[-1]['silent']}")


_HEADS = ("network", "inputs", "depth", "radius")
_TRIED = ("random", "of 16", "FGSM", "DeepFool", "power", "PGD")
_CLAIMED = ("average", "local", *BOUNDS)
_MORE = ("turned", *_CLAIMED, "5 %", "95 %", "violated", "passes")


def _row(table: Mapping[str, Any]) -> list[str]:
    gaps = {gap["name"]: gap for gap in table["gaps"]}
    medians = [_gap(gaps.get(name), 2) for name in _CLAIMED]
    ends = [_gap(gaps.get("certified"), place) for place in (0, 4)]
    cost = f"{table['attack passes']:.0f} + {table['claim passes']:.0f}"
    return [
        *(table["network"], str(table["images"]), str(table["depth"])),
        f"{table['radius']:.2g}",
        *(f"{each:.3g}" for each in table["medians"].values()),
        f"{table['turned']:.1%}",
        *(*medians, *ends, str(table["violated"]), cost),
    ]


def _gap(gap: Mapping[str, Any] | None, place: int) -> str:
    told = gap is not None and gap["quantiles"] is not None
    return f"{gap['quantiles'][place]:+.2f}" if gap is not None and told else "-"


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    heads = (*_HEADS[1:], *_TRIED, *_MORE)
    widths = [max(len(head), 6) for head in heads]
    return f"{first:<20}" + "".join(
        f"  {cell:>{width}}" for cell, width in zip(others, widths, strict=True)
    )


def _page(found: Sequence[dict[str, Any]]) -> SensitivityRecord:
    names = dict.fromkeys(table["network"] for table in found)
    return {
        "network": ", ".join(names),
        "unit": "relative change of the scores for a relative change of the input",
        "about": [("command", "python -m benchmarks.tightness")],
        "estimates": [],
        "profile": [],
        "tightness": cast("list[TightnessRecord]", list(found)),
    }


def _verdict(found: Sequence[dict[str, Any]]) -> str:
    violated = sum(table["violated"] for table in found)
    lost = [f"{t['network']} at {t['radius']:.2g}" for t in found if t["lost"]]
    checked = sum(table["images"] for table in found)
    return (
        f"\n{violated} guarantees were violated, on {checked:,} inputs and radii; "
        f"lost bounds: {', '.join(lost) or 'none'}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
