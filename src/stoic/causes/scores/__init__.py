"""Scores: what clusters are worth where the cause of each failure is known.

`score` tells purity, coverage, redundancy and information, `baseline` the same of
random clusters; `inspection` counts images until every scenario has been seen, in an
order such as that of `Turns`; `missing` tells how probably one never is, `needed` how
many images make that seldom, and `stability_of_seeds` whether clusters come again.
"""

from stoic.causes.scores.baseline import Baseline, baseline
from stoic.causes.scores.composition import Composition, Owner
from stoic.causes.scores.draws import Draws
from stoic.causes.scores.inspection import Inspection, inspection
from stoic.causes.scores.missing import Missing, Needed, missing, needed
from stoic.causes.scores.orders import (
    AtRandom,
    FarthestFirst,
    Novelty,
    Order,
    RoundRobin,
    Turns,
    typical,
)
from stoic.causes.scores.scoring import PURE, THRESHOLDS, Scores, score, scores_of
from stoic.causes.scores.seen import RandomOrder, first_seen, until_all
from stoic.causes.scores.stability import (
    Fit,
    Stability,
    stability_of_samples,
    stability_of_seeds,
)
from stoic.causes.scores.truth import JOIN, Truth

__all__ = [
    "JOIN",
    "PURE",
    "THRESHOLDS",
    "AtRandom",
    "Baseline",
    "Composition",
    "Draws",
    "FarthestFirst",
    "Fit",
    "Inspection",
    "Missing",
    "Needed",
    "Novelty",
    "Order",
    "Owner",
    "RandomOrder",
    "RoundRobin",
    "Scores",
    "Stability",
    "Truth",
    "Turns",
    "baseline",
    "first_seen",
    "inspection",
    "missing",
    "needed",
    "score",
    "scores_of",
    "stability_of_samples",
    "stability_of_seeds",
    "typical",
    "until_all",
]
