"""Comparing: what each of many pipelines finds, which is best, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stoic.causes.effects import Runs, explained, pairs
from stoic.causes.effects.levels import standings
from stoic.causes.failures import Inquiry
from stoic.causes.grid import Grid, Outcome
from stoic.causes.pipeline import Features, Pipeline
from stoic.causes.scores.truth import Truth
from stoic.causes.stages import extract, table
from stoic.causes.store import Store, content
from stoic.explaining.finding import known_causes
from stoic.explaining.judging import FACTORS, Judged, judge, parts_of
from stoic.explaining.pipelines import all_pipelines

__all__ = ["SCORES", "Comparison", "compare", "compared", "kept_tables"]

SCORES = ("purity", "coverage")
"""By which pipelines are compared where causes are known."""


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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Many pipelines on the same failures.

    Args:
        judged: The best first, those last of which a stage has raised.
    """

    judged: tuple[Judged, ...]

    @property
    def best(self) -> Outcome:
        """What the best pipeline has found.

        Raises:
            ValueError: No pipeline could run.
        """
        first = self.judged[0].outcome
        if first.clusters is None:
            raise ValueError(
                f"pipelines must be able to run, got none: {first.problem}"
            )
        return first

    @property
    def known(self) -> bool:
        """Whether causes are known, so that pipelines have scores."""
        return any(each.scores for each in self.judged)

    def regrets(self) -> list[dict[str, Any]]:
        """Return what choosing parameters cost, by reduction and clustering.

        The mean and the worst are over all extractors; of a stage that has raised
        nothing is counted.
        """
        found: dict[tuple[str, str], list[Judged]] = {}
        for each in self.judged:
            parts = parts_of(each.outcome)
            if each.regret is not None:
                key = parts["reduction"], parts["clustering"]
                found.setdefault(key, []).append(each)
        return [
            {"reduction": reduction, "clustering": clustering, "pipelines": len(own)}
            | {name: _mean_and_worst(own, name) for name in SCORES}
            for (reduction, clustering), own in sorted(found.items())
        ]

    def stages(self) -> dict[str, dict[str, Any]]:
        """Return which stage matters, and which of its levels are better.

        By score: the share of its variance that each stage explains, and stages
        together; each level beside all others; all pairs of levels. A pipeline of which
        a stage has raised has found nothing, and scores 0. Empty if no cause is known.
        """
        return {name: self._stages(name) for name in SCORES} if self.known else {}

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "pipelines": [each.as_record() for each in self.judged],
            "regret": self.regrets(),
            "stages": self.stages(),
        }

    def _stages(self, score: str) -> dict[str, Any]:
        rows = [parts_of(each.outcome) | {"case": "this"} for each in self.judged]
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        runs = Runs(columns, np.array([getattr(each, score) for each in self.judged]))
        try:
            shares = explained(runs, FACTORS)
        # Not all ways through the stages, or all with the same score.
        except ValueError:
            shares = {}
        return {
            "explained": shares,
            "levels": {
                name: [asdict(each) for each in standings(runs, name)]
                for name in FACTORS
            },
            "pairs": {
                name: [
                    {"first": own.first, "second": own.second, "a12": own.pooled}
                    | {"size": own.size}
                    for own in pairs(runs, [name])
                ]
                for name in FACTORS
            },
        }


def compared(outcomes: Iterable[Outcome], inquiry: Inquiry) -> Comparison:
    """Judge what many pipelines have found.

    Args:
        outcomes: As `compare` yields them, at least one.
        inquiry: Of the failures.
    """
    known = known_causes(inquiry)
    truth = None if known is None else Truth.of(known, parts=True)
    judged = [judge(each, truth) for each in outcomes]
    # Whatever has clusters is better than what has none.
    order = sorted(judged, key=lambda own: (own.outcome.clusters is None, -own.worth))
    return Comparison(tuple(order))


def kept_tables(
    folder: Path, pipeline: Pipeline, inquiry: Inquiry, seed: int
) -> tuple[Features, ...]:
    """Return what the extractor of a pipeline has told in a folder of stages.

    Args:
        folder: That `compare` was given.
        pipeline: That could run; no mix of extractors.
        inquiry: As for `compare`.
        seed: As for `compare`.
    """
    store = Store(folder)
    made = extract(store, pipeline.extractor, inquiry, content(inquiry), seed)
    return (table(store, made),)


def _mean_and_worst(judged: Sequence[Judged], name: str) -> dict[str, float]:
    values = [getattr(each.regret, name) for each in judged]
    return {"mean": float(np.mean(values)), "worst": float(max(values))}
