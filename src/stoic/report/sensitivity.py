"""The page of a network's sensitivity: plain data in, one HTML file out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.decades import Decades, Spread, decades, figure, spread
from stoic.report.templating import rendered

__all__ = [
    "ClaimRecord",
    "GapRecord",
    "LayerRecord",
    "SensitivityRecord",
    "TightnessRecord",
    "write_sensitivity_report",
]

LABELS = {
    "guarantee": "holds for every perturbation of that size",
    "local": "about the derivative at the input; proves nothing",
    "average": "about a random direction; proves nothing",
    "measured": "reached by a perturbation that was tried",
}

# What estimates are called, by a word of their names.
TERMS = {
    "product": "norms of operators multiplied from step to step",
    "interval": "how far each element, and all together, can move: the less of both",
    "linearised": "where the derivative leads, and how far the rest can bend",
    "certified": "the least of these three, for each image",
    "inputs": "move by such a share of their own size",
    "words": "stored ones, each off by such a share of its own size",
    "float32": "every word and every sum is rounded as in that format",
    "bfloat16": "the same; sums inside an operator are of float32",
    "float16": "the same; sums inside an operator are of float32",
}


class ClaimRecord(TypedDict):
    """What is said of each image: a name, its label, and a number or None."""

    name: str
    label: str
    values: list[float | None]


class GapRecord(TypedDict):
    """How far a claim lies from the strongest measured growth, in powers of ten.

    ``quantiles`` are those of 5, 25, 50, 75 and 95 % of the images, or None.
    """

    name: str
    label: str
    quantiles: Sequence[float] | None
    images: int
    undefined: int
    violations: Sequence[int]


class TightnessRecord(TypedDict):
    """Claims and measured growth of the same images, at one radius.

    It is what ``Tightness.as_record`` gives; ``network`` is needed where a page shows
    several.
    """

    network: NotRequired[str]
    radius: float
    norm: str
    images: int
    measured: dict[str, list[float | None]]
    claims: list[ClaimRecord]
    gaps: list[GapRecord]


class LayerRecord(TypedDict):
    """How much a layer amplifies: its name and kind, and a number or None."""

    name: str
    kind: str
    amplification: float | None


class SensitivityRecord(TypedDict):
    """All that the page shows.

    ``unit`` says what the numbers are, ``about`` is names and texts, ``profile`` the
    layers in order. What is empty is left out of the page.
    """

    network: str
    unit: str
    about: list[tuple[str, str]]
    estimates: list[ClaimRecord]
    profile: list[LayerRecord]
    tightness: list[TightnessRecord]


@dataclass(frozen=True)
class Lanes:
    """Spreads on one scale.

    Args:
        title: Above them; untrusted.
        lines: In the order shown.
        scale: That holds them all.
        claim: What measured growth is divided by; empty if it is not.
    """

    title: str
    lines: tuple[Spread, ...]
    scale: Decades
    claim: str = ""


@dataclass(frozen=True)
class Bar:
    """A layer's bar, from 1 to how much it amplifies.

    Args:
        name: Of the layer; untrusted.
        kind: Of operator.
        start: Left end in percent.
        width: In percent.
        text: The number; "not known" without one.
        damps: Whether it is below 1.
    """

    name: str
    kind: str
    start: float
    width: float
    text: str
    damps: bool


@dataclass(frozen=True)
class Gap:
    """A line of the table of gaps.

    Args:
        place: Network and radius; untrusted.
        name: Of the claim; untrusted.
        label: What it is good for.
        median: In powers of ten.
        limits: 5 and 95 % of the images.
        images: Of how many.
        violations: How many images grew by more than was guaranteed.
    """

    place: str
    name: str
    label: str
    median: str
    limits: str
    images: int
    violations: int


def write_sensitivity_report(record: SensitivityRecord, out: Path) -> Path:
    """Write the page of a network's sensitivity: it needs nothing but a browser.

    Args:
        record: What to show.
        out: Where to; it is whole or as it was, at any moment.

    Raises:
        RunError: The page finds no room.
    """
    bars, scale = _bars(record["profile"])
    text = rendered(
        "sensitivity.html.j2",
        network=record["network"],
        unit=record["unit"],
        about=record["about"],
        estimates=_estimates(record["estimates"]),
        bars=bars,
        bar_scale=scale,
        growth=[_growth(each) for each in record["tightness"]],
        ratios=[each for each in map(_ratios, record["tightness"]) if each],
        gaps=[gap for table in record["tightness"] for gap in _gaps(table)],
        violated=_violated(record["tightness"]),
        labels=LABELS,
        terms=_terms(record["estimates"]),
    )
    with writing(out, ELSEWHERE):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    return out


def _estimates(claims: Sequence[ClaimRecord]) -> Lanes | None:
    lines = _spreads((c["name"], c["label"], c["values"]) for c in claims)
    return _lanes("", lines) if lines else None


def _terms(claims: Sequence[ClaimRecord]) -> dict[str, str]:
    """Return what names on the page mean, of those that are there."""
    words = {word.strip(",:") for claim in claims for word in claim["name"].split()}
    return {term: text for term, text in TERMS.items() if term in words}


def _growth(table: TightnessRecord) -> Lanes:
    """Return measured growth and claims on one scale, from small to large."""
    found = [(name, "measured", values) for name, values in table["measured"].items()]
    found += [(c["name"], c["label"], c["values"]) for c in table["claims"]]
    lines = sorted(_spreads(found), key=lambda line: line.quantiles[2])
    return _lanes(_place(table), lines)


def _ratios(table: TightnessRecord) -> Lanes | None:
    """Return measured growth over the smallest guarantee, attack by attack."""
    claim = _smallest(table["claims"])
    if claim is None:
        return None
    lines = _spreads(
        (name, "measured", _over(values, claim["values"]))
        for name, values in table["measured"].items()
    )
    return _lanes(_place(table), lines, claim["name"]) if lines else None


def _smallest(claims: Sequence[ClaimRecord]) -> ClaimRecord | None:
    """Return the guarantee with the least median; of equals, the last."""
    best, least = None, math.inf
    for claim in claims:
        if claim["label"] == "guarantee" and (found := spread("", "", claim["values"])):
            if found.quantiles[2] <= least:
                best, least = claim, found.quantiles[2]
    return best


def _over(
    above: Sequence[float | None], below: Sequence[float | None]
) -> list[float | None]:
    pairs = zip(above, below, strict=True)
    return [None if a is None or not b else a / b for a, b in pairs]


def _spreads(
    named: Iterable[tuple[str, str, Sequence[float | None]]],
) -> list[Spread]:
    found = (spread(*each) for each in named)
    return [each for each in found if each is not None]


def _lanes(title: str, lines: Sequence[Spread], claim: str = "") -> Lanes:
    ends = [n for line in lines for n in (*line.quantiles, *line.drawn)]
    # One has a place where growth is a share of what was claimed.
    return Lanes(title, tuple(lines), decades([*ends, *[1.0] * bool(claim)]), claim)


def _bars(profile: Sequence[LayerRecord]) -> tuple[list[Bar], Decades]:
    known = [n for each in profile if (n := each["amplification"]) is not None]
    scale = decades([1.0, *known])
    return [_bar(each, scale) for each in profile], scale


def _bar(layer: LayerRecord, scale: Decades) -> Bar:
    name, kind, number = layer["name"], layer["kind"], layer["amplification"]
    if number is None:
        return Bar(name, kind, 0.0, 0.0, "not known", False)
    one = scale.at(1.0)
    end = scale.at(number) if number > 0 else 0.0
    low, width = min(one, end), round(abs(end - one), 2)
    return Bar(name, kind, low, width, figure(number), number < 1)


def _violated(tables: Sequence[TightnessRecord]) -> int:
    """Count images that grew by more than some guarantee said, table by table."""
    return sum(
        len({row for gap in table["gaps"] for row in gap["violations"]})
        for table in tables
    )


def _gaps(table: TightnessRecord) -> Iterable[Gap]:
    for gap in table["gaps"]:
        quantiles = gap["quantiles"]
        told = ["not defined"] * 3
        if quantiles is not None:
            told = [f"{q:+.2f}" for q in (quantiles[2], quantiles[0], quantiles[-1])]
        yield Gap(
            place=_place(table),
            name=gap["name"],
            label=gap["label"],
            median=told[0],
            limits=f"{told[1]} to {told[2]}" if quantiles is not None else "",
            images=gap["images"],
            violations=len(gap["violations"]),
        )


def _place(table: TightnessRecord) -> str:
    norm = "" if table["norm"] == "2" else ", the same in every element"
    network = f"{table['network']}, " if "network" in table else ""
    return f"{network}radius {figure(table['radius'])}{norm}"
