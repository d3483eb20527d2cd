"""Panels as data: a few series of shares over places side by side, in percent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from stoic.estimates import Estimate

__all__ = ["Mark", "Panel", "Place", "Series", "bits_panel", "strength_panels"]

Record: TypeAlias = Mapping[str, Any]
# Bits between two labels of a word's axis.
_STEP = 4


@dataclass(frozen=True)
class Place:
    """A place on the axis below.

    Args:
        at: In percent of the width.
        text: Below it.
        note: Below that.
    """

    at: float
    text: str
    note: str = ""


@dataclass(frozen=True)
class Mark:
    """A share at a place.

    Args:
        at: In percent of the width.
        name: Of the place, in words.
        estimate: The share.
    """

    at: float
    name: str
    estimate: Estimate


@dataclass(frozen=True)
class Series:
    """Marks of one kind.

    Args:
        name: What they are.
        tone: Class that colours them.
        shift: By how many pixels they stand beside their places.
        marks: From the left to the right.
        joined: Whether lines join them.
    """

    name: str
    tone: str
    shift: int
    marks: tuple[Mark, ...]
    joined: bool = True

    @property
    def pairs(self) -> Iterable[tuple[Mark, Mark]]:
        """Neighbours, if they are joined."""
        return zip(self.marks, self.marks[1:], strict=False) if self.joined else ()


@dataclass(frozen=True)
class Panel:
    """Series over the same places.

    Args:
        title: What it is about.
        places: With a text below.
        series: On top of each other.
    """

    title: str
    places: tuple[Place, ...]
    series: tuple[Series, ...]


def strength_panels(scorecard: Record) -> tuple[Panel, ...]:
    """Return a panel per kind of corruption, strengths from the left to the right."""
    kinds: dict[str, list[tuple[str, Record]]] = {}
    for line in scorecard["strengths"]:
        kind, _, strength = line["name"].rpartition(" ")
        kinds.setdefault(kind, []).append((strength, line))
    scores = {each["name"]: each for each in scorecard.get("scores", [])}
    best = best_others(scorecard)
    return tuple(_strengths(kind, lines, scores, best) for kind, lines in kinds.items())


def _strengths(
    kind: str,
    lines: Sequence[tuple[str, Record]],
    scores: Mapping[str, Record],
    best: Mapping[str, Record],
) -> Panel:
    at = [round(100 * (n + 0.5) / len(lines), 2) for n in range(len(lines))]
    names = [line["name"] for _, line in lines]
    failed = [line["failed"] for _, line in lines]
    places = (
        Place(x, strength, f"{share['value']:.0%} fail" if share else "")
        for x, (strength, _), share in zip(at, lines, failed, strict=True)
    )

    def series(name: str, tone: str, shift: int, found: Iterable[Any]) -> Series:
        marks = (
            Mark(x, each, Estimate(**share))
            for x, each, share in zip(at, names, found, strict=True)
            if share is not None
        )
        return Series(name, tone, shift, tuple(marks))

    areas = [scores.get(name, {}).get("auroc") for name in names]
    others = [best.get(name, {}).get("auroc") for name in names]
    return Panel(
        kind,
        tuple(places),
        (
            series(
                "found by the rules", "of-rules", -6, (x["recall"] for _, x in lines)
            ),
            series("AUROC of the best other detector", "of-other", 6, others),
            series("AUROC of the score", "of-alarm", 0, areas),
        ),
    )


def best_others(scorecard: Record) -> dict[str, Record]:
    """Return, of the detectors beside the monitor, the best by area in each group."""
    found: dict[str, Record] = {}
    for each in scorecard.get("beside", []):
        if each["less"] is None or each["auroc"] is None:
            continue
        best = found.setdefault(each["group"], each)
        if each["auroc"]["value"] > best["auroc"]["value"]:
            found[each["group"]] = each
    return found


def bits_panel(lines: Sequence[Record]) -> Panel:
    """Return what came of flips of each bit, the most significant on the left."""
    numbers = [int(line["name"]) for line in lines]
    most = max(numbers, default=0)
    at = {bit: round(100 * (most - bit + 0.5) / (most + 1), 2) for bit in numbers}

    def series(name: str, tone: str, shift: int, part: str) -> Series:
        marks = (
            Mark(at[int(line["name"])], f"bit {line['name']}", Estimate(**line[part]))
            for line in reversed(lines)
            if line[part] is not None
        )
        return Series(name, tone, shift, tuple(marks), joined=False)

    labels = (bit for bit in numbers if bit % _STEP == 0 or bit == most)
    return Panel(
        "",
        tuple(Place(at[bit], str(bit)) for bit in labels),
        (
            series("failed, of all flips", "of-failed", -3, "failed"),
            series("found, of those that failed", "of-rules", 3, "recall"),
        ),
    )
