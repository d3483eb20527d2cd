"""Pipelines: from failures to clusters, in three stages that are plain values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stoic.causes.failures import Inquiry

__all__ = [
    "LEAST",
    "NOISE",
    "Clustering",
    "Clusters",
    "Extractor",
    "Features",
    "Pipeline",
    "Reduction",
    "Choosing",
]

Features: TypeAlias = NDArray[np.float32]
NOISE = -1
"""The cluster of what is in no cluster."""
LEAST = 5
"""A cluster of fewer images is noise."""


class Extractor(Hashable, Protocol):
    """Turns failures into features. A frozen value whose `repr` names all settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return features of shape (failures, features), all finite."""
        ...


class Reduction(Hashable, Protocol):
    """Makes features fewer. A frozen value whose `repr` names all settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, features: Features, seed: int) -> Features:
        """Return points of shape (failures, dimensions)."""
        ...


class Clustering(Protocol):
    """Finds points that lie together; a frozen value: `repr` names all settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the cluster of each point."""
        ...


@runtime_checkable
class Choosing(Clustering, Protocol):
    """A clustering that chooses one of several; calling it is to choose."""

    def candidates(self, points: Features, seed: int) -> list[Clusters]:
        """Return the clusters of every setting, to tell what choosing them costs."""
        ...

    def choose(self, candidates: Sequence[Clusters]) -> Clusters:
        """Return the candidate that is taken, without knowing any cause."""
        ...


@dataclass(frozen=True, eq=False)
class Clusters:
    """The cluster of each failure.

    Args:
        labels: 0, 1, ..., the largest cluster first, or ``NOISE``.
        chosen: Parameters that were chosen without labels, and what by: for the log.
    """

    labels: NDArray[np.int64]
    chosen: Mapping[str, float | str]

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        chosen: Mapping[str, float | str],
        *,
        least: int = LEAST,
    ) -> Clusters:
        """Return clusters by size; those of fewer than ``least`` images are noise."""
        names, places, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        counted = np.where((names == NOISE) | (counts < least), 0, counts)
        # Stable, so that clusters of one size stay in their order.
        order = np.argsort(-counted, kind="stable")
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        rank[counted == 0] = NOISE
        return cls(rank[places.reshape(-1)], dict(chosen))

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.labels.max(initial=NOISE)) + 1

    def members(self, cluster: int) -> NDArray[np.int64]:
        """Return the places of the failures of one cluster."""
        return np.flatnonzero(self.labels == cluster)


@dataclass(frozen=True)
class Pipeline:
    """One way from failures to clusters."""

    extractor: Extractor
    reduction: Reduction
    clustering: Clustering

    @property
    def name(self) -> str:
        """The names of its stages."""
        stages = (self.extractor, self.reduction, self.clustering)
        return " + ".join(stage.name for stage in stages)

    def __call__(self, inquiry: Inquiry, seed: int) -> Clusters:
        """Run all stages, nothing kept."""
        points = self.reduction(self.extractor(inquiry, seed), seed)
        return self.clustering(points, seed)
