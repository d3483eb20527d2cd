"""Fine: as many clusters as somebody is ready to look at, so that rare causes show.

Validity is best where common causes are told apart, and a cause of two failures in a
hundred is then part of a cluster of another one. How fine to look is no property of the
failures; it says how rare a cause may be that is still to be seen.

References:
    Ward: Hierarchical grouping to optimize an objective function. J. Am. Stat. Assoc.
    58, 1963.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from stoic.causes.clusterings.choice import Space
from stoic.causes.pipeline import LEAST, Clusters, Features

__all__ = ["Fine"]


@dataclass(frozen=True)
class Fine:
    """Ward's joining two by two, until there is a cluster for so many failures each.

    Args:
        each: Failures for each cluster, on average: half of what the rarest cause has
            that is to be seen. Clusters of fewer than five are noise.
    """

    each: int = 12

    def __post_init__(self) -> None:
        if self.each < LEAST:
            raise ValueError(f"each must be at least {LEAST}, got {self.each}")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "fine"

    def __call__(self, points: Features, seed: int) -> Clusters:
        """Return the clusters; they need no seed."""
        space = Space.of(points)
        count = max(len(space) // self.each, 2)
        tree = linkage(np.asarray(points, np.float64), "ward")
        labels = fcluster(tree, count, "maxclust").astype(np.int64)
        return space.judged(labels, {"k": count, "failures for each": self.each})
