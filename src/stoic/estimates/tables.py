"""Vulnerability tables: from a run to estimates, group by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from stoic.estimates.clusters import read_clusters
from stoic.estimates.draws import samples_of
from stoic.estimates.estimate import Estimate
from stoic.estimates.facts import Facts, Integers, judged, read_facts, read_places
from stoic.estimates.groups import groups
from stoic.estimates.mean import Interval, estimate_mean
from stoic.estimates.population import By, Key, coarse, group_sizes
from stoic.records import Manifest, Run

__all__ = ["About", "Row", "check_about", "pvf", "worst_sites"]

About: TypeAlias = Literal["inputs", "population"]
_Estimator: TypeAlias = Callable[[Integers, Counter[int]], Estimate]


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        key: What the line is about: a site, a site and a bit, an outcome, an input.
        estimate: The share of failed inputs, averaged over the faults of the line.
        faults: How many there are.
        trials: How many were tried.
    """

    key: Key
    estimate: Estimate
    faults: int
    trials: int

    @property
    def label(self) -> str:
        """The key as text."""
        return " / ".join(map(str, self.key))


def pvf(
    run: Run,
    by: By | tuple[By, ...] = "network",
    *,
    criterion: Mapping[str, Any] | None = None,
    about: About = "inputs",
    confidence: float = 0.95,
    interval: Interval = "guaranteed",
) -> tuple[Row, ...]:
    """Estimate the parameter vulnerability factor of groups of faults.

    It is the probability that a fault drawn uniformly from the group fails an input. A
    crash fails all inputs of its trial; an unknown trial widens the interval both ways.
    Each interval holds for its own group. Groups without trials have no row.

    Args:
        run: With one fault per trial, unless ``by`` is the network or the stratum.
        by: What the faults of a group have in common; channels come with their site.
        criterion: As manifests record it; nothing for the recorded one.
        about: ``inputs``: these inputs are fixed, the interval covers the drawing of
            faults. ``population``: the inputs are a sample, too; approximate.
        confidence: Of the interval; the limits at 0.90 are one-sided 95 % limits.
        interval: ``approximate`` is narrower; it needs many trials and some failures.

    Raises:
        ValueError: The run has no trials, the facts do not allow the criterion, or the
            trials do not allow the grouping.
    """
    check_about(about)
    manifest, names = run.manifest, _names(by)
    failed = judged(manifest, criterion)
    with run.connection() as connection:
        facts = read_facts(connection, failed)
        places = None if coarse(names) else read_places(connection)
        if about == "inputs":
            estimate = _over_these_inputs(manifest, facts, confidence, interval)
        else:
            counted = f"({failed})::INT"
            full = facts.crashed
            clusters = read_clusters(connection, manifest, facts, counted, full)
            estimate = clusters.estimator(confidence)
    sizes = group_sizes(manifest, names)
    rows = []
    for group in groups(manifest, names, facts, places):
        whole = zip(names, group.key, strict=True)
        faults = sizes[tuple(part for name, part in whole if name != "channel")]
        rows.append(
            Row(
                key=group.key,
                estimate=estimate(group.rows, faults),
                faults=faults.total(),
                trials=len(group.rows),
            )
        )
    return tuple(rows)


def check_about(about: str) -> None:
    """Refuse what an estimate cannot be about.

    Raises:
        ValueError: It is neither these inputs nor their population.
    """
    if about not in get_args(About):
        raise ValueError(f"about must be {' or '.join(get_args(About))}, got {about!r}")


def worst_sites(
    run: Run, n: int = 10, *, about: About = "inputs", confidence: float = 0.95
) -> tuple[Row, ...]:
    """Return the sites with the highest estimates, the highest first.

    The order is that of the estimates; intervals that overlap leave it open.
    """
    rows = pvf(run, "site", about=about, confidence=confidence)
    return tuple(sorted(rows, key=lambda row: -row.estimate.value)[:n])


def _names(by: By | tuple[By, ...]) -> tuple[By, ...]:
    names = by if isinstance(by, tuple) else (by,)
    if "channel" in names and "site" not in names:
        place = names.index("channel")
        return (*names[:place], "site", *names[place:])
    return names


def _over_these_inputs(
    manifest: Manifest, facts: Facts, confidence: float, interval: Interval
) -> _Estimator:
    coins = bool((facts.exposed == 1).all())
    about = f"these {manifest.data.inputs:,} inputs"

    def estimate(rows: Integers, faults: Counter[int]) -> Estimate:
        low, high = facts.low[rows], facts.high[rows]
        stratum = facts.stratum[rows]
        samples = samples_of(manifest, faults, stratum, low, high, coins=coins)
        return estimate_mean(
            samples, confidence=confidence, interval=interval, about=about
        )

    return estimate
