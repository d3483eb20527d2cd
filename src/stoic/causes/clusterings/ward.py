"""Ward: clusters are joined two by two, as HUDD does it.

A failure is described by its distances to all failures. The number of clusters is where
the weighted intra-cluster distance stops to fall steeply: at the knee of its slope.

References:
    Fahmy, Pastore, Bagherzadeh and Briand, "Supporting DNN safety analysis and
    retraining through heatmap-based unsupervised learning" (HUDD), 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from stoic.causes.clusterings.choice import Space
from stoic.causes.knee import knee
from stoic.causes.pipeline import LEAST, Clusters, Features
from stoic.causes.validity import wicd

__all__ = ["Ward", "slope"]

_MIDDLE = np.array([1, -8, 0, 8, -1]) / 12
_END = np.array([-25, 48, -36, 16, -3]) / 12


@dataclass(frozen=True)
class Ward:
    """Hierarchical clustering on rows of the distance matrix.

    Args:
        most: The largest number of clusters; never more than leave five failures each.
    """

    most: int = 35

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ValueError(f"most must be at least 2, got {self.most}")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "Ward"

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the chosen clusters; they need no seed."""
        return self.choose(self.candidates(points, seed))

    def candidates(self, points: Features, seed: int) -> list[Clusters]:
        """Return the clusters of every number from 2."""
        space = Space.of(points)
        rows = space.apart / space.apart.max(1, keepdims=True)
        # SciPy would suspect rows alone of being distances themselves.
        tree = linkage(pdist(rows), "ward")
        most = max(2, min(self.most, len(space) // LEAST))
        return [self._clusters(space, tree, count) for count in range(2, most + 1)]

    def choose(self, candidates: Sequence[Clusters]) -> Clusters:
        """Return the candidate at the knee of the slope, without knowing any cause."""
        counts = np.array([float(each.chosen["k"]) for each in candidates])
        inside = np.array([float(each.chosen["wicd"]) for each in candidates])
        bend = knee(counts, slope(inside), above=True)
        picked = candidates[bend.place]
        return replace(picked, chosen={**picked.chosen, "by": f"WICD, {bend.by}"})

    def _clusters(
        self, space: Space, tree: NDArray[np.float64], count: int
    ) -> Clusters:
        labels = fcluster(tree, count, "maxclust").astype(np.int64)
        # HUDD knows no noise: its criterion is of all clusters, also small ones.
        known = {"k": count, "wicd": wicd(space.apart, labels)}
        return space.judged(labels, known)


def slope(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivative by finite differences of fourth order, steps being 1.

    A curve of fewer than six numbers gets differences of second order.
    """
    if len(curve) < 6:
        return np.gradient(curve) if len(curve) > 1 else np.zeros(len(curve))
    first = [float(_END @ curve[place : place + 5]) for place in (0, 1)]
    last = [float(-_END @ curve[::-1][place : place + 5]) for place in (1, 0)]
    return np.array([*first, *np.correlate(curve, _MIDDLE, "valid"), *last])
