"""Random clusters of the same sizes: what any score is worth without looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import Clusters
from stoic.causes.scores.draws import Draws
from stoic.causes.scores.many import numbers_of
from stoic.causes.scores.scoring import THRESHOLDS
from stoic.causes.scores.truth import Truth

__all__ = ["Baseline", "baseline"]


@dataclass(frozen=True)
class Baseline:
    """Scores of random clusters, by name; None where no draw has the number."""

    numbers: Mapping[str, Draws | None]

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            name: None if draws is None else draws.as_record()
            for name, draws in self.numbers.items()
        }


def baseline(
    clusters: Clusters,
    scenarios: NDArray[np.str_],
    *,
    parts: bool = False,
    draws: int = 200,
    seed: int = 0,
) -> Baseline:
    """Score random clusters of the same sizes.

    Purity rises with the number of clusters, and with the share of the commonest
    scenario; only what lies above these draws has been found.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    truth = Truth.of(scenarios, parts=parts)
    rng = np.random.default_rng(seed)
    # All draws have the sizes and the noise of these clusters.
    labels = np.stack([rng.permutation(clusters.labels) for _ in range(draws)])
    found = numbers_of(labels, truth, THRESHOLDS)
    return Baseline(
        {name: Draws.of(own[~np.isnan(own)]) for name, own in found.items()}
    )
