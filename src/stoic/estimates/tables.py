"""Vulnerability tables: from a run to estimates, group by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from stoic.estimates.clusters import read_clusters
from stoic.estimates.draws import samples_of
from stoic.estimates.estimate import Estimate
from stoic.estimates.facts import Facts, Integers, judged, read_facts, read_places
from stoic.estimates.groups import groups
from stoic.estimates.mean import Interval, estimate_mean
from stoic.estimates.population import By, Key, coarse, group_sizes
from stoic.estimates.searched import is_searched, read_searched
from stoic.records import Manifest, Run

__all__ = ["About", "Row", "check_about", "pvf", "worst_first", "worst_sites"]

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
    interval: Interval | None = None,
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
            The plan's own by default, ``guaranteed`` where it has none.

    Raises:
        ValueError: The run has no trials, the facts do not allow the criterion, or the
            trials do not allow the grouping.
    """
    check_about(about, run.manifest)
    manifest, names = run.manifest, _names(by)
    failed = judged(manifest, criterion)
    if is_searched(manifest):
        return _searched(run, names, failed, confidence, interval)
    with run.connection() as connection:
        facts = read_facts(connection, failed)
        places = None if coarse(names) else read_places(connection)
        if about == "inputs":
            estimate = _over_these_inputs(
                manifest, facts, confidence, interval or "guaranteed"
            )
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
        estimated = estimate(group.rows, faults)
        rows.append(Row(group.key, estimated, faults.total(), len(group.rows)))
    return tuple(rows)


def _searched(
    run: Run,
    names: tuple[By, ...],
    failed: str,
    confidence: float,
    interval: Interval | None,
) -> tuple[Row, ...]:
    """The same of a run on units."""
    own = "guaranteed" if run.manifest.plan["guaranteed"] else "approximate"
    guaranteed = (interval or own) == "guaranteed"
    with run.connection() as connection:
        searched = read_searched(connection, run.manifest, failed)
    low, high = searched.facts.low, searched.facts.high
    rows = []
    for key, group in searched.groups(names):
        if names == ("network",) and failed == "o.failed":
            estimate = searched.whole(confidence, guaranteed=guaranteed)
        else:
            estimate = searched.estimate(
                group, low, high, confidence, guaranteed=guaranteed
            )
        faults, trials = searched.faults(group), searched.trials(group)
        rows.append(Row(key, estimate, faults, trials))
    return tuple(rows)


def check_about(about: str, manifest: Manifest | None = None) -> None:
    """Refuse what an estimate, or one of a run, cannot be about.

    Raises:
        ValueError: It is neither these inputs nor their population, or the run cannot
            speak for the latter.
    """
    if about not in get_args(About):
        raise ValueError(f"about must be {' or '.join(get_args(About))}, got {about!r}")
    if about == "population" and manifest is not None and is_searched(manifest):
        raise ValueError(
            "about must be inputs where each trial runs on a few of them, got "
            "population; give only a number of faults for that"
        )


def worst_sites(
    run: Run, n: int = 10, *, about: About = "inputs", confidence: float = 0.95
) -> tuple[Row, ...]:
    """Return the sites with the highest estimates, the highest first.

    The order is that of the estimates; intervals that overlap leave it open.
    """
    rows = pvf(run, "site", about=about, confidence=confidence)
    return tuple(worst_first(rows)[:n])


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of their estimates, the highest first.

    One without trials stands where what is proved of it puts it: its value is no more
    than the middle of what is possible.
    """

    def worth(row: Row) -> float:
        return row.estimate.value if row.trials else row.estimate.low

    return sorted(rows, key=worth, reverse=True)


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
