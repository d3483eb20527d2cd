"""Which of two is better, and how often: the effect size of Vargha and Delaney."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from stoic.causes.effects.runs import Floats, Runs

__all__ = ["Pair", "a12", "pairs"]

LARGE, MEDIUM, SMALL = 0.71, 0.64, 0.56


def a12(first: Floats, second: Floats) -> float:
    """Return how probably a score of the first is above one of the second.

    A tie is half of each, so that 0.5 means neither is better.

    References:
        Vargha, Delaney: A critique and improvement of the CL common language effect
        size statistics of McGraw and Wong. J. Educ. Behav. Stat. 25, 2000.
    """
    if not len(first) or not len(second):
        raise ValueError("scores must be at least one on either side, got none")
    ranks = rankdata(np.concatenate([first, second]))[: len(first)]
    least = len(first) * (len(first) + 1) / 2
    return float((ranks.sum() - least) / (len(first) * len(second)))


@dataclass(frozen=True)
class Pair:
    """Two levels, and how probably the first does better.

    Args:
        first: A level.
        second: Another.
        pooled: The probability over all rows.
        within: The same inside each block, the mean over blocks: free of what differs
            between cases.
    """

    first: str
    second: str
    pooled: float
    within: float

    @property
    def size(self) -> str:
        """The word of Vargha and Delaney for the pooled effect."""
        far = max(self.pooled, 1 - self.pooled)
        if far < SMALL:
            return "negligible"
        if far < MEDIUM:
            return "small"
        return "medium" if far < LARGE else "large"


def pairs(runs: Runs, names: Sequence[str], *, block: str = "case") -> tuple[Pair, ...]:
    """Compare all pairs of levels.

    Args:
        runs: The table.
        names: The factors whose levels, taken together, are compared.
        block: The factor within which scores can be compared.
    """
    labels, blocks = runs.joined(names), runs.column(block)
    found = []
    for first, second in combinations(np.unique(labels).tolist(), 2):
        one, other = labels == first, labels == second
        both = np.intersect1d(blocks[one], blocks[other])
        if not len(both):
            raise ValueError(
                f"{first} and {second} must share a {block}, got none they share"
            )
        inside = [
            a12(
                runs.scores[one & (blocks == each)],
                runs.scores[other & (blocks == each)],
            )
            for each in both
        ]
        pooled = a12(runs.scores[one], runs.scores[other])
        found.append(Pair(first, second, pooled, float(np.mean(inside))))
    return tuple(found)
