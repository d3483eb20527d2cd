"""Plots as data: lines with their estimates, and the scale they are drawn on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from stoic.estimates import Estimate, Row
from stoic.report.text import aligned, limits, percent

__all__ = ["LEVELS", "Line", "Plot", "Scale", "Tick", "level", "plot"]

# Shades of the heat map beside the one for no failure.
LEVELS = 12

# Of the top of a scale; the coarse ones are left out where there is little room.
_TICKS = ((0.0, True), (0.01, False), (0.05, False), (0.1, True), (0.2, False))


@dataclass(frozen=True)
class Tick:
    """A mark on a scale.

    Args:
        at: Place in percent of the width.
        text: What is written there.
        major: Whether it stays where there is little room.
    """

    at: float
    text: str
    major: bool


@dataclass(frozen=True)
class Scale:
    """A square-root scale from 0: small shares stay apart, and 0 has a place.

    Args:
        top: The share at its end.
    """

    top: float

    def at(self, share: float) -> float:
        """Return the place of a share, in percent of the width."""
        return round(100 * math.sqrt(min(share / self.top, 1.0)), 2)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Marks, not evenly apart."""
        places = (*_TICKS, (0.5, True), (1.0, True))
        return tuple(
            Tick(self.at(part * self.top), f"{100 * part * self.top:.3g}", major)
            for part, major in places
        )


@dataclass(frozen=True)
class Line:
    """A line of a plot or table.

    Args:
        name: What it is about; untrusted.
        estimate: Its share.
        trials: How many it rests on.
        faults: How many it is about.
        value: The share as text.
        limits: The interval as text.
        note: A second line below the name.
        tone: Class that colours it.
    """

    name: str
    estimate: Estimate
    trials: int
    faults: int
    value: str
    limits: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Plot:
    """Lines on one scale.

    Args:
        lines: In the order shown.
        scale: That holds all of their intervals.
    """

    lines: tuple[Line, ...]
    scale: Scale

    @property
    def kinds(self) -> str:
        """The kinds of the intervals; empty if there is nothing left to cover."""
        lines = [line for line in self.lines if line.estimate.low < line.estimate.high]
        return " or ".join(dict.fromkeys(line.estimate.kind for line in lines))

    @property
    def about(self) -> str:
        """What the intervals are, in a sentence."""
        if not self.kinds:
            return "Every fault was tried, so no interval is left."
        some = len(self.lines) > sum(
            line.estimate.low < line.estimate.high for line in self.lines
        )
        rest = ", none where every fault was tried" if some else ""
        return f"Intervals are {self.kinds}{rest}."


def plot(named: Iterable[tuple[str, str, str, Row]]) -> Plot:
    """Return a plot of rows, each with its name, note and tone."""
    found = list(named)
    values = aligned([percent(row.estimate) for *_, row in found])
    lines = tuple(
        Line(
            name=name,
            estimate=row.estimate,
            trials=row.trials,
            faults=row.faults,
            value=value,
            limits=limits(row.estimate),
            note=note,
            tone=tone,
        )
        for (name, note, tone, row), value in zip(found, values, strict=True)
    )
    return Plot(lines, _scale([row.estimate for *_, row in found]))


def level(share: float) -> int:
    """Return the shade of a share: 0 for none, else 1 to `LEVELS` by its root."""
    return 0 if share == 0 else min(LEVELS, 1 + int(LEVELS * math.sqrt(share)))


def _scale(estimates: Iterable[Estimate]) -> Scale:
    most = max((e.high for e in estimates), default=1.0) or 1.0
    for exponent in range(math.floor(math.log10(most)), 1):
        for digit in (1, 2, 5):
            top = float(digit * Fraction(10) ** exponent)
            if most <= top:
                return Scale(min(top, 1.0))
    return Scale(1.0)
