"""K-means: every failure belongs to the nearest of K centres.

References:
    Lloyd, 1982; Arthur and Vassilvitskii, "k-means++", 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sklearn.cluster import KMeans as Lloyd

from stoic.causes.clusterings.choice import NEARLY, Space, finest
from stoic.causes.knee import knee
from stoic.causes.pipeline import LEAST, Clusters, Features

__all__ = ["KMeans"]


@dataclass(frozen=True)
class KMeans:
    """K-means, with K chosen among many.

    Args:
        fewest: The smallest K.
        most: The largest; never more than leave five failures to each cluster.
        by: ``silhouette`` for the largest K that is nearly the best, or ``knee`` for
            the knee of the inertia, as in the paper. DBCV has no say: it
            wants clusters that end where points are sparse; these end half way.
        nearly: The share of the best silhouette that suffices.
        tries: Starts for each K, of which the best is kept.
    """

    fewest: int = 5
    most: int = 35
    by: Literal["silhouette", "knee"] = "silhouette"
    nearly: float = NEARLY
    tries: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.fewest <= self.most:
            raise ValueError(
                f"fewest must be in 2..{self.most} (most), got {self.fewest}"
            )

    @property
    def name(self) -> str:
        """What tables call it."""
        return "K-means"

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the chosen clusters."""
        return self.choose(self.candidates(points, seed))

    def candidates(self, points: Features, seed: int) -> list[Clusters]:
        """Return the clusters of every K."""
        space = Space.of(points)
        distinct = len(np.unique(points, axis=0))
        most = max(2, min(self.most, len(points) // LEAST, distinct))
        return [
            self._clusters(space, count, seed)
            for count in range(min(self.fewest, most), most + 1)
        ]

    def choose(self, candidates: Sequence[Clusters]) -> Clusters:
        """Return the candidate that is taken, without knowing any cause."""
        if self.by == "silhouette":
            return finest(candidates, self.nearly, "silhouette")
        counts, inertia = (
            np.array([float(each.chosen[name]) for each in candidates])
            for name in ("k", "inertia")
        )
        bend = knee(counts, inertia)
        picked = candidates[bend.place]
        return replace(picked, chosen={**picked.chosen, "by": f"inertia, {bend.by}"})

    def _clusters(self, space: Space, count: int, seed: int) -> Clusters:
        model = Lloyd(count, n_init=self.tries, random_state=seed).fit(space.points)
        parameters = {"k": count, "inertia": float(model.inertia_)}
        return space.judged(model.labels_.astype(np.int64), parameters)
