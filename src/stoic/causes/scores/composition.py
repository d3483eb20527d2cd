"""What each cluster is made of: how many failures of each scenario."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.scores.truth import Truth

__all__ = ["Composition", "Owner"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Owner:
    """What the clusters show of one scenario.

    Args:
        scenario: Its name.
        failures: How many failures are of it.
        clusters: How many clusters are of it: its share in each is at least a
            threshold.
        purest: Its largest share of any cluster; 0 if it is in none.
    """

    scenario: str
    failures: int
    clusters: int
    purest: float


@dataclass(frozen=True, eq=False)
class Composition:
    """Clusters against scenarios, counted.

    A cluster of unknown causes only is left out.

    Args:
        counts: Failures of each scenario in each cluster, (clusters, scenarios).
        known: Failures of known cause in each cluster.
        unlabelled: How many clusters hold no failure of known cause.
    """

    counts: Integers
    known: Integers
    unlabelled: int

    @classmethod
    def of(cls, clusters: Clusters, truth: Truth) -> Composition:
        """Count the failures of each scenario in each cluster."""
        if len(clusters.labels) != len(truth):
            raise ValueError(
                f"scenarios must have one row for each of the {len(clusters.labels)} "
                f"clustered failures, got {len(truth)}"
            )
        inside = (clusters.labels != NOISE) & truth.known
        labels = clusters.labels[inside]
        known = np.bincount(labels, minlength=clusters.count)
        counts = np.zeros((clusters.count, len(truth.names)), np.int64)
        np.add.at(counts, labels, truth.holds[inside].astype(np.int64))
        some = known > 0
        return cls(counts[some], known[some], int((~some).sum()))

    @cached_property
    def shares(self) -> Floats:
        """The share of each scenario in each cluster, among known causes."""
        return np.asarray(self.counts / self.known[:, None])

    @property
    def purities(self) -> Floats:
        """The largest share of one scenario in each cluster."""
        return np.asarray(self.shares.max(axis=1, initial=0.0))

    def owned(self, threshold: float) -> Integers:
        """Return how many clusters each scenario has at least such a share of."""
        return np.asarray((self.shares >= threshold).sum(axis=0))

    def owners(self, truth: Truth, threshold: float) -> tuple[Owner, ...]:
        """Return what the clusters show of each scenario."""
        purest = self.shares.max(axis=0, initial=0.0)
        columns = zip(
            truth.names,
            truth.holds.sum(axis=0).tolist(),
            self.owned(threshold).tolist(),
            purest.tolist(),
            strict=True,
        )
        return tuple(Owner(*column) for column in columns)
