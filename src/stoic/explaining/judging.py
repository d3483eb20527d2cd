"""Judging: how good what one of many pipelines has found is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stoic.causes.grid import Outcome
from stoic.causes.pipeline import NOISE
from stoic.causes.scores import PURE, Scores, scores_of
from stoic.causes.scores.regret import Regret, regret
from stoic.causes.scores.truth import Truth

__all__ = ["FACTORS", "Judged", "judge", "parts_of"]

FACTORS = ("extractor", "reduction", "clustering")
"""The stages of a pipeline."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What came of one pipeline, and what it is worth.

    Args:
        outcome: What came of it.
        scores: Against known causes; None if none is known, or a stage has raised.
        regret: What choosing its parameters cost; None as `scores`.
    """

    outcome: Outcome
    scores: Scores | None
    regret: Regret | None

    @property
    def purity(self) -> float:
        """Of its clusters; 0 without one."""
        return (self.scores and self.scores.purity) or 0.0

    @property
    def coverage(self) -> float:
        """Of causes, at 90 % purity; 0 without a cluster."""
        return self.scores.coverage[PURE] if self.scores else 0.0

    @property
    def worth(self) -> float:
        """Of two pipelines the one of larger worth is better.

        Where causes are known it is the product of purity and coverage, elsewhere the
        validity by silhouette and DBCV, which says little across features.
        """
        if self.scores:
            return self.purity * self.coverage
        clusters = self.outcome.clusters
        return float(clusters.chosen["validity"]) if clusters else float("-inf")

    def as_record(self) -> dict[str, Any]:
        """Return plain data: scores only if there are any, a problem only if it is."""
        outcome = self.outcome
        record: dict[str, Any] = {"pipeline": outcome.pipeline.name}
        record |= parts_of(outcome)
        if outcome.clusters is None:
            return record | {"problem": outcome.problem}
        record |= {
            "clusters": outcome.clusters.count,
            "noise": float((outcome.clusters.labels == NOISE).mean()),
            "chosen": dict(outcome.clusters.chosen),
        }
        if self.scores is None or self.regret is None:
            return record
        return record | {
            "purity": self.purity,
            "coverage": self.coverage,
            "information": self.scores.information or 0.0,
            "regret": asdict(self.regret),
        }


def judge(outcome: Outcome, truth: Truth | None) -> Judged:
    """Return what an outcome is worth.

    Args:
        outcome: Of a pipeline.
        truth: The causes of the failures; None if none is known.
    """
    clusters = outcome.clusters
    if clusters is None or truth is None:
        return Judged(outcome, None, None)
    cost = regret(clusters, outcome.candidates, truth)
    return Judged(outcome, scores_of(clusters, truth), cost)


def parts_of(outcome: Outcome) -> dict[str, str]:
    """Return the names of the stages of a pipeline."""
    pipeline = outcome.pipeline
    return {factor: getattr(pipeline, factor).name for factor in FACTORS}
