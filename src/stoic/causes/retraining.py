"""Retraining: does the network learn from images that clusters have chosen?

References:
    Attaoui, Fahmy, Pastore and Briand, Black-box safety analysis and retraining of DNNs
    based on feature extraction and clustering, 2023: improvement sets.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stoic.causes.failures import Examples
from stoic.causes.pipeline import NOISE, Clusters, Features
from stoic.records.raised import reason

__all__ = ["Learning", "accuracy", "assigned", "evenly", "retrained"]


@dataclass(frozen=True)
class Learning:
    """How a network is trained further.

    Args:
        epochs: Times that all images are seen.
        rate: Of learning.
        batch: Images per step.
    """

    epochs: int = 3
    rate: float = 3e-4
    batch: int = 64

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must be above 0 and below 1, got {self.rate:g}")


def assigned(
    features: Features, clusters: Clusters, others: Features
) -> NDArray[np.int64]:
    """Return the cluster of other images: that of the nearest failure, if it is near.

    Near is within the largest distance from a member to its nearest fellow.

    Args:
        features: Of the failures.
        clusters: Of the failures.
        others: Features of the other images, of the same extractor.
    """
    from sklearn.neighbors import NearestNeighbors

    middle, deviation = features.mean(0), features.std(0)
    kept = deviation > 0
    own, new = (
        (each[:, kept] - middle[kept]) / deviation[kept] for each in (features, others)
    )
    found = np.full(len(others), NOISE)
    nearest = np.full(len(others), np.inf)
    for cluster in range(clusters.count):
        members = own[clusters.members(cluster)]
        tree = NearestNeighbors(n_neighbors=2).fit(members)
        radius = tree.kneighbors(members)[0][:, 1].max()
        apart = tree.kneighbors(new, n_neighbors=1)[0][:, 0]
        here = (apart <= radius) & (apart < nearest)
        found[here], nearest[here] = cluster, apart[here]
    return found


def evenly(
    labels: NDArray[np.int64], budget: int, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Return places of so many images, taken from all clusters in turn.

    Args:
        labels: Cluster of each image, or ``NOISE``: such are not taken.
        budget: Images at most.
        chance: That draws within a cluster.
    """
    queues = [
        list(chance.permutation(np.flatnonzero(labels == cluster)))
        for cluster in range(int(labels.max(initial=NOISE)) + 1)
    ]
    taken: list[int] = []
    while len(taken) < budget and any(queues):
        taken += [int(queue.pop()) for queue in queues if queue]
    return np.array(taken[:budget], np.int64)


def retrained(
    network: nn.Module, examples: Examples, learning: Learning, seed: int
) -> nn.Module:
    """Return a copy of a network that was trained further; itself it stays as it is.

    Args:
        network: Scores classes by their number.
        examples: To learn from, with what is right.
        learning: How.
        seed: Of the order of images, and of dropout.

    Raises:
        ValueError: The network cannot learn from them.
    """
    learner = deepcopy(network).train().requires_grad_(True)
    labels = torch.from_numpy(examples.labels)
    steps = torch.optim.AdamW(learner.parameters(), lr=learning.rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(learning.epochs):
            for batch in torch.randperm(len(examples)).split(learning.batch):
                # One image has no variance that a batch norm could divide by.
                if len(batch) == 1:
                    continue
                loss = _loss(learner, examples.images[batch], labels[batch])
                steps.zero_grad()
                loss.backward()
                steps.step()
    return learner.eval().requires_grad_(False)


def _loss(learner: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    try:
        return functional.cross_entropy(learner(images), labels)
    except Exception as error:
        raise ValueError(
            "network must give a score for each class, without a tail and also while "
            f"it is trained, got {reason(error)}; retrain one that does"
        ) from error


@torch.no_grad()
def accuracy(
    network: nn.Module, images: Tensor, labels: NDArray[np.int64], batch: int = 256
) -> NDArray[np.bool_]:
    """Say which images a network gets right."""
    found = [network(part).argmax(1) for part in images.split(batch)]
    return np.asarray(torch.cat(found).numpy() == labels)
