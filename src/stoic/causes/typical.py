"""Which images of a cluster to look at: the most typical, and those at its border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import Clusters, Features

__all__ = ["Looks", "looks"]


@dataclass(frozen=True, eq=False)
class Looks:
    """The places of images of one cluster, by how typical they are.

    Args:
        typical: Nearest to the middle of the cluster, the nearest first.
        borderline: Nearest to another cluster or to noise, compared with their own.
    """

    typical: NDArray[np.int64]
    borderline: NDArray[np.int64]


def looks(
    clusters: Clusters, points: Features, *, typical: int = 8, borderline: int = 4
) -> tuple[Looks, ...]:
    """Return what to look at of every cluster.

    The middle is the image whose mean distance to the others is the least: where a
    cluster is bent, its mean may lie outside. An image is borderline by the ratio of
    its mean distance to its own cluster to that of its nearest image outside.

    Args:
        clusters: Of the failures.
        points: That they were found among.
        typical: Images of each, if it has so many.
        borderline: Likewise; none is shown twice.
    """
    return tuple(
        _looks(clusters.members(cluster), points, typical, borderline)
        for cluster in range(clusters.count)
    )


def _looks(
    own: NDArray[np.int64], points: Features, typical: int, borderline: int
) -> Looks:
    inside = _apart(points[own], points[own])
    middle = inside[inside.mean(1).argmin()].argsort(kind="stable")
    others = np.setdiff1d(np.arange(len(points)), own)
    if not len(others):
        return Looks(own[middle[:typical]], own[middle[::-1][:0]])
    nearest = _apart(points[own], points[others]).min(1)
    # A tiny distance outside is as borderline as it gets, and no division by zero.
    with np.errstate(over="ignore"):
        strange = inside.mean(1) / np.maximum(nearest, np.finfo(np.float64).tiny)
    edge = (-strange).argsort(kind="stable")
    edge = edge[~np.isin(edge, middle[:typical])]
    return Looks(own[middle[:typical]], own[edge[:borderline]])


def _apart(first: Features, second: Features) -> NDArray[np.float64]:
    """Return distances of all pairs."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(first, second))
