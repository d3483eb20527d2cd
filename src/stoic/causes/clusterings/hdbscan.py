"""HDBSCAN: DBSCAN at every radius at once; what lasts longest is a cluster.

References:
    Campello, Moulavi and Sander, 2013; Malzer and Baum, 2020, for its leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import HDBSCAN

from stoic.causes.clusterings.choice import NEARLY, Space, finest
from stoic.causes.pipeline import LEAST, Clusters, Features

__all__ = ["Hdbscan"]


@dataclass(frozen=True)
class Hdbscan:
    """HDBSCAN, with the least size of a cluster chosen among several.

    Args:
        sizes: The least sizes.
        samples: How many neighbours make a place dense; a smaller number makes less
            noise.
        nearly: The share of the best validity that suffices; 1 takes the best.
    """

    sizes: tuple[int, ...] = (5, 8, 12, 20, 30)
    samples: tuple[int, ...] = (2, 5)
    nearly: float = NEARLY

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < LEAST:
            raise ValueError(f"sizes must each be at least {LEAST}, got {self.sizes}")
        if not self.samples or min(self.samples) < 1:
            raise ValueError(f"samples must each be at least 1, got {self.samples}")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "HDBSCAN"

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the chosen clusters; they need no seed."""
        return self.choose(self.candidates(points, seed))

    def candidates(self, points: Features, seed: int) -> list[Clusters]:
        """Return the clusters of every size and number of samples."""
        space = Space.of(points)
        most = len(space) // 2
        grid = [
            (size, samples)
            for size in self.sizes
            for samples in self.samples
            if max(size, samples) <= most
        ]
        return [self._clusters(space, *each) for each in grid or [(LEAST, LEAST)]]

    def choose(self, candidates: Sequence[Clusters]) -> Clusters:
        """Return the candidate that is taken, without knowing any cause."""
        return finest(candidates, self.nearly)

    def _clusters(self, space: Space, size: int, samples: int) -> Clusters:
        model = HDBSCAN(
            min_cluster_size=size,
            min_samples=samples,
            metric="precomputed",
            copy=True,
        )
        labels = model.fit(space.apart).labels_.astype(np.int64)
        return space.judged(labels, {"min_cluster_size": size, "min_samples": samples})
