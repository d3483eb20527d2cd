"""Estimates about the population that the inputs come from: two-way variance.

Trials share inputs and inputs share trials, so that neither is a sample of independent
units. The variance is that of faults, plus that of clusters of inputs, less what both
count twice.

References:
    Cameron, Gelbach and Miller, Robust inference with multiway clustering, 2011.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stoic.estimates.design import student
from stoic.estimates.estimate import Estimate
from stoic.estimates.facts import Bools, Facts, Integers
from stoic.estimates.population import stratified
from stoic.estimates.sample import Floats
from stoic.records import Manifest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["FEWEST", "Clusters", "check_population", "read_clusters"]

FEWEST = 30


@dataclass(frozen=True)
class Clusters:
    """Which share of its inputs counts in every trial, by cluster of inputs.

    What counts are failures, or the inputs with one outcome.

    Args:
        weight: Share of the inputs that each cluster has.
        own: Cluster of the only input that a trial exposed; -1 where it exposed all.
        full: Trials of which all inputs that they exposed count.
        unknown: Trials of which the outcome is unknown.
        row: Index of the trial, for every trial and cluster with inputs that count,
            or that do not in a full trial; ascending.
        column: Index of the cluster.
        share: Of the exposed inputs, those of the cluster that count; in a full trial,
            those that do not, below 0.
        again: Whether a fault may have been drawn again.
    """

    weight: Floats
    own: Integers
    full: Bools
    unknown: Bools
    row: Integers
    column: Integers
    share: Floats
    again: bool = False

    def __post_init__(self) -> None:
        _check_many(len(self.weight))

    def estimator(self, confidence: float) -> Callable[..., Estimate]:
        """Return a function that estimates the mean of some trials.

        Approximate: it needs many faults and many clusters, none of them dominant.
        """
        about = f"inputs like these, of {len(self.weight):,} clusters"

        def estimate(rows: Integers, faults: Counter[int]) -> Estimate:
            drawn = 0.0 if self.again else len(rows) / faults.total()
            group = self._of(rows)
            most = group.full | group.unknown
            low, below = group._mean(group.full, drawn, confidence)
            high, above = group._mean(most, drawn, confidence)
            known = group._of(np.flatnonzero(~group.unknown))
            value = 0.5
            if known.own.size:
                value, _ = known._mean(known.full, drawn, confidence)
            return Estimate(
                value=value,
                low=max(0.0, min(low - below, value)),
                high=min(1.0, max(high + above, value)),
                n=len(rows),
                confidence=confidence,
                kind="approximate",
                about=about,
            )

        return estimate

    def _of(self, trials: Integers) -> Clusters:
        """Return the same of some trials, in their order."""
        first = np.searchsorted(self.row, trials)
        counts = np.searchsorted(self.row, trials, side="right") - first
        ends = np.cumsum(counts)
        cells = np.arange(counts.sum()) + np.repeat(first + counts - ends, counts)
        return replace(
            self,
            own=self.own[trials],
            full=self.full[trials],
            unknown=self.unknown[trials],
            row=np.repeat(np.arange(len(trials)), counts),
            column=self.column[cells],
            share=self.share[cells],
        )

    def _mean(
        self, full: Bools, drawn: float, confidence: float
    ) -> tuple[float, float]:
        """The mean share over all trials, and half of the width of its interval."""
        n, many = len(self.own), len(self.weight)
        reached = self._reached(np.ones(n, np.bool_))
        by_trial = np.bincount(self.row, self.share, n) + full
        by_cluster = np.bincount(self.column, self.share, many) + self._reached(full)
        mean = min(max(float(by_trial.sum()) / n, 0.0), 1.0)
        if not 1e-12 < mean < 1 - 1e-12:
            # Fault 1 with cluster 1, 2 with 2, ...: so many pairs are independent.
            pairs = min(n, many)
            return mean, 1 - ((1 - confidence) / 2) ** (1 / pairs)
        faults = float(((by_trial - mean) ** 2).sum()) * (1 - drawn)
        clusters = float(((by_cluster - mean * reached) ** 2).sum())
        both = self._both(full, mean) * (1 - drawn)
        # Never less than one way alone, which rounding and luck could bring about.
        variance = max(faults, clusters, faults + clusters - both) / n**2
        few = min(n, many) if drawn < 1 else many
        variance *= few / max(few - 1, 1)
        return mean, student(confidence, max(few - 1, 1)) * math.sqrt(variance)

    def _reached(self, chosen: Bools) -> Floats:
        """How many trials reached each cluster, counting shares of inputs."""
        own = self.own[chosen & (self.own >= 0)]
        everywhere = int((chosen & (self.own < 0)).sum())
        return everywhere * self.weight + np.bincount(own, minlength=len(self.weight))

    def _both(self, full: Bools, mean: float) -> float:
        """The sum over trials and clusters of the squared deviations."""
        weight = np.where(self.own[self.row] >= 0, 1.0, self.weight[self.column])
        square = np.where(self.own >= 0, 1.0, float((self.weight**2).sum()))
        cross = 2 * (full[self.row] - mean) * self.share * weight
        counted = float((self.share**2 + cross).sum())
        whole = float(square[full].sum()) * (1 - 2 * mean)
        return counted + whole + mean**2 * float(square.sum())


def check_population(manifest: Manifest, clusters: int) -> None:
    """Refuse a campaign that cannot speak for a population, before or after it ran.

    Raises:
        ValueError: Too few clusters, or strata.
    """
    _check_many(clusters)
    if stratified(manifest):
        raise ValueError(
            "a population must be judged by uniform or by all trials, "
            f"got strata, {len(manifest.strata)} of them; "
            "speak about these inputs only"
        )


def _check_many(clusters: int) -> None:
    if clusters < FEWEST:
        raise ValueError(
            f"inputs must be of at least {FEWEST} clusters to speak for a "
            f"population, got {clusters}; speak about these inputs only"
        )


def read_clusters(
    connection: DuckDBPyConnection,
    manifest: Manifest,
    facts: Facts,
    counted: str,
    full: Bools,
) -> Clusters:
    """Return what counts in the trials of a run, by cluster.

    Args:
        connection: To the run.
        manifest: Of the run.
        facts: About its trials.
        counted: SQL of how much an outcome ``o`` counts, beside its golden ``g`` and
            its trial ``t``: 1 or 0; in a full trial 0 or -1.
        full: Trials of which all exposed inputs count but for that.

    Raises:
        ValueError: Too few clusters, or trials that are no uniform sample.
    """
    golden = connection.execute(
        "SELECT cluster, count(*) AS inputs FROM golden GROUP BY 1 ORDER BY 1"
    ).fetchnumpy()
    check_population(manifest, len(golden["cluster"]))
    if manifest.plan["name"] == "exhaustive" and len(facts.trial) < manifest.space.size:
        raise ValueError(
            "a population must be judged by uniform or by all trials, got the first "
            f"{len(facts.trial):,} of an exhaustive plan; go on with it, or speak "
            "about these inputs only"
        )
    counts = connection.execute(
        f"""
        SELECT trial, cluster, sum({counted}) AS counted
        FROM outcomes o JOIN golden g USING (input)
        JOIN trials t USING (trial)
        WHERE t.status = 'done' GROUP BY ALL HAVING counted <> 0 ORDER BY ALL
        """
    ).fetchnumpy()
    targets = connection.execute(
        """
        SELECT trial, any_value(cluster) AS cluster FROM trials t
        JOIN faults f USING (trial) JOIN golden g ON f.input = g.input
        WHERE t.exposed = 1 GROUP BY trial
        """
    ).fetchnumpy()
    row = np.searchsorted(facts.trial, counts["trial"])
    own = np.full(len(facts.trial), -1)
    own[np.searchsorted(facts.trial, targets["trial"])] = np.searchsorted(
        golden["cluster"], targets["cluster"]
    )
    return Clusters(
        weight=golden["inputs"] / golden["inputs"].sum(),
        own=own,
        full=full,
        unknown=facts.unknown,
        row=row,
        column=np.searchsorted(golden["cluster"], counts["cluster"]),
        share=counts["counted"].astype(float) / facts.exposed[row],
        again=bool(manifest.plan.get("replacement")),
    )
