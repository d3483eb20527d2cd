"""Pipelines by the names of their stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoic.causes.clusterings import CLUSTERINGS, HUDD, Fine
from stoic.causes.grid import crossed
from stoic.causes.pipeline import Clustering, Pipeline, Reduction
from stoic.causes.reductions import REDUCTIONS
from stoic.extracting import ELEVEN, extractor_of, extractors

__all__ = ["all_pipelines", "pipeline_of", "stages"]


def all_pipelines(*more: str) -> tuple[Pipeline, ...]:
    """Return the 99: eleven extractors, three reductions, three clusterings.

    Args:
        *more: Names of further extractors, each with nine pipelines.
    """
    chosen = [*extractors().values()][:ELEVEN] + [extractor_of(name) for name in more]
    return crossed(chosen, REDUCTIONS, CLUSTERINGS)


def stages() -> tuple[Mapping[str, Reduction], Mapping[str, Clustering]]:
    """Return all reductions and clusterings by name."""
    clusterings: list[Clustering] = [*CLUSTERINGS, HUDD, Fine()]
    return (
        {each.name: each for each in REDUCTIONS},
        {each.name: each for each in clusterings},
    )


def pipeline_of(
    extractor: str = "layers", reduction: str = "UMAP", clustering: str = "HDBSCAN"
) -> Pipeline:
    """Return a pipeline by the names of its stages.

    Raises:
        ValueError: There is no such stage.
    """
    reductions, clusterings = stages()
    return Pipeline(
        extractor_of(extractor),
        _named("reduction", reduction, reductions),
        _named("clustering", clustering, clusterings),
    )


def _named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"{kind} must be one of {', '.join(known)}, got {name!r}")
    return known[name]
