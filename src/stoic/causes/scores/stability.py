"""Whether clusters come again: under other seeds, and of other failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from stoic.causes.pipeline import Clusters
from stoic.causes.scores.draws import Draws

__all__ = ["Fit", "Stability", "stability_of_samples", "stability_of_seeds"]


class Fit(Protocol):
    """Clusters some of the failures."""

    def __call__(self, places: NDArray[np.int64], seed: int) -> Clusters:
        """Return a cluster for each of the failures at these places."""
        ...


@dataclass(frozen=True)
class Stability:
    """How far clusterings of the same failures agree.

    Args:
        about: What varies.
        rand: The adjusted Rand index: 1 if two agree, 0 on average if one is random.
            Noise counts as one cluster. None if there are no two to compare.
        clusters: How many clusters each has.
    """

    about: str
    rand: Draws | None
    clusters: Draws | None

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        parts = {"rand": self.rand, "clusters": self.clusters}
        return {"about": self.about} | {
            name: None if part is None else part.as_record()
            for name, part in parts.items()
        }


def stability_of_seeds(runs: Sequence[Clusters]) -> Stability:
    """Compare all pairs of clusterings, one for each seed."""
    return Stability(
        "seeds",
        Draws.of(
            float(adjusted_rand_score(one.labels, other.labels))
            for one, other in combinations(runs, 2)
        ),
        Draws.of(float(run.count) for run in runs),
    )


def stability_of_samples(
    fit: Fit, failures: int, *, draws: int = 20, seed: int = 0
) -> Stability:
    """Compare the clusters of all failures with those of bootstrap samples.

    Both are compared on the failures of the sample, 63 % of all. A failure that was
    drawn twice is clustered once: copies of a point would be a dense place by
    themselves.
    """
    rng = np.random.default_rng(seed)
    whole = fit(np.arange(failures), seed)
    rand, counts = [], []
    for _ in range(draws):
        places = np.unique(rng.integers(failures, size=failures))
        found = fit(places, seed)
        rand.append(float(adjusted_rand_score(whole.labels[places], found.labels)))
        counts.append(float(found.count))
    return Stability("bootstrap samples", Draws.of(rand), Draws.of(counts))
