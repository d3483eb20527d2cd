"""Populations whose every unit is known, so that campaigns can be replayed on paper.

Those of networks come from one exhaustive campaign, in strata as an adaptive campaign
makes them. Made ones lead a plan astray.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import stoic
from stoic import records
from stoic.campaign.facts import Judge
from stoic.campaign.looking import looked_at
from stoic.campaign.trials import Bay
from stoic.criteria import named_criterion
from stoic.faults.selection import chosen_sites
from stoic.faults.space import fault_space
from stoic.network.sites import Kind
from stoic.plans import Batch, Known, Stratum, nested
from stoic.population.cells import ANY, Cell, Population, population_of
from stoic.study import as_inputs, ready

__all__ = ["SOURCES", "Made", "Network", "Truth", "kept", "load"]

_CRITERION = "top1-changed"
# Bits of the bins of made populations.
_BITS = 8

Counts = NDArray[np.uint8]
Tables = dict[tuple[str, int], Counts]


@dataclass(frozen=True)
class Truth:
    """A population of which every unit's share of failed inputs is known.

    Args:
        leaves: Smallest strata, in the order that trials number them.
        keys: Bin and bit of each.
        known: What is proved beforehand.
        failed: Failed inputs of every unit that is not proved, leaf by leaf.
        per_trial: Inputs of a unit.
    """

    leaves: tuple[Stratum, ...]
    keys: tuple[tuple[str, int], ...]
    known: Known
    failed: Counts
    per_trial: int = 1

    @cached_property
    def mean(self) -> float:
        """The vulnerability: what campaigns estimate."""
        failed = int(self.failed.sum(dtype=np.int64)) / self.per_trial
        return (self.known.failed + failed) / self.known.size

    @cached_property
    def strata(self) -> tuple[Stratum, ...]:
        """Strata as `Population.strata` makes them."""
        return nested(self.leaves, self.keys)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(leaf.size for leaf in self.leaves)])

    def shares(self, batch: Batch) -> NDArray[np.float64]:
        """Return what comes of the trials of a batch."""
        places = np.array([(draw.stratum, draw.position) for draw in batch.draws])
        units = self._starts[places[:, 0]] + places[:, 1]
        return np.asarray(self.failed[units] / self.per_trial)

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        leaves = [(leaf.name, leaf.size, leaf.hint) for leaf in self.leaves]
        rest = json.dumps([leaves, self.keys, asdict(self.known), self.per_trial])
        np.savez_compressed(path, failed=self.failed, rest=rest)


def load(path: Path) -> Truth:
    """Return what `Truth.save` has written."""
    with np.load(path) as file:
        failed, rest = file["failed"], json.loads(str(file["rest"]))
    leaves, keys, known, per_trial = rest
    strata = tuple(Stratum(name, size, hint=hint) for name, size, hint in leaves)
    pairs = tuple((bin, bit) for bin, bit in keys)
    return Truth(strata, pairs, Known(**known), failed, per_trial)


@dataclass(frozen=True)
class Network:
    """Faults in a case on its first inputs, of which a trial has one or a few.

    Args:
        proofs: Whether units whose verdict is proved beforehand are left out.
    """

    case: str
    inputs: int
    sites: str = "*"
    kinds: tuple[Kind, ...] = ("parameter",)
    per_trial: int = 1
    proofs: bool = True

    def truth(self) -> Truth:
        """Try every fault, and look at the network as an adaptive campaign does.

        Raises:
            RuntimeError: What is proved beforehand, or the order of units, is wrong.
        """
        tables, population = self._failed(), self._population()
        truth = Truth(
            tuple(Stratum(c.name, c.units, hint=c.hint) for c in population.open),
            tuple((c.bin, c.bit) for c in population.open),
            population.known,
            np.concatenate([_of(c, population, tables) for c in population.open]),
            self.per_trial,
        )
        failed = sum(int(table.sum(dtype=np.int64)) for table in tables.values())
        whole = failed / self.per_trial / sum(t.size for t in tables.values())
        if not math.isclose(truth.mean, whole, rel_tol=1e-9):
            raise RuntimeError(f"cells hold {truth.mean}, but trials say {whole}")
        return truth

    def _failed(self) -> Tables:
        case = stoic.load(self.case, self.inputs)
        with tempfile.TemporaryDirectory() as folder:
            measured = stoic.pvf(
                case.network,
                case.inputs,
                case.labels,
                sites=self.sites,
                kinds=self.kinds,
                faults=None,
                mode="fast",
                batch=self.inputs,
                criterion=_CRITERION,
                best=1,
                out=Path(folder) / "run",
            )
            return self._tables(measured.run)

    def _tables(self, run: records.Run) -> Tables:
        """Return failed inputs by site and bit: of each block, by element."""
        tables = {
            (site.name, bit): np.zeros((self.inputs, site.elements), np.uint8)
            for site in run.manifest.space.sites
            for bit in range(site.bits)
        }
        with run.connection() as connection:
            for site, bit, element, input in connection.execute(_FAILED).fetchall():
                tables[site, bit][slice(None) if input < 0 else input, element] = 1
        rows = self.inputs // self.per_trial
        return {
            place: table.reshape(rows, self.per_trial, -1).sum(axis=1, dtype=np.uint8)
            for place, table in tables.items()
        }

    def _population(self) -> Population:
        case = stoic.load(self.case, self.inputs)
        inputs, subject = as_inputs(case.inputs), ready(case.network, case.inputs)
        sites = chosen_sites(subject.sites, include=self.sites, kinds=self.kinds)
        judge = Judge(named_criterion(_CRITERION))
        bay = Bay(subject, inputs, case.labels, self.per_trial, judge, fast=True)
        space = fault_space(sites, inputs=self.inputs)
        found = looked_at(bay, space)
        if self.proofs:
            return found
        fields = {n: replace(f, verdicts=None) for n, f in found.fields.items()}
        return population_of(space.by_bit().blocks, fields, found.rows)


# A crash is a failure of all inputs that the fault can reach.
_FAILED = """
SELECT site, bit, element, o.input FROM outcomes o JOIN faults USING (trial)
WHERE o.failed UNION ALL
SELECT site, bit, element, input FROM faults JOIN trials USING (trial)
WHERE status <> 'done'
"""


def _of(cell: Cell, population: Population, tables: Tables) -> Counts:
    """Return the failed inputs of a cell's units in the order of their positions."""
    block = cell.block
    table = tables[block.site.name, cell.bit]
    if cell.code == ANY:
        return np.asarray((table if block.inputs else table.T).ravel())
    field = population.fields[block.site.name]
    inside = field.codes(block.fault(0).corruption) == cell.code
    if field.apart:
        return np.asarray(table[np.broadcast_to(inside, table.shape)])
    return np.asarray(table[:, inside[0]].T.ravel())


