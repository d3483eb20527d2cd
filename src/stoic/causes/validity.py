"""Validity: how good clusters are by their points alone, without any known cause.

References:
    Rousseeuw, "Silhouettes", 1987. Moulavi, Jaskowiak, Campello, Zimek and Sander,
    "Density-based clustering validation", 2014. Fahmy, Pastore, Bagherzadeh and
    Briand, "Supporting DNN safety analysis and retraining through heatmap-based
    unsupervised learning" (HUDD), 2021, for the weighted intra-cluster distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances, silhouette_samples

from stoic.causes.pipeline import NOISE, Features

__all__ = ["WORST", "dbcv", "distances", "silhouette", "wicd"]

WORST = -1.0
"""What silhouette and DBCV say where there are fewer than two clusters."""

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


def distances(points: Features) -> Matrix:
    """Return the Euclidean distance between any two points."""
    return np.asarray(pairwise_distances(points.astype(np.float64)))


def silhouette(apart: Matrix, labels: Labels) -> float:
    """Return the mean silhouette of all points, where noise counts as 0.

    So noise never pays: a method that keeps only its cores gets only their share.

    Args:
        apart: The distance between any two points.
        labels: The cluster of each, or ``NOISE``.
    """
    kept = np.flatnonzero(labels != NOISE)
    count = len(np.unique(labels[kept]))
    if not 2 <= count < len(kept):
        return WORST
    inside = apart[np.ix_(kept, kept)]
    each = silhouette_samples(inside, labels[kept], metric="precomputed")
    return float(each.sum() / len(labels))


def wicd(apart: Matrix, labels: Labels) -> float:
    """Return HUDD's weighted intra-cluster distance; less is better.

    Args:
        apart: The distance between any two points.
        labels: The cluster of each; noise is left out.
    """
    names = np.unique(labels[labels != NOISE])
    total = 0.0
    for name in names:
        own = np.flatnonzero(labels == name)
        pairs = len(own) * (len(own) - 1)
        # The matrix has each pair twice, and zeros between a point and itself.
        mean = apart[np.ix_(own, own)].sum() / pairs if pairs else 0.0
        total += len(own) / len(labels) * mean
    return float(total / max(len(names), 1))


def dbcv(apart: Matrix, labels: Labels, dimensions: int) -> float:
    """Return the density-based validity of clusters, from -1 to 1.

    Each cluster is as good as its sparsest inner place is dense beside the densest
    place between it and another one; noise counts as 0. Many edges of a tree are
    equally long, and the paper does not say which to take: nearer points come first.

    Args:
        apart: The distance between any two points.
        labels: The cluster of each, or ``NOISE``.
        dimensions: Of the points.
    """
    names = np.unique(labels[labels != NOISE])
    if len(names) < 2:
        return WORST
    parts = [np.flatnonzero(labels == name) for name in names]
    core = np.zeros(len(labels))
    sparse, inner = [], []
    for own in parts:
        inside = apart[np.ix_(own, own)]
        core[own] = _cores(inside, dimensions)
        reach = _reachable(inside, core[own], core[own])
        widest, nodes = _sparseness(reach, inside)
        sparse.append(widest)
        inner.append(own[nodes])
    between = _separation(apart, core, inner)
    within = np.array(sparse)
    larger = np.maximum(between, within)
    each = np.divide(
        between - within, larger, out=np.zeros_like(within), where=larger > 0
    )
    sizes = np.array([len(own) for own in parts])
    return float((sizes * each).sum() / len(labels))


def _separation(apart: Matrix, core: Matrix, inner: list[Labels]) -> Matrix:
    """Return how far each cluster is from the nearest other, by density."""
    nodes = np.concatenate(inner)
    starts = np.cumsum([0, *(len(own) for own in inner[:-1])])
    reach = _reachable(apart[np.ix_(nodes, nodes)], core[nodes], core[nodes])
    least = np.minimum.reduceat(np.minimum.reduceat(reach, starts, 0), starts, 1)
    np.fill_diagonal(least, np.inf)
    return np.asarray(least.min(1))


def _cores(inside: Matrix, dimensions: int) -> Matrix:
    """Return the core distance of each point to all others of its cluster.

    A power of 1 / distance with hundreds of dimensions overflows: hence logarithms.
    """
    others = len(inside) - 1
    if others == 0:
        return np.zeros(1)
    with np.errstate(divide="ignore"):
        logs = np.log(inside)
    np.fill_diagonal(logs, np.inf)
    nearest = logs.min(1)
    apart = np.isfinite(nearest)
    far = np.exp(-dimensions * (logs[apart] - nearest[apart, None]))
    core = np.zeros(len(inside))
    mean = np.log(far.sum(1) / others)
    core[apart] = np.exp(nearest[apart] - mean / dimensions)
    return core


def _reachable(apart: Matrix, one: Matrix, two: Matrix) -> Matrix:
    return np.maximum(apart, np.maximum(one[:, None], two[None, :]))


def _sparseness(reach: Matrix, apart: Matrix) -> tuple[float, Labels]:
    """Return the longest inner edge of the least spanning tree, and its inner nodes.

    A tree without inner edges, of at most three points or a star, has all of its own.
    """
    ends, lengths = _tree(reach, apart)
    degree = np.bincount(ends.reshape(-1), minlength=len(reach))
    inside = (degree[ends] > 1).all(1)
    if not inside.any():
        return float(lengths.max(initial=0.0)), np.arange(len(reach))
    return float(lengths[inside].max()), np.flatnonzero(degree > 1)


def _tree(reach: Matrix, apart: Matrix) -> tuple[Labels, Matrix]:
    """Return ends and lengths of the edges of the least spanning tree (Prim).

    SciPy's takes a distance of 0 for no edge, and equal images are 0 apart.
    """
    count = len(reach)
    # What is in the tree is infinitely far from it.
    length, near = reach[0].copy(), apart[0].copy()
    origin, inside = np.zeros(count, np.int64), np.zeros(count, bool)
    ends, lengths = np.empty((count - 1, 2), np.int64), np.empty(count - 1)
    new = 0
    for step in range(count - 1):
        inside[new] = True
        length[new] = np.inf
        tied = np.flatnonzero(length == length.min())
        new = int(tied[near[tied].argmin()])
        ends[step], lengths[step] = (origin[new], new), length[new]
        closer = reach[new] < length
        closer |= (reach[new] == length) & (apart[new] < near)
        closer &= ~inside
        length[closer], near[closer] = reach[new][closer], apart[new][closer]
        origin[closer] = new
    return ends, lengths
