"""A monitor beside other detectors, as the page shows it: by group of faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from stoic.estimates import Estimate
from stoic.report.plots import Line, Plot, Scale
from stoic.report.text import aligned, limits, percent

__all__ = ["Group", "Rival", "groups_beside", "points"]

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """What is told of one detector beside its area.

    Args:
        name: Of it.
        recall: By rate of false alarms on the clean rows; text.
        less: The monitor's area less this one, with its interval.
        recall_less: The same of recall at the first rate.
        behind: Whether the monitor is shown to be worse.
    """

    name: str
    recall: tuple[str, ...]
    less: str
    recall_less: str
    behind: bool


@dataclass(frozen=True)
class Group:
    """Detectors on the same failures.

    Args:
        name: Of the group.
        areas: One line per detector, the monitor first.
        rates: Of false alarms, in percent, that recall is told at; the largest first.
        rivals: Numbers of each.
    """

    name: str
    areas: Plot
    rates: tuple[str, ...]
    rivals: tuple[Rival, ...]


def groups_beside(scorecard: Record, scale: Scale) -> tuple[Group, ...]:
    """Return the main groups that detectors are compared in.

    Args:
        scorecard: As plain data.
        scale: Of areas.
    """
    return tuple(_groups(scorecard, scale))


def _groups(scorecard: Record, scale: Scale) -> Iterator[Group]:
    strengths = {line["name"] for line in scorecard["strengths"]}
    beside = scorecard.get("beside", [])
    for name, found in groupby(beside, key=lambda each: each["group"]):
        rows = list(found)
        if name in strengths:
            continue
        rates = sorted(rows[0]["recall"], key=float, reverse=True)
        yield Group(
            name,
            _areas(rows, scale),
            tuple(f"{100 * float(rate):.3g}" for rate in rates),
            tuple(_rival(row, rates) for row in rows),
        )


def _areas(rows: list[Record], scale: Scale) -> Plot:
    told = [row for row in rows if row["auroc"] is not None]
    found = [Estimate(**row["auroc"]) for row in told]
    values = aligned([percent(estimate) for estimate in found])
    lines = tuple(
        Line(
            row["detector"],
            estimate,
            estimate.n,
            0,
            value,
            limits(estimate),
            tone="" if row["less"] else "of-alarm",
        )
        for row, estimate, value in zip(told, found, values, strict=True)
    )
    return Plot(lines, scale)


def _rival(row: Record, rates: list[Any]) -> Rival:
    less = row["less"]
    return Rival(
        row["detector"],
        tuple(_told(row["recall"][rate]) for rate in rates),
        points(less),
        points(row["recall_less"].get(rates[0])),
        bool(less and less["high"] < 0),
    )


def _told(share: Record | None) -> str:
    if share is None:
        return "–"
    estimate = Estimate(**share)
    return f"{percent(estimate)} ({limits(estimate)})"


def points(difference: Record | None) -> str:
    """Return a difference in points of a percentage, with its interval."""
    if difference is None:
        return "–"
    value, low, high = (100 * difference[end] for end in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "\u2212")
