"""Finding clusters of failures with one pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stoic.causes.describing import described
from stoic.causes.extractors.mixed import joined, tables_of
from stoic.causes.failures import UNKNOWN, Inquiry
from stoic.causes.looking import looked_through
from stoic.causes.pipeline import Clusters, Features, Pipeline
from stoic.causes.scores import baseline, score
from stoic.causes.scores.inspection import in_turn
from stoic.causes.steadiness import steadiness
from stoic.causes.typical import looks
from stoic.explaining.found import Explained
from stoic.explaining.pipelines import pipeline_of

__all__ = ["again", "explain", "explained", "known_causes"]


def explain(
    inquiry: Inquiry,
    pipeline: Pipeline | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Explained:
    """Find clusters of failures that look alike.

    Args:
        inquiry: A network with failures, such as `stoic.failing` finds.
        pipeline: How; features of all layers, UMAP and HDBSCAN by default.
        seed: Of what is left to chance.
        progress: Told of stages done, and how many there are.

    Raises:
        ValueError: There are too few failures, or all look the same.
    """
    chosen = pipeline or pipeline_of()
    told = progress or (lambda done, of: None)
    told(0, 3)
    tables = tables_of(chosen.extractor, inquiry, seed)
    told(1, 3)
    points = chosen.reduction(joined(tables), seed)
    told(2, 3)
    clusters = chosen.clustering(points, seed)
    told(3, 3)
    return explained(inquiry, chosen, seed, points, clusters, tables)


def again(
    found: Explained,
    runs: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Explained:
    """Return clusters with whether they come again.

    Args:
        found: What `explain` has found.
        runs: Other seeds, and bootstrap samples of the failures; at least 2. All takes
            twice as many runs of the pipeline, and one.
        progress: Told of runs done, and how many there are.

    Raises:
        ValueError: There are too few runs to compare, or a sample is too small.
    """
    told = progress or (lambda done, of: None)
    given = found.inquiry, found.pipeline, found.seed
    return replace(found, stability=steadiness(*given, runs, told))


def explained(
    inquiry: Inquiry,
    pipeline: Pipeline,
    seed: int,
    points: Features,
    clusters: Clusters,
    tables: Sequence[Features] = (),
) -> Explained:
    """Return clusters with what a person needs to see of them.

    Args:
        inquiry: What was asked about.
        pipeline: How the clusters were found.
        seed: Of the pipeline.
        points: That they were found among.
        clusters: One for each failure.
        tables: What the pipeline's extractor told; asked anew if it is not given.
    """
    told = tables or tables_of(pipeline.extractor, inquiry, seed)
    known = known_causes(inquiry)
    return Explained(
        inquiry=inquiry,
        pipeline=pipeline,
        seed=seed,
        points=points,
        clusters=clusters,
        looks=looks(clusters, points),
        rules=described(clusters, inquiry.failures.recorded),
        scores=None if known is None else score(clusters, known, parts=True),
        random=None if known is None else baseline(clusters, known, parts=True),
        order=looked_through(told, seed),
        inspected=None if known is None else in_turn(clusters, points, known),
    )


def known_causes(inquiry: Inquiry) -> NDArray[np.str_] | None:
    """Return the known cause of each failure; None where none is known."""
    known = inquiry.failures.scenarios
    return known if known is not None and (known != UNKNOWN).any() else None
