"""What the network says, clustered: the plainest baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from stoic.causes.peers.evidence import Evidence, clusters_of
from stoic.causes.pipeline import Clusters

__all__ = ["Softmax"]


@dataclass(frozen=True)
class Softmax:
    """K-means over the probabilities of the classes, of failures alone.

    Args:
        least: Clusters to try, from so many.
        most: Up to so many; the silhouette chooses.

    References:
        Lloyd: Least squares quantization in PCM. IEEE Trans. Inf. Theory 28, 1982.
        Rousseeuw: Silhouettes. J. Comput. Appl. Math. 20, 1987.
    """

    least: int = 5
    most: int = 35

    @property
    def name(self) -> str:
        """What tables call it."""
        return "softmax + K-means"

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the cluster of each failure."""
        points = evidence.chances[: evidence.failures]
        distinct = len(np.unique(points, axis=0))
        # A silhouette needs more points than clusters, and two clusters.
        top = min(self.most, distinct, len(points) - 1)
        counts = range(max(2, min(self.least, top)), top + 1)
        fits = [
            KMeans(count, n_init=3, random_state=seed).fit_predict(points)
            for count in counts
        ]
        if not fits:
            return clusters_of(
                np.zeros(len(points), np.int64), evidence, {"clusters": 1.0}
            )
        scores = [float(silhouette_score(points, own)) for own in fits]
        best = int(np.argmax(scores))
        return clusters_of(
            fits[best],
            evidence,
            {"clusters": float(counts[best]), "silhouette": scores[best]},
        )
