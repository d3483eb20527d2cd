"""Outcomes: what became of the inputs that a fault could reach, as shares of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from stoic.estimates.clusters import read_clusters
from stoic.estimates.draws import samples_of
from stoic.estimates.estimate import Estimate
from stoic.estimates.facts import Bools, Facts, read_facts
from stoic.estimates.mean import estimate_mean
from stoic.estimates.population import group_sizes
from stoic.estimates.sample import Floats
from stoic.estimates.searched import is_searched, read_searched
from stoic.estimates.tables import About, Row, check_about
from stoic.records import Manifest, Run

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["OUTCOMES", "PROVED", "outcome_shares"]

# How people write them.
OUTCOMES = {
    "masked": "masked",
    "benign": "benign",
    "harmless": "harmless",
    "sdc": "SDC",
    "nonfinite": "non-finite",
    "sdc_or_nonfinite": "SDC or non-finite",
    "crash": "crash",
    "unknown": "unknown",
    "proved to hold": "proved to hold",
    "proved to fail": "proved to fail",
}
# What has no trials: a proof says that the criterion holds, or not.
PROVED = ("proved to hold", "proved to fail")

_TOGETHER = "sdc_or_nonfinite"
_APART = ("sdc", "nonfinite")
_OUTCOME = """
    CASE WHEN nonfinite > 0 THEN 'nonfinite' WHEN failed THEN 'sdc'
        WHEN differs IS NULL THEN 'harmless' WHEN differs THEN 'benign' END
