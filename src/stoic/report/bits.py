"""Bits: vulnerability by bit and role, and by layer and bit, per number format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from stoic.estimates import About, By, Row
from stoic.records import Run, SiteRecord, bit_role
from stoic.report.layers import Layers, rows_by
from stoic.report.plots import Plot, level, plot
from stoic.report.text import span

__all__ = ["Band", "Cell", "Format", "Heat", "formats"]


@dataclass(frozen=True)
class Band:
    """Neighbouring bits of one role.

    Args:
        role: Of the bits.
        columns: How many.
    """

    role: str
    columns: int


@dataclass(frozen=True)
class Cell:
    """A cell of the heat map.

    Args:
        tone: Class that colours it: ``none`` without such a bit, ``untried`` without
            trials.
        title: What is in it, in words.
    """

    tone: str
    title: str = ""


@dataclass(frozen=True)
class Heat:
    """Layers by bits.

    Args:
        rows: Label and cells of each layer that has trials.
        trials: Per cell that has trials.
        untried: Cells of these layers without trials.
    """

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    trials: tuple[int, ...]
    untried: int

    @property
    def middle(self) -> float:
        """Median of the trials per cell that has any."""
        return median(self.trials)


@dataclass(frozen=True)
class Format:
    """Sites of one number format.

    Args:
        dtype: Its name.
        bits: Those in the space or between them, the most significant first.
        bands: The same by role.
        by_bit: One line per bit that has trials.
        by_role: One line per role that has trials.
        heat: Layers by bits.
    """

    dtype: str
    bits: tuple[int, ...]
    bands: tuple[Band, ...]
    by_bit: Plot
    by_role: Plot
    heat: Heat

    def place(self, bit: int) -> float:
        """Return the middle of the column of a bit, in percent of the width."""
        return round(100 * (self.bits.index(bit) + 0.5) / len(self.bits), 3)

    @property
    def wide(self) -> bool:
        """Whether there is more than one bit to compare."""
        return len(self.bits) > 1

    @property
    def labelled(self) -> tuple[int, ...]:
        """The bits that have a label below the plot."""
        step = 8 if len(self.bits) > 32 else 4 if len(self.bits) > 8 else 1
        return tuple(b for b in self.bits if b % step == 0 or b == self.bits[0])


def formats(run: Run, layers: Layers, about: About = "inputs") -> tuple[Format, ...]:
    """Return the tables by bit of every number format that has trials.

    Raises:
        ValueError: The trials have no single bit.
    """

    def by_dtype(part: By) -> dict[str, list[Row]]:
        return _grouped(rows_by(run, lambda site: site.dtype, part, about=about))

    by_bit, by_role = by_dtype("bit"), by_dtype("role")
    by_cell: dict[str, dict[tuple[str, int], Row]] = defaultdict(dict)

    def place(site: SiteRecord) -> tuple[str, str]:
        return site.dtype, layers.of(site)

    for (dtype, label), row in rows_by(run, place, "bit", about=about):
        by_cell[dtype][label, int(row.key[0])] = row
    return tuple(
        _format(
            dtype, _present(run, layers, dtype), rows, by_role[dtype], by_cell[dtype]
        )
        for dtype, rows in by_bit.items()
    )


def _grouped(rows: Iterator[tuple[str, Row]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for key, row in rows:
        found.setdefault(key, []).append(row)
    return found


def _present(run: Run, layers: Layers, dtype: str) -> dict[str, set[int]]:
    """The bits in the space of each layer that has sites of a number format."""
    space = run.manifest.space
    sites = [site for site in space.sites if site.dtype == dtype]
    present: dict[str, set[int]] = {}
    for label in layers.ordered(sites):
        for site in sites:
            if layers.of(site) == label:
                found = site.positions or space.bits or range(site.bits)
                present.setdefault(label, set()).update(b for b in found)
    return present


def _format(
    dtype: str,
    present: Mapping[str, set[int]],
    by_bit: Sequence[Row],
    by_role: Sequence[Row],
    by_cell: Mapping[tuple[str, int], Row],
) -> Format:
    found = set().union(*present.values())
    bits = tuple(range(max(found), min(found) - 1, -1))
    roles = groupby(bits, lambda bit: bit_role(dtype, bit))
    return Format(
        dtype=dtype,
        bits=bits,
        bands=tuple(Band(role, len(list(own))) for role, own in roles),
        by_bit=plot(
            (str(row.key[0]), "", bit_role(dtype, int(row.key[0])), row)
            for row in sorted(by_bit, key=lambda row: -int(row.key[0]))
        ),
        by_role=plot(
            (str(row.key[0]), "", str(row.key[0]), row) for row in reversed(by_role)
        ),
        heat=_heat(bits, present, by_cell),
    )


def _heat(
    bits: Sequence[int],
    present: Mapping[str, set[int]],
    rows: Mapping[tuple[str, int], Row],
) -> Heat:
    tried = {label for label, _ in rows}
    return Heat(
        rows=tuple(
            (label, tuple(_cell(label, bit, rows, own) for bit in bits))
            for label, own in present.items()
            if label in tried
        ),
        trials=tuple(row.trials for row in rows.values()),
        untried=sum(len(present[label]) for label in tried) - len(rows),
    )


def _cell(
    label: str, bit: int, rows: Mapping[tuple[str, int], Row], present: set[int]
) -> Cell:
    if bit not in present:
        return Cell("none")
    row = rows.get((label, bit))
    if row is None:
        return Cell("untried", f"{label}, bit {bit}: no trials")
    title = f"{label}, bit {bit}: {span(row.estimate)}, trials: {row.trials:,}"
    return Cell(f"heat{level(row.estimate.value)}", title)
