"""What a peer looks at: features, labels and scores of failures and of right images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import NOISE, Clusters, Extractor, Features

__all__ = ["Evidence", "Peer", "clusters_of", "gather"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """All images of an inquiry, the failures first.

    Args:
        features: Of each image, by one extractor.
        labels: What is right.
        scores: What the network says, before any softmax.
        failures: How many of the rows are failures; the others are examples.
    """

    features: Features
    labels: Integers
    scores: NDArray[np.float32]
    failures: int

    def __post_init__(self) -> None:
        rows = len(self.features), len(self.labels), len(self.scores)
        if len(set(rows)) > 1 or not 0 < self.failures <= rows[0]:
            raise ValueError(
                "features, labels and scores must have one row for each image, the "
                f"failures first, got {rows} with {self.failures} failures"
            )
        if not np.isfinite(self.features).all():
            raise ValueError("features must be finite, got some that are not")

    @property
    def chances(self) -> Floats:
        """The probability that the network gives to each class."""
        return np.asarray(softmax(self.scores.astype(np.float64), axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the network names the right class."""
        return np.asarray(self.scores.argmax(axis=1) == self.labels)

    @property
    def quality(self) -> Floats:
        """The probability that the network gives to the right class."""
        return np.asarray(self.chances[np.arange(len(self.labels)), self.labels])

    def standardised(self) -> Floats:
        """Return the features with mean 0 and deviation 1; constant ones are 0."""
        wide = self.features.astype(np.float64)
        deviation = wide.std(axis=0)
        return np.asarray(
            (wide - wide.mean(axis=0)) / np.where(deviation, deviation, 1)
        )


class Peer(Protocol):
    """Finds groups of failures. A frozen value whose `repr` names all settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the cluster of each failure; right images are only looked at."""
        ...


def gather(inquiry: Inquiry, extractor: Extractor, seed: int) -> Evidence:
    """Return the evidence of an inquiry, with the features of one extractor.

    Failures and examples go through the extractor together, so that their features
    can be compared whatever it learns from them.
    """
    failures, examples = inquiry.failures, inquiry.examples
    joined = Failures(
        images=torch.cat([failures.images, examples.images]),
        labels=np.concatenate([failures.labels, examples.labels]),
        scores=np.concatenate([failures.scores, _said(inquiry.network, examples)]),
        names=(*failures.names, *(f"example {each}" for each in range(len(examples)))),
        recorded={},
    )
    features = extractor(replace(inquiry, failures=joined), seed)
    return Evidence(features, joined.labels, joined.scores, len(failures))


def clusters_of(
    groups: Integers, evidence: Evidence, chosen: Mapping[str, float | str]
) -> Clusters:
    """Return the clusters of the failures, from groups of all images."""
    own = groups[: evidence.failures].astype(np.int64)
    return Clusters.of(np.where(own < 0, NOISE, own), dict(chosen))


@torch.inference_mode()
def _said(network: nn.Module, examples: Examples) -> NDArray[np.float32]:
    parts: list[Tensor] = [network(part) for part in examples.images.split(64)]
    return torch.cat(parts).float().numpy()
