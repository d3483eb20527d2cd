"""Orders in which to look at failures, so that every scenario is seen soon.

None of them knows a scenario: an order is announced before anybody has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from stoic.causes.pipeline import NOISE, Clusters, Features
from stoic.causes.validity import distances

__all__ = [
    "AtRandom",
    "FarthestFirst",
    "Novelty",
    "Order",
    "RoundRobin",
    "Turns",
    "typical",
]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Order(Protocol):
    """An order of looking. A frozen value whose `repr` names all settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the place of each failure, each once, in the order of looking.

        Args:
            clusters: Of the failures.
            points: Of each failure, in a space where distances mean something. Those
                of UMAP do not: they hide how dense a place is. Features or their
                principal components do better.
            seed: Of what is random.
        """
        ...


@dataclass(frozen=True)
class AtRandom:
    """Random order: what any other is measured against."""

    @property
    def name(self) -> str:
        """What tables call it."""
        return "random"

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the failures at random."""
        return np.random.default_rng(seed).permutation(len(points))


@dataclass(frozen=True)
class RoundRobin:
    """The most typical images of each cluster in turn, then noise, then the rest.

    Args:
        each: How many of each cluster, one a round.
    """

    each: int = 3

    @property
    def name(self) -> str:
        """What tables call it."""
        return "round robin"

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the failures, noise and the rest at random."""
        rng = np.random.default_rng(seed)
        members = [
            typical(points, clusters.members(own)) for own in range(clusters.count)
        ]
        first = [
            int(own[turn])
            for turn in range(self.each)
            for own in members
            if turn < len(own)
        ]
        noise = rng.permutation(clusters.members(NOISE))
        rest = np.setdiff1d(np.arange(len(points)), [*first, *noise.tolist()])
        return np.array([*first, *noise, *rng.permutation(rest)], np.int64)


@dataclass(frozen=True)
class Novelty:
    """The most typical image of a new cluster, and the most novel image, in turn.

    Novel is what lies far from all that has been seen, and among its like: an image's
    distance to the nearest one seen, divided by the square root of its distance to its
    own neighbours. So a few images of one rare scenario, which are often merged into a
    large cluster or left as noise, come before single odd ones. The next cluster is the
    one whose typical image lies farthest from all that has been seen. Nothing is
    random.

    Args:
        neighbours: The distance to this one tells how lonely an image is; at most as
            many as the images of a rare scenario.
    """

    neighbours: int = 5

    @property
    def name(self) -> str:
        """What tables call it."""
        return "novelty"

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the failures, those that tell most first."""
        looked = _Looked(points.astype(np.float64), self.neighbours)
        fronts = [
            int(typical(points, clusters.members(own))[0])
            for own in range(clusters.count)
        ]
        turn = 0
        while len(looked.order) < len(points):
            fronts = [front for front in fronts if not looked.seen[front]]
            if fronts and turn % 2 == 0:
                looked.take(fronts[int(np.argmax(looked.far[fronts]))])
            else:
                looked.take(looked.most_novel())
            turn += 1
        return np.array(looked.order, np.int64)


@dataclass(frozen=True)
class FarthestFirst:
    """The most typical image, and then always the one farthest from all seen so far.

    It asks no clusters. After so many images nothing lies farther from them than the
    next one, and no other choice of as many leaves less than half of that: so what
    is unlike all else is seen early, a rare scenario or a single odd image.

    References:
        Gonzalez: Clustering to minimize the maximum intercluster distance. Theor.
        Comput. Sci. 38, 1985.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        return "farthest first"

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the failures, the most typical first; nothing is random."""
        apart = distances(points)
        far = np.full(len(points), np.inf)
        order = [int(typical(points, np.arange(len(points)))[0])]
        while len(order) < len(points):
            far = np.minimum(far, apart[order[-1]])
            # So that copies of what has been seen come before what has been seen.
            far[order[-1]] = -1.0
            order.append(int(far.argmax()))
        return np.array(order, np.int64)


@dataclass(frozen=True)
class Turns:
    """The farthest image and the most novel one, of each of several spaces, in turn.

    It asks no clusters. A rare scenario that lies within a common one in one space
    stands out in another: in each it waits at most as many times longer as there are
    turns. Farthest is what `FarthestFirst` takes next, and novel what `Novelty` does,
    of all that has been seen in any turn. Nothing is random.

    Args:
        neighbours: The distance to this one tells how lonely an image is.
    """

    neighbours: int = 5

    @property
    def name(self) -> str:
        """What tables call it."""
        return "turns"

    def __call__(self, clusters: Clusters, points: Features, seed: int) -> Integers:
        """Return the failures, in turns of one space."""
        return self.among([points])

    def among(self, spaces: Sequence[Features]) -> Integers:
        """Return the failures, the most typical of the first space first.

        Args:
            spaces: Points of each failure, by different features; at least one table.
        """
        looked = [_Looked(each.astype(np.float64), self.neighbours) for each in spaces]
        turns = cycle(product((_Looked.farthest, _Looked.most_novel), looked))
        places = np.arange(len(spaces[0]))
        following = int(typical(spaces[0], places)[0])
        for _ in places:
            for each in looked:
                each.take(following)
            choose, own = next(turns)
            following = choose(own)
        return np.array(looked[0].order, np.int64)


def typical(points: Features, members: Integers) -> Integers:
    """Return the members of a cluster, those nearest to its centre first."""
    own = points[members].astype(np.float64)
    far = np.linalg.norm(own - own.mean(axis=0), axis=1)
    return members[np.argsort(far, kind="stable")]


class _Looked:
    """What has been seen, and how far all the rest lies from it."""

    def __init__(self, points: Floats, neighbours: int) -> None:
        self.points = points
        self.order: list[int] = []
        self.seen = np.zeros(len(points), bool)
        # Before anything is seen all is as far; the first of all clusters is largest.
        self.far = np.full(len(points), np.finfo(np.float64).max)
        self.lonely = _lonely(points, neighbours)

    def take(self, place: int) -> None:
        """Look at one image."""
        self.order.append(place)
        self.seen[place] = True
        away = np.linalg.norm(self.points - self.points[place], axis=1)
        self.far = np.minimum(self.far, away)

    def farthest(self) -> int:
        """Return the image that is farthest from all that have been seen."""
        return int(np.where(self.seen, -1.0, self.far).argmax())

    def most_novel(self) -> int:
        """Return the image to look at next."""
        return int(np.where(self.seen, -1.0, self.far / self.lonely).argmax())


def _lonely(points: Floats, neighbours: int) -> Floats:
    """The root of the distance to some neighbour; that of copies is small, not zero."""
    count = min(neighbours + 1, len(points))
    far, _ = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(points)
    least = far[:, -1].max() * 1e-6
    return np.asarray(np.sqrt(np.maximum(far[:, -1], least if least else 1.0)))
