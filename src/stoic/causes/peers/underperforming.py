"""The group of similar images that the network is worst at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from stoic.causes.peers.evidence import Evidence, clusters_of
from stoic.causes.pipeline import LEAST, NOISE, Clusters, Features

__all__ = ["Underperforming", "group_scores", "groups_of"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PLAIN_DIMENSIONS = 3
"""More dimensions are compared by their angle, as Datalab does."""


@dataclass(frozen=True)
class Underperforming:
    """The underperforming group of Datalab, in its default settings.

    Images are clustered by DBSCAN on a graph of near neighbours. A group's score is its
    mean probability of the right class, divided by that of all clustered images.

    Args:
        neighbours: Of each image in the graph.
        radius: Of DBSCAN.
        threshold: A group scores below this to count.
        worst_only: Only the group with the lowest score; else all that count.

    References:
        Datalab, issue type "underperforming_group", in the documentation of cleanlab.
    """

    neighbours: int = 10
    radius: float = 0.5
    threshold: float = 0.1
    worst_only: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return "underperforming group"

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the failures of the groups that count; nothing is random."""
        groups = groups_of(evidence.features, self.neighbours, self.radius)
        scores = group_scores(groups, evidence.quality)
        low = {name: own for name, own in scores.items() if own < self.threshold}
        if self.worst_only and low:
            low = dict([min(low.items(), key=lambda item: item[1])])
        kept = np.where(np.isin(groups, list(low)), groups, NOISE)
        lowest = min(scores.values(), default=1.0)
        return clusters_of(
            kept, evidence, {"groups": float(len(scores)), "lowest": lowest}
        )


def groups_of(features: Features, neighbours: int, radius: float) -> Integers:
    """Return the cluster of each image, from the distances to its nearest ones."""
    wide = features.shape[1] > PLAIN_DIMENSIONS
    near = NearestNeighbors(
        n_neighbors=min(neighbours, len(features) - 1),
        metric="cosine" if wide else "euclidean",
    ).fit(features)
    graph = near.kneighbors_graph(mode="distance")
    found = DBSCAN(eps=radius, metric="precomputed").fit_predict(graph)
    return np.asarray(found, np.int64)


def group_scores(groups: Integers, quality: Floats) -> dict[int, float]:
    """Return the mean quality of each large enough group, as a share of that of all.

    All are the images of these groups: noise and small groups do not count.
    """
    names, counts = np.unique(groups[groups >= 0], return_counts=True)
    names = names[counts >= LEAST]
    overall = quality[np.isin(groups, names)].mean() if len(names) else 1.0
    return {
        int(name): float(quality[groups == name].mean() / overall) for name in names
    }