@dataclass(frozen=True)
class Made:
    """A made population.

    Args:
        bins: Of each its hint, the units of each bit, and shares of units that fail,
            bit by bit; they are repeated.
        per_trial: Inputs of a unit; of those that fail, one and more, evenly.
        tiny: Units in one more bit of the last bin, all of which fail.
    """

    bins: tuple[tuple[float, int, Sequence[float]], ...]
    per_trial: int = 1
    tiny: int = 0

    def truth(self) -> Truth:
        """Make it."""
        parts = [
            (bin, bit, hint, size, rates[bit % len(rates)])
            for bin, (hint, size, rates) in enumerate(self.bins)
            for bit in range(_BITS)
        ]
        if self.tiny:
            parts.append((len(self.bins) - 1, _BITS, self.bins[-1][0], self.tiny, 1.0))
        chance = np.random.default_rng(0)
        counts = [
            (np.arange(size) < round(size * rate))
            * chance.integers(1, self.per_trial + 1, size, np.uint8)
            for _, _, _, size, rate in parts
        ]
        strata = [Stratum(f"bin {n}, bit {b}", s, hint=h) for n, b, h, s, _ in parts]
        keys = tuple((f"bin {bin}", bit) for bin, bit, *_ in parts)
        failed = np.concatenate(counts)
        return Truth(tuple(strata), keys, Known(failed.size), failed, self.per_trial)


_LOW = (0.4, 500, [0.0]), (0.02, 1000, [0.0]), (1e-3, 2000, [0.0])
SOURCES: dict[str, Network | Made] = {
    "digits": Network("digits", 128),
    "digits unproved": Network("digits", 128, proofs=False),
    "digits by 8": Network("digits", 128, per_trial=8),
    "digits activations": Network("digits", 8, kinds=("activation",)),
    "signs end": Network("signs", 8, "head.*,stage4.norm.*", proofs=False),
    # All failures are where scores say that there is none.
    "misled": Made((*_LOW, (1e-6, 10000, [0.08, *[0.0] * 7]))),
    # So few units fail that a campaign may well see none of them.
    "tiny": Made(((1e-6, 12475, [0.0]),), tiny=200),
    # A little more than the first target allows for where no failure has been seen.
    "rare": Made(((1e-6, 12500, [0.0168, *[0.0] * 7]),)),
    # Nearly all units of a bin fail, so that the others of it are rarely seen.
    "sure": Made(((0.4, 2500, [1.0, 1.0, 1.0, 0.98]), (1e-6, 10000, [0.0]))),
    "fractional": Made(
        ((0.4, 500, [0.9, 0.5]), (0.02, 1500, [0.05]), (1e-4, 4500, [0.01, 0.0])), 4
    ),
    # Whole strata are tried before the interval is narrow.
    "small": Made(((0.4, 25, [0.5]), (0.01, 75, [0.04, 0.0]), (1e-6, 150, [0.01]))),
}


def kept(name: str, folder: Path) -> Path:
    """Return the file of a population, made unless it is there."""
    path = folder / f"{name.replace(' ', '-')}.npz"
    if not path.exists():
        part = path.with_suffix(".part.npz")
        SOURCES[name].truth().save(part)
        part.rename(path)
    return path
