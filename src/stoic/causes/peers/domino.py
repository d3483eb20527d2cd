"""A mixture that knows what is right and what the network says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from stoic.causes.peers.evidence import Evidence, clusters_of
from stoic.causes.pipeline import NOISE, Clusters

__all__ = ["Domino", "Mixture", "fit_mixture"]

Floats = NDArray[np.float64]

LEAST_VARIANCE = 1e-6
TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Parts, each with a normal distribution of features and two of classes.

    Args:
        weights: Of each part.
        means: Of the features of each.
        variances: Likewise, of each feature alone.
        labels: How probable each label is in each part, (parts, classes).
        said: How probable each prediction is in each part.
    """

    weights: Floats
    means: Floats
    variances: Floats
    labels: Floats
    said: Floats

    def logs(
        self, points: Floats, labels: Floats, said: Floats, weight: float
    ) -> Floats:
        """Return the logarithm of each part's density of each point.

        Args:
            points: Features.
            labels: One column for each class, 1 where it is right.
            said: The probability that the network gives to each class.
            weight: How much labels and predictions count beside the features.
        """
        scaled = 1 / self.variances
        far = (
            points**2 @ scaled.T
            - 2 * points @ (self.means * scaled).T
            + (self.means**2 * scaled).sum(axis=1)
        )
        norm = np.log(2 * np.pi * self.variances).sum(axis=1)
        agree = np.log(labels @ self.labels.T + TINY) + np.log(
            said @ self.said.T + TINY
        )
        return np.asarray(
            np.log(self.weights + TINY) - (far + norm) / 2 + weight * agree
        )

    @classmethod
    def of(
        cls, shares: Floats, points: Floats, labels: Floats, said: Floats
    ) -> Mixture:
        """Return the parts that fit points best that belong to them by shares."""
        count = shares.sum(axis=0) + 10 * TINY
        means = shares.T @ points / count[:, None]
        squares = shares.T @ points**2 / count[:, None]
        return cls(
            count / len(points),
            means,
            (squares - means**2).clip(0) + LEAST_VARIANCE,
            shares.T @ labels / count[:, None],
            shares.T @ said / count[:, None],
        )


def fit_mixture(
    shares: Floats,
    points: Floats,
    labels: Floats,
    said: Floats,
    *,
    weight: float,
    steps: int = 100,
    tolerance: float = 1e-3,
) -> tuple[Mixture, Floats, tuple[float, ...]]:
    """Fit a mixture by expectation and maximisation.

    Returns:
        The mixture, the share of each part in each point, and the mean log-likelihood
        after each step.
    """
    course: list[float] = []
    for _ in range(steps):
        mixture = Mixture.of(shares, points, labels, said)
        logs = mixture.logs(points, labels, said, weight)
        total = logsumexp(logs, axis=1)
        shares = np.exp(logs - total[:, None])
        course.append(float(total.mean()))
        if len(course) > 1 and abs(course[-1] - course[-2]) < tolerance:
            break
    return mixture, shares, tuple(course)


@dataclass(frozen=True)
class Domino:
    """Domino's mixture: parts that are alike in features, labels and predictions.

    Args:
        parts: Of the mixture.
        slices: How many of them are kept: those whose labels and predictions differ
            most. Failures of the others are noise.
        dimensions: Principal components of the features.
        weight: How much labels and predictions count beside the features.

    References:
        Eyuboglu, Varma, Saab, Delbrouck, Lee-Messer, Dunnmon, Zou, Ré: Domino:
        discovering systematic errors with cross-modal embeddings. ICLR 2022.
    """

    parts: int = 25
    slices: int = 25
    dimensions: int = 128
    weight: float = 10.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return "Domino"

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the most probable part of each failure."""
        rows, width = evidence.features.shape
        parts = min(self.parts, rows)
        points = PCA(
            min(self.dimensions, rows, width), random_state=seed, svd_solver="full"
        ).fit_transform(evidence.features.astype(np.float64))
        said = evidence.chances
        labels = np.eye(said.shape[1])[evidence.labels]
        mixture, shares, course = fit_mixture(
            _start(points, labels, said, parts, seed),
            points,
            labels,
            said,
            weight=self.weight,
        )
        apart = np.abs(mixture.labels - mixture.said).max(axis=1)
        likely = shares.argmax(axis=1)
        held = np.unique(likely)
        kept = held[np.argsort(-apart[held], kind="stable")][: self.slices]
        groups = np.where(np.isin(likely, kept), likely, NOISE)
        return clusters_of(
            groups, evidence, {"parts": float(parts), "steps": float(len(course))}
        )


def _start(
    points: Floats, labels: Floats, said: Floats, parts: int, seed: int
) -> Floats:
    """The cells of the confusion matrix; clusters where these are more than parts."""
    classes = labels.shape[1]
    if classes**2 <= parts:
        cells = (labels[:, :, None] * said[:, None, :]).reshape(len(points), -1)
        shares = np.tile(cells, parts // classes**2 + 1)[:, :parts]
    else:
        own = KMeans(parts, n_init=1, random_state=seed).fit_predict(points)
        shares = np.eye(parts)[own]
    # So that equal cells come apart.
    noisy = shares + 1e-3 * np.random.default_rng(seed).random(shares.shape)
    return np.asarray(noisy / noisy.sum(axis=1, keepdims=True))
