"""Choice: which of several clusterings to take where no cause is known.

What silhouette and DBCV like best is often coarse: a few large clusters, each of
several causes. The costs are not equal. A cluster of two causes hides one of them; a
cause in two clusters costs one more look. So of all that are nearly as good as the
best, the one with most clusters is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import LEAST, NOISE, Clusters, Features
from stoic.causes.validity import dbcv, distances, silhouette

__all__ = ["FEWEST", "NEARLY", "Space", "finest"]

FEWEST = 2 * LEAST
"""Fewer failures are not two clusters."""

NEARLY = 0.6
"""The share of the best validity that is nearly as good."""


@dataclass(frozen=True, eq=False)
class Space:
    """Points to cluster, and how far they are apart.

    Args:
        points: One row for each failure.
        apart: The distance between any two.
    """

    points: Features
    apart: NDArray[np.float64]

    @classmethod
    def of(cls, points: Features) -> Space:
        """Return points with their distances.

        Raises:
            ValueError: There are too few of them, they are not finite, or all equal.
        """
        if points.ndim != 2 or len(points) < FEWEST:
            raise ValueError(
                f"failures must be at least {FEWEST} to make clusters of {LEAST} or "
                f"more, got points of shape {points.shape}; collect more"
            )
        if not np.isfinite(points).all():
            raise ValueError("points must be finite, got NaN or infinity")
        if (points == points[:1]).all():
            raise ValueError(
                f"points must differ, got {len(points)} equal ones; "
                "are the images all the same?"
            )
        return cls(points, distances(points))

    def __len__(self) -> int:
        return len(self.points)

    def judged(
        self, labels: NDArray[np.int64], parameters: Mapping[str, float | str]
    ) -> Clusters:
        """Return clusters that say their parameters and how valid they are.

        Validity is the mean of silhouette and DBCV. Small clusters are noise before
        they are judged, and noise counts as 0 in both.
        """
        found = Clusters.of(labels, {})
        shape = silhouette(self.apart, found.labels)
        density = dbcv(self.apart, found.labels, self.points.shape[1])
        known = {
            "clusters": found.count,
            "noise": float((found.labels == NOISE).mean()),
            "silhouette": shape,
            "dbcv": density,
            "validity": (shape + density) / 2,
        }
        return replace(found, chosen={**parameters, **known})


def finest(
    candidates: Sequence[Clusters], nearly: float, by: str = "validity"
) -> Clusters:
    """Return the candidate with most clusters of those nearly as valid as the best.

    Of several with as many clusters it is the most valid one, then the first.

    Args:
        candidates: As `Space.judged` returns them.
        nearly: The share of the best that suffices; 1 takes the best.
        by: What is to be good: ``validity``, or one of the two that it is made of.
    """
    validities = np.array([float(each.chosen[by]) for each in candidates])
    best = validities.max()
    enough = best * nearly if best > 0 else best
    counts = np.array([each.count for each in candidates])
    order = np.lexsort((-validities, -counts, validities < enough))
    picked = candidates[int(order[0])]
    why = f"most clusters at {nearly:g} of the best {by}, {best:.3f}"
    return replace(picked, chosen={**picked.chosen, "by": why})