"""
_Estimator: TypeAlias = Callable[[str], Estimate]


def outcome_shares(
    run: Run,
    *,
    about: About = "inputs",
    with_nonfinite: bool = False,
    confidence: float = 0.95,
) -> tuple[Row, ...]:
    """Estimate the share of every outcome, averaged over all faults.

    An input has one outcome per trial: ``crash`` and ``unknown`` are those of the
    trial; else ``nonfinite`` (failed or not), ``sdc`` (failed, finite), ``harmless``
    (masked or benign; only fast mode does not tell them apart), ``benign`` and
    ``masked``. An unknown trial may hide any other outcome, and widens all of their
    intervals.

    Args:
        run: That was measured.
        about: As for `stoic.estimates.pvf`.
        with_nonfinite: Whether ``sdc`` and ``nonfinite`` are one outcome,
            ``sdc_or_nonfinite``, instead of two.
        confidence: Of the intervals.

    Raises:
        ValueError: The run has no trials, or cannot speak for a population.
    """
    check_about(about, run.manifest)
    manifest = run.manifest
    if is_searched(manifest):
        return _searched(run, with_nonfinite, confidence)
    faults = group_sizes(manifest, ["network"])[(manifest.network.name,)]
    with run.connection() as connection:
        facts = read_facts(connection, "o.failed")
        if about == "inputs":
            shares = _shares(connection, facts)
            estimate = _over_these_inputs(manifest, facts, faults, shares, confidence)
        else:
            estimate = _over_inputs_like_these(
                connection, manifest, facts, faults, confidence
            )
        return tuple(
            Row((outcome,), estimate(outcome), faults.total(), len(facts.trial))
            for outcome in _shown(manifest, with_nonfinite)
        )


def _searched(run: Run, with_nonfinite: bool, confidence: float) -> tuple[Row, ...]:
    """The same of a run on units; what is proved has no trials."""
    with run.connection() as connection:
        searched = read_searched(connection, run.manifest)
        shares = _shares(connection, searched.facts)
    cells = searched.cells
    everywhere = np.ones(len(cells["site"]), np.bool_)
    guaranteed = bool(run.manifest.plan["guaranteed"])
    unknown = searched.facts.unknown

    def row(name: str, low: Floats, high: Floats, proved: float) -> Row:
        estimate = searched.estimate(
            everywhere, low, high, confidence, guaranteed=guaranteed, failed=proved
        )
        faults = searched.faults(everywhere)
        return Row((name,), estimate, faults, len(searched.facts.trial))

    failed = float(cells["failed"].sum())
    held = float(cells["known"].sum()) - failed
    rows = [
        row(name, shares[name], np.where(unknown, 1.0, shares[name]), 0.0)
        for name in _shown(run.manifest, with_nonfinite)
    ]
    size = searched.course.known.size
    for name, count in zip(PROVED, (held, failed), strict=True):
        part = count / size
        known = Estimate(part, part, part, 0, confidence, "census", searched.about)
        rows.append(Row((name,), known, searched.faults(everywhere), 0))
    return tuple(rows)


def _shown(manifest: Manifest, with_nonfinite: bool) -> list[str]:
    hidden = {*(_APART if with_nonfinite else [_TOGETHER])}
    if manifest.mode != "fast":
        hidden.add("harmless")
    return [name for name in OUTCOMES if name not in {*hidden, *PROVED}]


def _over_these_inputs(
    manifest: Manifest,
    facts: Facts,
    faults: Counter[int],
    shares: dict[str, Floats],
    confidence: float,
) -> _Estimator:
    def estimate(outcome: str) -> Estimate:
        share = shares[outcome]
        high = np.where(facts.unknown, 1.0, share)
        coins = outcome in ("crash", "unknown")
        return estimate_mean(
            samples_of(manifest, faults, facts.stratum, share, high, coins=coins),
            confidence=confidence,
            about=f"these {manifest.data.inputs:,} inputs",
        )

    return estimate


def _shares(connection: DuckDBPyConnection, facts: Facts) -> dict[str, Floats]:
    """The share of the exposed inputs that had each outcome, per trial."""
    found = connection.execute(
        f"""
        SELECT trial, {_OUTCOME} AS outcome, count(*) AS inputs
        FROM outcomes JOIN trials USING (trial)
        WHERE status = 'done' GROUP BY ALL HAVING outcome IS NOT NULL
        """
    ).fetchnumpy()
    row = np.searchsorted(facts.trial, found["trial"])
    share = found["inputs"] / facts.exposed[row]
    names = np.asarray(found["outcome"])
    shares = {"crash": facts.crashed.astype(float), "unknown": facts.unknown * 1.0}
    for outcome in ("benign", "harmless", *_APART):
        same = names == outcome
        shares[outcome] = np.bincount(row[same], share[same], len(facts.trial))
    rest = np.clip(1 - sum(shares.values(), np.zeros(len(facts.trial))), 0.0, 1.0)
    shares["masked"] = np.where(facts.exact, rest, 0.0)
    shares["harmless"] = shares["harmless"] + np.where(facts.exact, 0.0, rest)
    # Rounding may bring a sum of shares above 1.
    shares[_TOGETHER] = np.minimum(sum(shares[name] for name in _APART), 1.0)
    return shares


def _over_inputs_like_these(
    connection: DuckDBPyConnection,
    manifest: Manifest,
    facts: Facts,
    faults: Counter[int],
    confidence: float,
) -> _Estimator:
    rows = np.arange(len(facts.trial))

    def estimate(outcome: str) -> Estimate:
        clusters = read_clusters(
            connection, manifest, facts, _counted(outcome), _full(facts, outcome)
        )
        if outcome == "unknown":
            clusters = dataclasses.replace(
                clusters, unknown=np.zeros(len(rows), np.bool_)
            )
        return clusters.estimator(confidence)(rows, faults)

    return estimate


def _counted(outcome: str) -> str:
    """SQL of how much a row counts; see `read_clusters`."""
    # What has no row is masked; in a trial that is not exact, harmless.
    if outcome == "masked":
        return f"CASE WHEN t.exact AND {_OUTCOME} IS NOT NULL THEN -1 ELSE 0 END"
    if outcome == "harmless":
        return f"""
            CASE WHEN t.exact THEN coalesce({_OUTCOME} = 'harmless', FALSE)::INT
                WHEN {_OUTCOME} <> 'harmless' THEN -1 ELSE 0 END
        """
    names = _APART if outcome == _TOGETHER else (outcome,)
    listed = ", ".join(f"'{name}'" for name in names)
    return f"coalesce({_OUTCOME} IN ({listed}), FALSE)::INT"


def _full(facts: Facts, outcome: str) -> Bools:
    """The trials of which all inputs have an outcome, but for rows that say other."""
    done = ~facts.crashed & ~facts.unknown
    return {
        "masked": done & facts.exact,
        "harmless": done & ~facts.exact,
        "crash": facts.crashed,
        "unknown": facts.unknown,
    }.get(outcome, np.zeros(len(done), np.bool_))
