"""How many trials each stratum deserves, from what is known of it so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stoic.plans.steps import Floats

__all__ = ["Allocation", "Goal", "allocate", "deviations"]

# How much of the variance, or of the bets, goes to strata without a failure: tried.
_GRID = np.geomspace(1.05, 2.0, 40)
_PARTS = np.geomspace(0.02, 0.9, 60)
# Of all trials, those that go by size alone, so that no stratum is out of reach.
_FLOOR = 0.02
# What a single outcome may take of the capital of a bet.
STAKE = 0.95


@dataclass(frozen=True)
class Goal:
    """What an estimate shall be like.

    Args:
        half_width: Half the width of its interval.
        guaranteed: Whether the interval must be guaranteed, not approximate.
        confidence: Of the interval.
    """

    half_width: float
    guaranteed: bool
    confidence: float = 0.95

    @property
    def wager(self) -> float:
        """Logarithm of the capital that a bet must reach on one side."""
        return math.log(2 / (1 - self.confidence))

    @property
    def variance(self) -> float:
        """Variance at which an approximate interval is narrow enough."""
        from scipy.special import ndtri

        return float(self.half_width / ndtri((1 + self.confidence) / 2)) ** 2


@dataclass(frozen=True)
class Allocation:
    """How trials are spread over strata.

    Args:
        chances: Probability of drawing from each stratum.
        trials: How many trials the goal is expected to need.
        stake: Amount to bet per trial.
    """

    chances: Floats
    trials: float
    stake: float


def deviations(count: Floats, total: Floats, squares: Floats, hint: Floats) -> Floats:
    """Return the standard deviation of shares in each stratum, for planning.

    As if each stratum had one trial more, of which a part ``hint`` failed.
    """
    mean = (total + hint) / (count + 1)
    square = (squares + hint) / (count + 1)
    return np.sqrt(np.maximum(square - mean**2, 1e-12))


def allocate(
    weights: Floats, spreads: Floats, quiet: np.ndarray, goal: Goal
) -> Allocation:
    """Spread trials so that the goal needs as few as it can.

    Strata with failures share theirs as Neyman says. Those without, whose variance
    nobody knows, are one pool, with as many as the goal needs for its bound.

    Args:
        weights: Units left of each stratum, as a part of the population.
        spreads: Standard deviation of the shares in each stratum.
        quiet: Which strata have had no failure so far.
        goal: What is wanted.
    """
    loud = np.where(quiet, 0.0, weights * spreads)
    active, silent = float(loud.sum()), float(weights[quiet].sum())
    needed = (_guaranteed if goal.guaranteed else _approximate)(active, silent, goal)
    spread_out = weights / weights.sum()
    total = max(needed.loud + needed.silent, 1.0)
    chances = np.where(quiet, needed.silent * weights / max(silent, 1e-300), 0.0)
    chances += needed.loud * loud / max(active, 1e-300)
    chances = chances / max(float(chances.sum()), 1e-300)
    chances = (1 - _FLOOR) * chances + _FLOOR * spread_out
    chances /= chances.sum()
    some = weights > 0
    widest = float((weights[some] / chances[some]).max())
    return Allocation(chances, total, min(needed.bets / total, STAKE / widest))


@dataclass(frozen=True)
class _Needed:
    """Trials for strata with failures and for those without, and all that is bet."""

    loud: float
    silent: float
    bets: float


def _approximate(active: float, silent: float, goal: Goal) -> _Needed:
    """Trials by the variance that is allowed."""
    bets = 2 * goal.wager / goal.half_width
    if not silent:
        return _Needed(active**2 / goal.variance, 0.0, bets)
    # Without a failure in n trials, the variance is that of half a failure in them.
    few = silent * np.sqrt(0.5 / (_PARTS * goal.variance))
    many = active**2 / ((1 - _PARTS) * goal.variance)
    best = int(np.argmin(few + many))
    return _Needed(float(many[best]), float(few[best]), bets)


def _guaranteed(active: float, silent: float, goal: Goal) -> _Needed:
    """Trials by the capital that bets must win.

    Bets of ``b`` in all win ``b`` times the half width, and lose half of ``b**2`` times
    the variance of the mean. A stratum without failures must be drawn so often that one
    failure there could be paid.
    """
    bets = goal.wager / goal.half_width * _GRID
    few = bets * silent / STAKE
    many = (bets * active) ** 2 / (2 * (bets * goal.half_width - goal.wager))
    best = int(np.argmin(few + many))
    return _Needed(float(many[best]), float(few[best]), float(bets[best]))
