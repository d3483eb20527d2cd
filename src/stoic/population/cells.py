"""Cells: units of one site, one corruption and one bin, counted and found again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stoic.faults.space import Block, Fault
from stoic.plans import Known, Stratum, nested
from stoic.population.bins import BINS, bin_name, hint_of
from stoic.population.fields import FAILS, HOLDS, Field

__all__ = ["Cell", "Population", "Unit", "population_of"]

# The bin of units that cannot be told apart beforehand, and what to reckon with there.
ANY = 255
_NAMES = {ANY: "any", HOLDS: "proved to hold", FAILS: "proved to fail"}
_HINTS = {ANY: 0.05, HOLDS: 0.0, FAILS: 1.0}
# Units that tables can count.
_MOST = 1 << 63


@dataclass(frozen=True)
class Unit:
    """A fault on a block of inputs.

    Args:
        fault: What strikes.
        row: Number of the block.
    """

    fault: Fault
    row: int


@dataclass(frozen=True)
class Cell:
    """Units of one block of faults that have one bin.

    Args:
        block: Faults of one site, and of one corruption if they can be told apart.
        code: The bin.
        units: Of which nothing is proved.
        known: Of which the verdict is proved.
        failed: Of these, those that fail.
        ends: Units that are not proved up to the end of each row.
    """

    block: Block
    code: int
    units: int
    known: int = 0
    failed: int = 0
    ends: NDArray[np.int64] | None = field(default=None, compare=False)

    def place(self, position: int) -> tuple[int, int]:
        """Return the row of a unit that is not proved, and its rank in it."""
        assert self.ends is not None
        row = int(np.searchsorted(self.ends, position, side="right"))
        return row, position - int(self.ends[row - 1] if row else 0)

    @cached_property
    def bit(self) -> int:
        """The bit that is touched; -1 for several, or all of the site."""
        return self.block.bits[0] if len(self.block.bits) == 1 else -1

    @cached_property
    def bin(self) -> str:
        """Name of the bin."""
        name = _NAMES.get(self.code) or bin_name(self.code)
        return f"{name}, {self.role}" if self.role else name

    @cached_property
    def role(self) -> str:
        """What the bit means; empty where several are touched."""
        return "" if self.bit < 0 else self.block.format.roles[self.bit]

    @property
    def name(self) -> str:
        """Name of the cell."""
        return f"{self.bin}, bit {self.bit}, {self.block.site.name}"

    @property
    def hint(self) -> float:
        """Share of failures to reckon with."""
        return _HINTS[self.code] if self.code in _HINTS else hint_of(self.code)


@dataclass(frozen=True)
class Population:
    """All units of a fault space: every fault on every block of inputs.

    Args:
        cells: No unit is in two of them.
        fields: Of sites whose words are told apart, by name.
        rows: Number of blocks of inputs.
    """

    cells: tuple[Cell, ...]
    fields: dict[str, Field]
    rows: int

    @property
    def known(self) -> Known:
        """What is proved."""
        counts = [(c.units + c.known, c.known, c.failed) for c in self.cells]
        size, known, failed = map(sum, zip(*counts, strict=True))
        return Known(size, known, float(failed))

    @cached_property
    def open(self) -> tuple[Cell, ...]:
        """Cells with units that are not proved, in the order of the strata's leaves."""
        return tuple(cell for cell in self.cells if cell.units)

    def strata(self) -> tuple[Stratum, ...]:
        """Return the strata of `open`: by bin, then by bit, then by site."""
        return nested(
            [Stratum(c.name, c.units, hint=c.hint) for c in self.open],
            [(c.bin, c.bit) for c in self.open],
        )

    def units(self, wanted: Sequence[tuple[int, int]]) -> list[Unit]:
        """Return units by index of the open cell and position in it."""
        found: dict[int, Unit] = {}
        blocks: dict[Block, list[tuple[int, int, int, int]]] = {}
        for number, (index, position) in enumerate(wanted):
            cell = self.open[index]
            block = cell.block
            if cell.code == ANY:
                each = 1 if block.inputs else self.rows
                fault = block.fault(position // each)
                found[number] = Unit(fault, position % each)
                continue
            row, rank = cell.place(position)
            blocks.setdefault(block, []).append((row, number, cell.code, rank))
        for block, places in blocks.items():
            found |= self._in_block(block, places)
        return [found[number] for number in range(len(wanted))]

    def proved(self, count: int, seed: int) -> list[tuple[Unit, bool]]:
        """Return some units whose verdict is proved, by chance, and whether they fail.

        Half of them fail if any do. Cells are as likely as they have such units, and in
        them every row that has any.
        """
        chance = random.Random(f"proved {seed}")
        cells = [cell for cell in self.cells if cell.known]
        if not cells:
            return []
        failed = self.known.failed
        shares = {True: failed, False: self.known.known - failed}
        weights = [cell.known / shares[cell.failed > 0] for cell in cells]
        return [
            self._proved_in(cell, chance)
            for cell in chance.choices(cells, weights, k=count)
        ]

    def _proved_in(self, cell: Cell, chance: random.Random) -> tuple[Unit, bool]:
        block, corruption = cell.block, cell.block.fault(0).corruption
        words = self.fields[block.site.name]
        rows = list(range(words.rows if words.apart else 1))
        chance.shuffle(rows)
        for row in rows:
            codes = words.codes(corruption, np.array([row])).ravel()
            there = np.flatnonzero(codes == cell.code)
            if there.size:
                element = int(chance.choice(there))
                at = row if words.apart else chance.randrange(words.rows)
                own = at if block.inputs else None
                unit = Unit(Fault(block.site, element, own, corruption), at)
                return unit, cell.code == FAILS
        raise AssertionError("a cell must have the units that were counted in it")

    def _in_block(
        self, block: Block, places: Sequence[tuple[int, int, int, int]]
    ) -> Iterator[tuple[int, Unit]]:
        """Yield the numbers of wanted units of a block, and the units."""
        words, corruption = self.fields[block.site.name], block.fault(0).corruption
        rows = sorted({row for row, *_ in places})
        codes = dict(zip(rows, words.codes(corruption, np.array(rows)), strict=True))
        each = 1 if words.apart else words.rows
        for row, number, code, rank in places:
            element = int(np.flatnonzero(codes[row] == code)[rank // each])
            at = row if each == 1 else rank % each
            own = at if block.inputs else None
            yield number, Unit(Fault(block.site, element, own, corruption), at)


def population_of(
    blocks: Sequence[Block],
    fields: dict[str, Field],
    rows: int,
    tick: Callable[[str], None] | None = None,
) -> Population:
    """Count the units of every cell.

    Args:
        blocks: Of one corruption each where the site has a field.
        fields: By name of the site.
        rows: Number of blocks of inputs.
        tick: Told which site is being counted.

    Raises:
        ValueError: Units are not alike, or too many.
    """
    _check(blocks, rows)
    cells = []
    for block in blocks:
        own = fields.get(block.site.name)
        if own is None or block.variants != 1:
            size = block.size if block.inputs else block.size * rows
            cells.append(Cell(block, ANY, size))
            continue
        if tick:
            tick(block.site.name)
        cells += _counted(block, own)
    cells.sort(key=lambda c: (c.code, c.role, c.bit, c.block.site.name))
    return Population(tuple(cells), fields, rows)


def _check(blocks: Sequence[Block], rows: int) -> None:
    apart = {bool(block.inputs): block.site.name for block in blocks}
    if rows > 1 and len(apart) > 1:
        raise ValueError(
            "sites must all be hit in every input or all in one at a time, where the "
            f"plan chooses the inputs, got {apart[False]} and {apart[True]}; "
            "measure them apart"
        )
    units = sum(b.size if b.inputs else b.size * rows for b in blocks)
    if units >= _MOST:
        raise ValueError(
            f"faults on inputs must be fewer than 2^63, got {units}; choose fewer "
            "sites, or draw faults uniformly"
        )


def _counted(block: Block, field: Field) -> Iterator[Cell]:
    """Yield the cells of a block, each with its units counted row by row."""
    counts = field.counts(block.fault(0).corruption)
    counts *= field.rows // len(counts)
    whole = counts.sum(axis=0)
    for code in np.flatnonzero(whole[:BINS]).tolist():
        yield Cell(block, code, int(whole[code]), ends=np.cumsum(counts[:, code]))
    for code in (HOLDS, FAILS):
        if known := int(whole[code]):
            yield Cell(block, code, 0, known, known * (code == FAILS))
