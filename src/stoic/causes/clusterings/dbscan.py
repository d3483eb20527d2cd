"""DBSCAN: clusters are where points lie dense, all others are noise.

References:
    Ester, Kriegel, Sander and Xu, 1996.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from stoic.causes.clusterings.choice import Space, finest
from stoic.causes.knee import knee
from stoic.causes.pipeline import Clusters, Features

__all__ = ["Dbscan"]


@dataclass(frozen=True)
class Dbscan:
    """DBSCAN, with its radius by the knee of distances to neighbours, or below it.

    As the radius grows, clusters appear, and then run into each other: in many
    dimensions long before most points are in any, as some places are denser than
    others and one radius is for all. Silhouette and DBCV like what is left at the end,
    two or three large clusters of many causes. So the radius at which there are most
    clusters is taken, of all that are more valid than none at all.

    The paper's is ``Dbscan(shares=(1.0,), nearly=1.0)``.

    Args:
        samples: How many points a dense place may need, itself counted.
        shares: Of the radius at the knee: it is where no more points are lonely, and
            clusters may have met by then.
        nearly: The share of the best validity that suffices; 1 takes the best, 0 all
            that are not negative if any is positive.
    """

    samples: tuple[int, ...] = (2, 5, 10, 15)
    shares: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    nearly: float = 0.0

    def __post_init__(self) -> None:
        if not self.samples or min(self.samples) < 2:
            raise ValueError(f"samples must each be at least 2, got {self.samples}")
        if not self.shares or min(self.shares) <= 0:
            raise ValueError(f"shares must each be positive, got {self.shares}")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "DBSCAN"

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the chosen clusters; they need no seed."""
        return self.choose(self.candidates(points, seed))

    def candidates(self, points: Features, seed: int) -> list[Clusters]:
        """Return the clusters of every number of samples and share of the radius."""
        space = Space.of(points)
        ordered = np.sort(space.apart, 1)
        usable = [count for count in self.samples if count <= len(space)] or [2]
        return [
            self._clusters(space, count, np.sort(ordered[:, count - 1]), share)
            for count in usable
            for share in self.shares
        ]

    def choose(self, candidates: Sequence[Clusters]) -> Clusters:
        """Return the candidate that is taken, without knowing any cause."""
        return finest(candidates, self.nearly)

    def _clusters(
        self, space: Space, samples: int, reach: NDArray[np.float64], share: float
    ) -> Clusters:
        bend = knee(np.arange(len(reach), dtype=np.float64), reach)
        # Where most points have twins the radius is 0, which scikit-learn refuses.
        radius = max(share * float(reach[bend.place]), float(np.finfo("d").tiny))
        model = DBSCAN(eps=radius, min_samples=samples, metric="precomputed")
        labels = model.fit(space.apart).labels_.astype(np.int64)
        known: dict[str, float | str] = {
            "eps": radius,
            "eps by": bend.by,
            "share": share,
            "min_samples": samples,
        }
        return space.judged(labels, known)
