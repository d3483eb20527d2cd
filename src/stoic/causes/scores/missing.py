"""The probability of never seeing a scenario, given how many images are looked at.

Within a cluster the images are picked at random, so each chance is exact: that no image
of the scenario is picked from any cluster. Noise counts as one more cluster.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.scores.truth import Truth

__all__ = [
    "Missing",
    "Needed",
    "allotted",
    "missed",
    "missed_at_most",
    "missed_at_random",
    "missing",
    "needed",
    "strata",
]

Integers = NDArray[np.int64]


def strata(clusters: Clusters) -> Integers:
    """Return the number of failures of each cluster, and of noise last."""
    places = np.where(clusters.labels == NOISE, clusters.count, clusters.labels)
    return np.bincount(places, minlength=clusters.count + 1)


def allotted(sizes: Integers, images: int) -> Integers:
    """Return how many images of each cluster are looked at, round by round.

    One of each in turn, so that small clusters are seen whole while large ones still
    go on.

    Args:
        sizes: Of each cluster.
        images: In all; no more than there are failures.
    """
    total = int(sizes.sum())
    if not 0 <= images <= total:
        raise ValueError(f"images must be 0 to {total}, got {images}")
    taken = np.zeros_like(sizes)
    while left := images - int(taken.sum()):
        unfinished = np.flatnonzero(taken < sizes)
        whole = min(left // len(unfinished), int((sizes - taken)[unfinished].min()))
        taken[unfinished if whole else unfinished[:left]] += max(whole, 1)
    return taken


def missed(sizes: Integers, looked: Integers, held: Integers) -> float:
    """Return the chance of seeing no image of a scenario.

    Args:
        sizes: Failures in each cluster.
        looked: Images looked at of each, at random.
        held: Failures of the scenario in each.
    """
    return math.exp(sum(map(_log_none, sizes, looked, held)))


def missed_at_random(failures: int, images: int, held: int) -> float:
    """Return the same in random order of all failures.

    Args:
        failures: How many there are.
        images: How many of them are looked at.
        held: How many are of the scenario.
    """
    return math.exp(_log_none(failures, images, held))


def missed_at_most(sizes: Integers, looked: Integers, held: int) -> float:
    """Return the chance at worst, however a scenario lies in the clusters.

    No scenario of so many failures is missed more probably, whatever the clusters are
    worth: what can be said before any cause is known.

    Args:
        sizes: Failures in each cluster.
        looked: Images looked at of each, at random.
        held: How many failures are of the scenario.
    """
    total = int(sizes.sum())
    if not 0 < held <= total:
        raise ValueError(f"held must be 1 to {total}, got {held}")
    # The logarithm is concave in the number held by each cluster, so that the worst
    # is found one failure at a time: next where it costs least.
    lying = np.zeros_like(sizes)
    for _ in range(held):
        room = lying < sizes
        left = np.where(room, sizes - lying, 1)
        kept = np.where(room, (left - looked).clip(0) / left, -1.0)
        lying[int(kept.argmax())] += 1
    return missed(sizes, looked, lying)


@dataclass(frozen=True)
class Missing:
    """The chances of missing a scenario that is so frequent, or is known.

    Args:
        images: How many are looked at, one of each cluster in turn.
        share: Of the scenario among the failures.
        at_random: The chance if the images were picked from all failures.
        at_most: The chance at worst, however the scenario lies in the clusters.
        known: The chance for each known scenario, as it lies in them.
    """

    images: int
    share: float
    at_random: float
    at_most: float
    known: Mapping[str, float]

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def missing(
    clusters: Clusters, *, images: int, share: float, truth: Truth | None = None
) -> Missing:
    """Return how probably a scenario is missed by looking at so many images.

    Args:
        clusters: One label for each failure.
        images: How many are looked at, one of each cluster in turn, at random within.
        share: The share of failures that are of the scenario; rounded down to whole
            failures, at least one.
        truth: Known causes, if there are any.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    sizes = strata(clusters)
    looked = allotted(sizes, images)
    failures = len(clusters.labels)
    # A hair more, as 0.07 * 100 is a little more than 7, and 0.29 * 100 a little less.
    held = max(1, math.floor(share * failures + 1e-9))
    places = np.where(clusters.labels == NOISE, clusters.count, clusters.labels)
    known = {}
    for name, own in zip(truth.names, truth.holds.T, strict=True) if truth else ():
        lying = np.bincount(places[own], minlength=len(sizes))
        known[name] = missed(sizes, looked, lying)
    return Missing(
        images,
        share,
        missed_at_random(failures, images, held),
        missed_at_most(sizes, looked, held),
        known,
    )


@dataclass(frozen=True)
class Needed:
    """How many images show a scenario that is so frequent, in such a share of tries.

    Args:
        share: Of the scenario among the failures.
        at_random: Images, picked from all failures.
        at_most: Images, one of each cluster in turn, however the scenario lies in them.
        confidence: The share of tries.
    """

    share: float
    at_random: int
    at_most: int
    confidence: float

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def needed(clusters: Clusters, share: float, *, confidence: float = 0.95) -> Needed:
    """Return how many images must be looked at so that a scenario is hardly missed.

    Args:
        clusters: One label for each failure.
        share: The share of failures that are of the scenario, as of `missing`.
        confidence: The probability of seeing it.
    """
    if not 0 < confidence <= 1:
        raise ValueError(
            f"confidence must be above 0 and at most 1, got {confidence}; take 0.95"
        )
    numbers = range(len(clusters.labels) + 1)

    def least(name: str) -> int:
        def seldom(images: int) -> bool:
            told = getattr(missing(clusters, images=images, share=share), name)
            # As 1 - 0.9 is a little less than 0.1.
            return bool(told <= 1 - confidence + 1e-12)

        return bisect_left(numbers, True, key=seldom)

    return Needed(share, least("at_random"), least("at_most"), confidence)


def _log_none(size: int, looked: int, held: int) -> float:
    """The logarithm of the chance that none of those held is among those looked at."""
    left = size - looked - np.arange(held)
    if held and left[-1] <= 0:
        return -math.inf
    return float(np.log(left / (size - np.arange(held))).sum())
