"""Scores of clusters whose scenarios are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.scores.composition import Composition
from stoic.causes.scores.information import adjusted_information, crossed
from stoic.causes.scores.truth import Truth

__all__ = ["PURE", "THRESHOLDS", "Scores", "score", "scores_of"]

THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Purities from which on a cluster may count as one of a scenario."""

PURE = 0.9
"""The purity from which on the paper counts a cluster as one of a scenario."""


@dataclass(frozen=True)
class Scores:
    """What clusters are worth to somebody who looks for scenarios.

    Failures of unknown cause count for `noise` only. A number is None where there is
    nothing to divide by.

    Args:
        failures: How many there are.
        unknown: How many of them have no known cause.
        scenarios: How many there are.
        clusters: How many there are; each is something to look at.
        unlabelled: How many of them hold no failure of known cause; not in any purity.
        noise: Share of failures in no cluster.
        purity: Largest share of one scenario in a cluster, the mean over clusters.
        weighted_purity: The same, weighted by failures of known cause.
        coverage: By threshold: share of scenarios with at least one cluster in which
            their share is that large.
        redundancy: By threshold: such clusters of each covered scenario, on average.
        cost: By threshold: all clusters, divided by the number of covered scenarios.
        information: Adjusted mutual information with the scenarios; noise is a cluster.
        clustered_information: The same among failures in clusters.
    """

    failures: int
    unknown: int
    scenarios: int
    clusters: int
    unlabelled: int
    noise: float
    purity: float | None
    weighted_purity: float | None
    coverage: Mapping[float, float]
    redundancy: Mapping[float, float | None]
    cost: Mapping[float, float | None]
    information: float | None
    clustered_information: float | None

    def as_record(self) -> dict[str, Any]:
        """Return plain data; thresholds become words."""
        by_threshold = ("coverage", "redundancy", "cost")
        record = asdict(self)
        return record | {
            name: {f"{key:g}": value for key, value in record[name].items()}
            for name in by_threshold
        }

    def numbers(self) -> dict[str, float | None]:
        """Return all that depends on which failure is in which cluster, by name."""
        found: dict[str, float | None] = {
            "purity": self.purity,
            "weighted purity": self.weighted_purity,
            "information": self.information,
            "clustered information": self.clustered_information,
        }
        named: tuple[tuple[str, Mapping[float, float | None]], ...] = (
            ("coverage", self.coverage),
            ("redundancy", self.redundancy),
            ("cost", self.cost),
        )
        for name, values in named:
            found |= {f"{name} at {key:g}": value for key, value in values.items()}
        return found


def score(
    clusters: Clusters,
    scenarios: NDArray[np.str_],
    *,
    parts: bool = False,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> Scores:
    """Score clusters against known causes.

    Args:
        clusters: One label for each failure.
        scenarios: The cause of each failure, or ``UNKNOWN``.
        parts: A failure of several causes counts for each of them, so that a cluster
            is of any cause it holds enough of; else combinations are scenarios. Not
            for `information`, which needs one label for each failure.
        thresholds: Purities to tell the coverage at.

    References:
        Attaoui, Fahmy, Pastore, Briand: DNN Explanation for Safety Analysis. arXiv
        2301.13506; sections on purity and coverage.
    """
    return scores_of(clusters, Truth.of(scenarios, parts=parts), thresholds)


def scores_of(
    clusters: Clusters, truth: Truth, thresholds: tuple[float, ...] = THRESHOLDS
) -> Scores:
    """Score clusters, as `score`, against causes that have been read already."""
    made = Composition.of(clusters, truth)
    some = len(made.known) > 0
    owned = {each: made.owned(each) for each in thresholds}
    covered = {each: int((own > 0).sum()) for each, own in owned.items()}
    labels, known = clusters.labels, truth.known
    inside = known & (labels != NOISE)
    return Scores(
        failures=len(truth),
        unknown=int((~known).sum()),
        scenarios=len(truth.names),
        clusters=clusters.count,
        unlabelled=made.unlabelled,
        noise=float((labels == NOISE).mean()),
        purity=float(made.purities.mean()) if some else None,
        weighted_purity=(
            float(np.average(made.purities, weights=made.known)) if some else None
        ),
        coverage={key: count / len(truth.names) for key, count in covered.items()},
        redundancy={
            key: _ratio(int(owned[key].sum()), count) for key, count in covered.items()
        },
        cost={key: _ratio(clusters.count, count) for key, count in covered.items()},
        information=_information(labels, truth, known),
        clustered_information=_information(labels, truth, inside),
    )


def _ratio(count: int, covered: int) -> float | None:
    return count / covered if covered else None


def _information(
    labels: NDArray[np.int64], truth: Truth, among: NDArray[np.bool_]
) -> float | None:
    return adjusted_information(crossed(labels[among], truth.kinds[among]))
