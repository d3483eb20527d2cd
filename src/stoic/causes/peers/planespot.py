"""Groups in a plane of features, with the network's confidence as a third axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture

from stoic.causes.peers.evidence import Evidence, clusters_of
from stoic.causes.pipeline import NOISE, Clusters, Features, Reduction

__all__ = ["Plane", "PlaneSpot"]


@dataclass(frozen=True)
class Plane:
    """Two dimensions by t-SNE, of at most 50 principal components.

    Args:
        perplexity: How many neighbours count; fewer where there are few images.
    """

    perplexity: float = 30.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return "t-SNE 2"

    def __call__(self, features: Features, seed: int) -> Features:
        """Return points in the plane."""
        rows, width = features.shape
        inner = PCA(min(50, rows, width), random_state=seed, svd_solver="full")
        near = min(self.perplexity, (rows - 1) / 3)
        plane = TSNE(2, perplexity=near, init="pca", random_state=seed, n_jobs=1)
        reduced = inner.fit_transform(features).astype(np.float32)
        return np.asarray(plane.fit_transform(reduced), np.float32)


@dataclass(frozen=True)
class PlaneSpot:
    """PlaneSpot: a Gaussian mixture over an embedding in two dimensions.

    The number of parts is chosen by BIC. Parts are ranked by errors times error rate,
    and the first are kept. The paper embeds by scvis, a relative of t-SNE with a
    network.

    Args:
        plane: To two dimensions.
        weight: Of the confidence beside axes from 0 to 1.
        most: Parts to try, up to so many.
        step: Only each so-many-th number of parts.
        kept: How many parts are kept; failures of the others are noise.

    References:
        Plumb, Johnson, Cabrera, Talwalkar: Towards a more rigorous science of blindspot
        discovery in image classification models. TMLR 2023.
    """

    plane: Reduction = Plane()
    weight: float = 0.025
    most: int = 60
    step: int = 3
    kept: int = 60

    @property
    def name(self) -> str:
        """What tables call it."""
        return "PlaneSpot"

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the part of each failure."""
        flat = self.plane(evidence.features, seed).astype(np.float64)
        span = np.ptp(flat, axis=0)
        flat = (flat - flat.min(axis=0)) / np.where(span, span, 1)
        points = np.column_stack([flat, self.weight * evidence.quality])
        counts = range(1, min(self.most, len(points)) + 1, self.step)
        fits = [_mixture(points, count, seed) for count in counts]
        criteria = [fit.bic(points) for fit in fits]
        best = fits[int(np.argmin(criteria))]
        groups = np.asarray(best.predict(points), np.int64)
        first = ranked(groups, ~evidence.right)[: self.kept]
        return clusters_of(
            np.where(np.isin(groups, first), groups, NOISE),
            evidence,
            {"parts": float(best.n_components), "BIC": float(min(criteria))},
        )


def ranked(groups: NDArray[np.int64], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return groups by errors times error rate, the largest first."""
    names = np.unique(groups)
    errors = np.array([wrong[groups == name].sum() for name in names])
    rates = np.array([wrong[groups == name].mean() for name in names])
    return np.asarray(names[np.argsort(-errors * rates, kind="stable")])


def _mixture(points: NDArray[np.float64], count: int, seed: int) -> GaussianMixture:
    return GaussianMixture(count, random_state=seed, max_iter=300, tol=1e-3).fit(points)
