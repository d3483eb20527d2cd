"""Vulnerability by part of the inputs: of each input, and of each class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stoic.estimates.draws import samples_of
from stoic.estimates.facts import Facts, Integers, read_facts
from stoic.estimates.mean import estimate_mean
from stoic.estimates.population import cells, group_sizes, stratified
from stoic.estimates.sample import Floats
from stoic.estimates.tables import Row
from stoic.records import Manifest, Run

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["per_class", "per_input"]


def per_input(run: Run, *, confidence: float = 0.95) -> tuple[Row, ...]:
    """Estimate for every input the probability that a fault fails it."""
    return _by_part(run, np.arange(run.manifest.data.inputs), confidence)


def per_class(run: Run, *, confidence: float = 0.95) -> tuple[Row, ...]:
    """Estimate for every class the probability that a fault fails an input of it.

    Raises:
        ValueError: The inputs have no labels.
    """
    if not run.manifest.data.labelled:
        raise ValueError("inputs must have labels for a table by class, got none")
    with run.connection() as connection:
        golden = connection.execute("SELECT label FROM golden ORDER BY input")
        labels = golden.fetchnumpy()["label"]
    return _by_part(run, labels, confidence)


@dataclass(frozen=True)
class _Parts:
    """The inputs in parts, and what each trial failed of them.

    Args:
        inputs: Number of inputs of each part.
        own: Part of the only input that a trial exposed; -1 where it exposed all.
        row: Index of the trial, for every trial and part with failures.
        part: Index of the part.
        failed: Inputs of it that failed.
    """

    inputs: Integers
    own: Integers
    row: Integers
    part: Integers
    failed: Integers


def _by_part(run: Run, part_of: Integers, confidence: float) -> tuple[Row, ...]:
    """Estimate the vulnerability of every part of the inputs.

    Trials whose fault reached a part are a uniform sample of the faults that do.
    """
    names, part_of = np.unique(part_of, return_inverse=True)
    with run.connection() as connection:
        facts = read_facts(connection, "o.failed")
        parts = _read_parts(connection, facts, part_of)
    rows = []
    for index, name in enumerate(names):
        reached = np.flatnonzero((parts.own < 0) | (parts.own == index))
        if not reached.size:
            continue
        faults = _reaching(run.manifest, int(parts.inputs[index]))
        low, high = _failed_share(facts, parts, index, reached)
        coins = bool(parts.inputs[index] == 1 or (parts.own >= 0).all())
        stratum = facts.stratum[reached]
        estimate = estimate_mean(
            samples_of(run.manifest, faults, stratum, low, high, coins=coins),
            confidence=confidence,
            about=_about(run.manifest, int(parts.inputs[index])),
        )
        rows.append(Row((int(name),), estimate, faults.total(), len(reached)))
    return tuple(rows)


def _read_parts(
    connection: DuckDBPyConnection, facts: Facts, part_of: Integers
) -> _Parts:
    connection.register("given", {"input": np.arange(len(part_of)), "part": part_of})
    failed = connection.execute(
        """
        SELECT trial, part, count(*) AS failed
        FROM outcomes JOIN given USING (input) JOIN trials USING (trial)
        WHERE failed AND status = 'done' GROUP BY trial, part ORDER BY part, trial
        """
    ).fetchnumpy()
    targets = connection.execute(
        """
        SELECT trial, any_value(part) AS part FROM trials JOIN faults USING (trial)
        JOIN given USING (input) WHERE exposed = 1 GROUP BY trial
        """
    ).fetchnumpy()
    own = np.full(len(facts.trial), -1)
    own[np.searchsorted(facts.trial, targets["trial"])] = targets["part"]
    return _Parts(
        inputs=np.bincount(part_of),
        own=own,
        row=np.searchsorted(facts.trial, failed["trial"]),
        part=failed["part"],
        failed=failed["failed"],
    )


def _failed_share(
    facts: Facts, parts: _Parts, index: int, reached: Integers
) -> tuple[Floats, Floats]:
    """The share of the part's reached inputs that failed, at least and at most."""
    first, last = np.searchsorted(parts.part, [index, index + 1])
    failed = np.zeros(len(facts.trial))
    failed[parts.row[first:last]] = parts.failed[first:last]
    share = failed / np.where(parts.own < 0, parts.inputs[index], 1)
    low = np.where(facts.crashed, 1.0, share)[reached]
    return low, np.where(facts.unknown[reached], 1.0, low)


def _reaching(manifest: Manifest, inputs: int) -> Counter[int]:
    """The number of faults that reach some of the inputs, by stratum."""
    sites = manifest.space.sites
    if not any(site.inputs for site in sites):
        return group_sizes(manifest, ["network"])[(manifest.network.name,)]
    faults: Counter[int] = Counter()
    for cell in cells(manifest, by_bit=False, by_stratum=stratified(manifest)):
        of = cell.site.inputs
        faults[cell.stratum] += cell.faults * inputs // of if of else cell.faults
    return faults


def _about(manifest: Manifest, inputs: int) -> str:
    return f"{inputs:,} of these {manifest.data.inputs:,} inputs"
