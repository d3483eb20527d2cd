"""Steadiness: whether a pipeline finds the same clusters again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Clusters, Features, Pipeline
from stoic.causes.scores.stability import (
    Stability,
    stability_of_samples,
    stability_of_seeds,
)

__all__ = ["check_runs", "steadiness"]


def check_runs(runs: int) -> None:
    """Refuse runs that cannot be compared, before any work.

    Raises:
        ValueError: There are fewer than two.
    """
    if runs < 2:
        raise ValueError(
            f"stability must be over at least 2 runs to compare, got {runs}"
        )


def steadiness(
    inquiry: Inquiry,
    pipeline: Pipeline,
    seed: int,
    runs: int,
    progress: Callable[[int, int], None],
) -> tuple[Stability, Stability]:
    """Run a pipeline again, under other seeds and on bootstrap samples.

    Features that do not depend on the seed are made twice only, the second time to see
    that they do not.

    Args:
        inquiry: A network with failures.
        pipeline: To run.
        seed: The first of the seeds.
        runs: Seeds, and samples; at least 2.
        progress: Told of runs done, and how many there are.

    Raises:
        ValueError: There are too few runs to compare.
    """
    check_runs(runs)
    of, done = 2 * runs + 1, 0

    def found(features: Features, own: int) -> Clusters:
        nonlocal done
        progress(done, of)
        done += 1
        return pipeline.clustering(pipeline.reduction(features, own), own)

    first = pipeline.extractor(inquiry, seed)
    second = pipeline.extractor(inquiry, seed + 1)
    same = np.array_equal(first, second)
    tables = [first, second]
    tables += [
        first if same else pipeline.extractor(inquiry, seed + more)
        for more in range(2, runs)
    ]
    seeds = stability_of_seeds(
        [found(table, seed + more) for more, table in enumerate(tables)]
    )

    def fit(places: NDArray[np.int64], seed: int) -> Clusters:
        return found(first[places], seed)

    samples = stability_of_samples(fit, len(first), draws=runs, seed=seed)
    progress(of, of)
    return seeds, samples
