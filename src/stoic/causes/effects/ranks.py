"""Which levels rank before others over many blocks: Friedman and Nemenyi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import chi2, rankdata, studentized_range

from stoic.causes.effects.runs import Runs

__all__ = ["Ranking", "critical_difference", "ranking"]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over blocks, the best first.

    Args:
        levels: What is ranked, the best first.
        ranks: The mean rank of each; 1 is best.
        blocks: How many there are.
        statistic: Of Friedman, corrected for ties.
        p: The chance of ranks so far apart if no level were better than another.
        critical: Two mean ranks that differ by more are different (Nemenyi).
    """

    levels: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    statistic: float
    p: float
    critical: float

    @property
    def as_good(self) -> tuple[str, ...]:
        """The levels not shown to rank behind the best."""
        return tuple(
            level
            for level, rank in zip(self.levels, self.ranks, strict=True)
            if rank - self.ranks[0] <= self.critical
        )


def critical_difference(levels: int, blocks: int, *, level: float = 0.05) -> float:
    """Return by how much mean ranks must differ, all pairs compared at once.

    References:
        Demšar: Statistical comparisons of classifiers over multiple data sets. JMLR 7,
        2006; section 3.2.2.
    """
    quantile = float(studentized_range.ppf(1 - level, levels, np.inf)) / sqrt(2)
    return quantile * sqrt(levels * (levels + 1) / (6 * blocks))


def ranking(
    runs: Runs, names: Sequence[str], blocks: Sequence[str], *, level: float = 0.05
) -> Ranking:
    """Rank the levels of some factors within each block, the highest score first.

    Args:
        runs: The table; each level has as many rows in each block.
        names: The factors whose levels, taken together, are ranked.
        blocks: The factors whose levels, taken together, are blocks: such as case and
            seed. Scores of one level in one block are averaged first.
        level: At which ranks must differ.
    """
    table = Runs(
        {"level": runs.joined(names), "block": runs.joined(blocks)}, runs.scores
    )
    scores = table.cells(("block", "level")).mean(axis=-1)
    count, levels = scores.shape
    if levels < 2 or count < 2:
        raise ValueError(
            "a ranking must be of at least 2 levels in 2 blocks, "
            f"got {levels} in {count}"
        )
    ranks = rankdata(-scores, axis=1)
    means = ranks.mean(axis=0)
    # The variance of the ranks as they are, which ties make smaller.
    spread = float(ranks.var(axis=1, ddof=1).mean())
    between = float(((means - (levels + 1) / 2) ** 2).sum())
    statistic = count * between / spread if spread else 0.0
    order = np.argsort(means, kind="stable")
    named = table.levels("level")
    return Ranking(
        tuple(named[place] for place in order),
        tuple(means[order].tolist()),
        count,
        statistic,
        float(chi2.sf(statistic, levels - 1)),
        critical_difference(levels, count, level=level),
    )
