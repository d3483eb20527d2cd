"""Estimates of a run on units of faults and inputs, for all and for any group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stoic.estimates.course import Course, Portion, run_course
from stoic.estimates.estimate import Estimate
from stoic.estimates.facts import Bools, Facts, read_facts
from stoic.estimates.population import By, Key
from stoic.estimates.preset import PresetCourse, course_of
from stoic.estimates.sample import Floats
from stoic.plans import Adaptive, Known, Preset, Stratum, nested, read_plan
from stoic.records import Manifest, bit_role, has_cells

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Searched", "is_searched", "read_searched"]

_SAME = 1e-12


def is_searched(manifest: Manifest) -> bool:
    """Say whether trials are units: faults on one input or a few, from cells."""
    return has_cells(manifest.plan)


@dataclass(frozen=True)
class Searched:
    """The trials of a run on units, and the cells that they were drawn from.

    Args:
        manifest: Of the run.
        cells: Columns: bin, site, bit, units that are not proved, proved units, and
            those of them that fail.
        facts: What came of the trials.
        course: The plan, taken through them.
    """

    manifest: Manifest
    cells: dict[str, Any]
    facts: Facts
    course: Course | PresetCourse

    @property
    def about(self) -> str:
        """What the estimates are about."""
        return f"these {self.manifest.data.inputs:,} inputs"

    def whole(self, confidence: float, *, guaranteed: bool) -> Estimate:
        """Return the estimate of the whole population."""
        return self.course.estimate(
            guaranteed=guaranteed, confidence=confidence, about=self.about
        )

    def groups(self, by: Sequence[By]) -> Iterator[tuple[Key, Bools]]:
        """Yield groups of cells, in the order of the space, with what they share."""
        columns = [self._column(name) for name in by]
        keys = list(zip(*columns, strict=True))
        for key in dict.fromkeys(keys):
            yield key, np.array([own == key for own in keys])

    def faults(self, group: Bools) -> int:
        """Return how many faults a group of cells holds."""
        sizes = self.cells["units"] + self.cells["known"]
        return round(float((sizes / self._units_per_fault)[group].sum()))

    def trials(self, group: Bools) -> int:
        """Return how many trials fell into a group of cells."""
        return int(self._inside(group).sum())

    def estimate(
        self,
        group: Bools,
        low: Floats,
        high: Floats,
        confidence: float,
        *,
        guaranteed: bool,
        failed: float | None = None,
    ) -> Estimate:
        """Estimate a mean over the units of some cells.

        Args:
            group: Which cells.
            low: Share per trial, at least.
            high: At most.
            confidence: Of the interval.
            guaranteed: Its kind.
            failed: Sum over the proved units; by default, how many of them fail.
        """
        units, proved = (int(self.cells[n][group].sum()) for n in ("units", "known"))
        if failed is None:
            failed = float(self.cells["failed"][group].sum())
        size, whole = units + proved, self.course.known.size
        if not units:
            share = failed / size
            about = self.about
            return Estimate(share, share, share, 0, confidence, "census", about)
        leaves = np.asarray(group[np.flatnonzero(self.cells["units"])])
        portion = Portion(leaves, units, failed, low, high)
        *ends, kind = self.course.part(portion, confidence, guaranteed=guaranteed)
        parts = np.array(ends, float) * (whole / size)
        value, least, most = np.clip(parts, 0.0, 1.0).tolist()
        if most - least <= _SAME * most:
            # Nothing is left but what sums in another order differ by.
            least = most = value
        trials = self.trials(group)
        return Estimate(value, least, most, trials, confidence, kind, self.about)

    def _inside(self, group: Bools) -> Bools:
        """Say which trials were drawn from some cells."""
        open_cells = np.flatnonzero(self.cells["units"])
        return np.asarray(group[open_cells][self.facts.stratum])

    def _column(self, name: By) -> list[Any]:
        sites = {site.name: site for site in self.manifest.space.sites}
        site = [sites[str(own)] for own in self.cells["site"]]
        bits = [int(bit) for bit in self.cells["bit"]]
        match name:
            case "network":
                return [self.manifest.network.name] * len(site)
            case "stratum":
                return [str(bin) for bin in self.cells["bin"]]
            case "kind":
                return [own.kind for own in site]
            case "component":
                return [own.component for own in site]
            case "site":
                return [own.name for own in site]
            case "channel":
                raise ValueError(
                    "table channel must be of trials on all inputs, got some on one "
                    "or a few; ask for site"
                )
        if min(bits) < 0:
            raise ValueError(
                "tables by bit must have faults of one bit each, "
                f"got {self.manifest.space.fault_model}; ask for sites"
            )
        if name == "bit":
            return bits
        pairs = zip(site, bits, strict=True)
        return [bit_role(own.dtype, bit) for own, bit in pairs]

    @cached_property
    def _units_per_fault(self) -> Floats:
        inputs = {site.name: site.inputs for site in self.manifest.space.sites}
        rows = self.manifest.data.inputs // int(self.manifest.engine["batch"])
        return np.array([1.0 if inputs[str(s)] else rows for s in self.cells["site"]])


def read_searched(
    connection: DuckDBPyConnection, manifest: Manifest, failed: str = "o.failed"
) -> Searched:
    """Return what a run on units holds.

    Args:
        connection: To the tables of the run.
        manifest: Of it.
        failed: SQL that says whether an outcome failed.
    """
    cells = connection.execute("SELECT * FROM cells ORDER BY cell").fetchnumpy()
    columns = {name: np.asarray(column) for name, column in cells.items()}
    if failed != "o.failed" and columns["known"].any():
        raise ValueError(
            f"criterion must be the recorded {manifest.criterion}, by which verdicts "
            "were proved, got another; run the campaign anew with it"
        )
    # Where all is proved there is nothing to try.
    least = int(columns["units"].any())
    facts = read_facts(connection, failed, least)
    plan = read_plan(manifest.plan)
    assert isinstance(plan, Adaptive | Preset)
    course = course_of(plan, _strata(columns), _known(columns), manifest.seed)
    # The plan went by the criterion of the run, whatever is asked for now.
    own = facts
    if failed != "o.failed":
        own = read_facts(connection, "o.failed", least)
    run_course(course, own.low, own.high)
    _check_drawn(facts, course)
    return Searched(manifest, columns, facts, course)


def _check_drawn(facts: Facts, course: Course | PresetCourse) -> None:
    """Refuse trials that are not, one by one, what the plan draws."""
    drawn = course.drawn
    there = np.array_equal(facts.trial, np.arange(len(drawn)))
    if not (there and np.array_equal(facts.stratum, drawn)):
        raise ValueError(
            f"trials must be the first {len(facts.trial):,} that the plan draws, got "
            "others; where a shard is missing, the same command runs it again"
        )


def _known(cells: dict[str, Any]) -> Known:
    units, known, failed = (int(cells[n].sum()) for n in ("units", "known", "failed"))
    return Known(units + known, known, float(failed))


def _strata(cells: dict[str, Any]) -> tuple[Stratum, ...]:
    rows = np.flatnonzero(cells["units"])
    leaves = [
        Stratum(f"cell {row}", int(cells["units"][row]), hint=float(cells["hint"][row]))
        for row in rows
    ]
    return nested(leaves, [(str(cells["bin"][r]), int(cells["bit"][r])) for r in rows])
