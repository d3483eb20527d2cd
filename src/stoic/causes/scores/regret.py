"""Regret: what choosing parameters without knowing a cause costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoic.causes.pipeline import Clusters
from stoic.causes.scores.composition import Composition
from stoic.causes.scores.scoring import PURE
from stoic.causes.scores.truth import Truth

__all__ = ["Regret", "regret"]


@dataclass(frozen=True)
class Regret:
    """How far what was chosen is from what could have been chosen.

    The best candidate is that of the largest purity and coverage together, so one of
    the two may be less than none.

    Args:
        purity: Of the best candidate, less the one of what was chosen.
        coverage: Likewise, at 90 % purity.
    """

    purity: float
    coverage: float


def regret(chosen: Clusters, candidates: Sequence[Clusters], truth: Truth) -> Regret:
    """Return what a choice costs.

    Args:
        chosen: What was taken.
        candidates: What there was to choose from; nothing is regretted if none.
        truth: The causes of the failures.
    """
    own = _worth(chosen, truth)
    best = max((own, *(_worth(each, truth) for each in candidates)), key=sum)
    return Regret(best[0] - own[0], best[1] - own[1])


def _worth(clusters: Clusters, truth: Truth) -> tuple[float, float]:
    made = Composition.of(clusters, truth)
    purity = float(made.purities.mean()) if len(made.known) else 0.0
    return purity, float((made.owned(PURE) > 0).mean())
