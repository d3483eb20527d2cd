"""Reductions: features made fewer, after all columns were given the same weight.

Each first standardises: a column that is the same for all failures tells nothing and is
dropped, all others get mean 0 and variance 1, as units of features mean nothing.

References:
    McInnes, Healy and Melville, "UMAP", 2018.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from stoic.causes.pipeline import Features

__all__ = ["REDUCTIONS", "Pca", "Umap", "Whole", "standardised"]


@dataclass(frozen=True)
class Whole:
    """Keeps all features, standardised."""

    @property
    def name(self) -> str:
        """What tables call it."""
        return "none"

    def __call__(self, features: Features, seed: int) -> Features:
        """Return standardised features; they need no seed."""
        return standardised(features)


@dataclass(frozen=True)
class Pca:
    """Keeps the directions in which standardised features differ most.

    Where there are fewer of these, all are kept.

    Args:
        dimensions: How many.
    """

    dimensions: int = 25

    def __post_init__(self) -> None:
        _positive("dimensions", self.dimensions)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "PCA"

    def __call__(self, features: Features, seed: int) -> Features:
        """Return the principal components."""
        ready = standardised(features).astype(np.float64)
        most = min(self.dimensions, len(ready) - 1, ready.shape[1])
        # Exact rather than randomised, so that the seed decides nothing.
        points = PCA(most, svd_solver="full").fit_transform(ready)
        return np.asarray(points, np.float32)


@dataclass(frozen=True)
class Umap:
    """Lays failures out so that each keeps its nearest neighbours.

    It may lay them out in another way on another kind of machine; on one and for one
    seed it is always the same. A seed keeps it to one core.

    Args:
        dimensions: Of the points.
        neighbours: That each failure is to keep.
        min_dist: How near to each other points may lie.
    """

    dimensions: int = 25
    neighbours: int = 15
    min_dist: float = 0.1

    def __post_init__(self) -> None:
        _positive("dimensions", self.dimensions)
        if self.neighbours < 2:
            raise ValueError(f"neighbours must be at least 2, got {self.neighbours}")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "UMAP"

    def __call__(self, features: Features, seed: int) -> Features:
        """Return the layout.

        Raises:
            ValueError: There are too few failures, or ``umap-learn`` is missing.
        """
        ready = standardised(features)
        # Its first guess takes one eigenvector more than dimensions, and not all.
        least = max(self.dimensions + 2, self.neighbours + 1)
        if len(ready) < least:
            raise ValueError(
                f"failures must be at least {least} for UMAP with {self.dimensions} "
                f"dimensions and {self.neighbours} neighbours, got {len(ready)}; take "
                "more failures, or PCA: --reduction PCA"
            )
        with warnings.catch_warnings():
            # Of tensorflow that it misses, and of graphs in several pieces.
            warnings.simplefilter("ignore")
            points = self._model(seed).fit_transform(ready)
        return np.asarray(points, np.float32)

    def _model(self, seed: int) -> Any:
        try:
            from umap import UMAP
        except ModuleNotFoundError as error:
            raise ValueError(
                "the reduction UMAP needs the package umap-learn, which is not "
                "installed; get it: pip install 'stoic[causes]'"
            ) from error
        return UMAP(
            n_components=self.dimensions,
            n_neighbors=self.neighbours,
            min_dist=self.min_dist,
            random_state=seed,
            n_jobs=1,
        )


def standardised(features: Features) -> Features:
    """Return features with mean 0 and variance 1, without those that never differ.

    Raises:
        ValueError: Features are not finite, or all failures have the same.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            "features must be a table with a row for each of at least 2 failures, "
            f"got shape {features.shape}"
        )
    bad = ~np.isfinite(features)
    if bad.any():
        raise ValueError(
            f"features must be finite, got NaN or infinity in {bad.any(1).sum()} of "
            f"{len(features)} failures and {bad.any(0).sum()} of {features.shape[1]} "
            "features; leave these failures out"
        )
    wide = features.astype(np.float64)
    differ = (features != features[:1]).any(0)
    if not differ.any():
        raise ValueError(
            f"features must differ between failures, got {len(features)} equal rows; "
            "are the images all the same?"
        )
    wide = wide[:, differ] - wide[:, differ].mean(0)
    # First by the largest, as the square of a tiny or huge number is none.
    wide /= np.abs(wide).max(0)
    return np.asarray(wide / wide.std(0), np.float32)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


REDUCTIONS = (Whole(), Pca(), Umap())
"""The three of the paper."""
