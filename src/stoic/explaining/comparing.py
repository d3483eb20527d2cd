"""Comparing: what each of many pipelines finds, and which is best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stoic.causes.failures import Inquiry
from stoic.causes.grid import Grid, Outcome
from stoic.causes.pipeline import NOISE, Pipeline
from stoic.causes.scores import PURE, score
from stoic.explaining.finding import known_causes
from stoic.explaining.pipelines import all_pipelines

__all__ = ["compare", "ranked", "row_of"]


def compare(
    inquiry: Inquiry,
    pipelines: Sequence[Pipeline] | None = None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Yield what each of many pipelines finds; what they share is made once.

    Args:
        inquiry: A network with failures.
        pipelines: All 99 by default.
        seed: Of what is left to chance.
        folder: Where stages are kept: after ``kill -9`` a run goes on from there.
        processes: That work at the same time, each on one core.
        progress: Told of stages done, and how many there are.
    """
    grid = Grid(tuple(pipelines or all_pipelines()))
    return grid.run(
        inquiry, seed, folder=folder, processes=processes, progress=progress
    )


def ranked(outcomes: Sequence[Outcome], inquiry: Inquiry) -> list[Outcome]:
    """Return what has succeeded, the best first.

    Where causes are known the best has the largest product of purity and coverage at
    90 %; elsewhere it is the most valid by silhouette and DBCV, which says little
    across features.
    """
    done = [each for each in outcomes if each.clusters is not None]
    known = known_causes(inquiry)

    def worth(outcome: Outcome) -> float:
        clusters = outcome.clusters
        assert clusters is not None
        if known is None:
            return float(clusters.chosen["validity"])
        found = score(clusters, known, parts=True)
        return (found.purity or 0.0) * found.coverage[PURE]

    return sorted(done, key=worth, reverse=True)


def row_of(outcome: Outcome, inquiry: Inquiry) -> dict[str, str]:
    """Return what a table says of one pipeline."""
    row = {"pipeline": outcome.pipeline.name}
    if outcome.clusters is None:
        return row | {"clusters": outcome.problem}
    clusters, known = outcome.clusters, known_causes(inquiry)
    row |= {
        "clusters": str(clusters.count),
        "noise": f"{(clusters.labels == NOISE).mean():.1%}",
        "validity": f"{float(clusters.chosen['validity']):.2f}",
    }
    if known is None:
        return row
    found = score(clusters, known, parts=True)
    return row | {
        "purity": f"{found.purity or 0:.1%}",
        "coverage": f"{found.coverage[PURE]:.1%}",
        "information": f"{found.information or 0:.2f}",
    }
