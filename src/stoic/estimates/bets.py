"""Bets against a supposed mean, each placed before its trial is seen.

A gambler who bets on the next share in a game that is fair if the supposed mean is the
true one multiplies his capital by 1 / level with probability at most ``level``. Means
against which he got that rich are rejected. How much he bets decides only how narrow
the interval is, never whether it holds; so he guesses freely from what he has seen.

References:
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    2023, sections 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from stoic.estimates.sample import Floats, Sample

__all__ = ["LOWER", "UPPER", "Bets", "History", "Side", "bets_on", "history"]

# The sign of a bet that the true mean is below the supposed one, or above it.
Side: TypeAlias = Literal[1, -1]
UPPER: Side = 1
LOWER: Side = -1

# What a bet may lose: all but this, so that no single trial ruins the gambler.
_STAKE = 0.98
# How near to 0 or 1 a rejected mean is expected, as a share of the way from the guess.
_EDGE = 0.04

Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(frozen=True)
class History:
    """Trials of all strata in one order, each with what was known before it.

    If the mean of a stratum is m, the mean of the faults that are left in it is
    ``grow * m - gone``.

    Args:
        share: Of failed inputs.
        stratum: Index of the stratum.
        grow: See above; 1 with replacement.
        gone: See above; 0 with replacement.
        mean: Guess at the mean of the stratum.
        variance: Guess at the variance within it.
        pooled_mean: Guess at the mean of the whole population.
        pooled_square: Guess at its mean square.
    """

    share: Floats
    stratum: Integers
    grow: Floats
    gone: Floats
    mean: Floats
    variance: Floats
    pooled_mean: Floats
    pooled_square: Floats


def history(samples: Sequence[Sample], side: Side) -> History:
    """Put the trials of all strata in one order, in proportion to their horizons."""
    shares = [s.high if side == UPPER else s.low for s in samples]
    progress = [(np.arange(s.n) + 0.5) / s.planned for s in samples]
    order = np.argsort(np.concatenate(progress), kind="stable")

    def ordered(parts: list[Floats]) -> Floats:
        return np.concatenate(parts)[order]

    stratum = np.repeat(np.arange(len(samples)), [s.n for s in samples])[order]
    share = ordered(shares)
    rank = ordered([np.arange(s.n, dtype=np.float64) for s in samples])
    total = ordered([_before(x) for x in shares])
    squares = ordered([_before(x * x) for x in shares])
    # As if a quarter of one trial had failed before the first.
    trials = np.arange(1.0, len(share) + 1)
    pooled_mean = (_before(share) + 0.25) / trials
    pooled_square = (_before(share * share) + 0.25) / trials
    if len(samples) == 1:
        mean, square = pooled_mean, pooled_square
    else:
        mean = (total + pooled_mean) / (rank + 1)
        square = (squares + pooled_square) / (rank + 1)
    size = np.array([s.finite or math.inf for s in samples])[stratum]
    left = np.where(np.isinf(size), math.inf, size - rank)
    return History(
        share=share,
        stratum=stratum,
        grow=np.where(np.isinf(size), 1.0, size / np.where(np.isinf(left), 1, left)),
        gone=total / left,
        mean=mean,
        variance=np.maximum(square - mean**2, 1e-4 * mean),
        pooled_mean=pooled_mean,
        pooled_square=pooled_square,
    )


@dataclass(frozen=True)
class Bets:
    """What is bet on each trial, whatever the supposed mean.

    Args:
        amount: Capital gained or lost per unit of share.
        against: The mean of the stratum that is expected to be rejected just so.
    """

    amount: Floats
    against: Floats


def bets_on(
    past: History, weights: Floats, strengths: Floats, side: Side, level: float
) -> Bets:
    """Return the best bets against a mean that the whole sample will just reject.

    All strata are bet on in the same proportion to their weight, or the limit would
    give way where less is at stake. The shares are taken for coins of one value.
    """
    scale = weights / strengths
    variance = _refreshed(past.variance, past.stratum, weights * scale)
    mean = _refreshed(past.mean, past.stratum, weights)
    coin = np.minimum(past.pooled_square / past.pooled_mean, 1.0)
    mean = np.minimum(mean, 0.999 * coin)
    away = _distance(mean, variance, coin * scale.max(), side, level)
    pull = scale[past.stratum] * past.grow * away / variance
    against = past.mean + side * pull * past.variance
    against = np.clip(against, _EDGE * past.mean, 1 - _EDGE * (1 - past.mean))
    # The variance at the supposed mean, in the place of that at the guessed mean.
    supposed = mean + side * away * past.grow
    supposed = np.clip(supposed, _EDGE * mean, coin - _EDGE * (coin - mean))
    amount = pull * mean * (coin - mean) / (supposed * (coin - supposed))
    loss = np.maximum(1 - against if side == UPPER else against, 1e-300)
    worst = loss if len(weights) == 1 else np.maximum.accumulate(loss)
    most = np.minimum(_STAKE / worst * scale[past.stratum] / scale.max(), _STAKE / loss)
    return Bets(np.minimum(amount, most), against)


def _distance(
    mean: Floats, variance: Floats, skew: Floats, side: Side, level: float
) -> Floats:
    """Guess how far from the mean the limit will be, by Bernstein's inequality."""
    needed = -math.log(level)
    away: Floats = np.sqrt(2 * needed * variance)
    if side == UPPER:
        skew = needed * skew / 3
        return skew + np.sqrt(skew**2 + away**2)
    return np.minimum(away, 0.8 * mean)


def _before(values: Floats) -> Floats:
    """The sum of the values before each."""
    return np.cumsum(values) - values


def _refreshed(values: Floats, stratum: Integers, weights: Floats) -> Floats:
    """The weighted sum over strata, each with its latest value."""
    order = np.argsort(stratum, kind="stable")
    sorted_values = values[order]
    first = np.concatenate([[True], stratum[order][1:] != stratum[order][:-1]])
    previous = np.where(first, values[0], np.concatenate([[0.0], sorted_values[:-1]]))
    changes = np.empty_like(values)
    changes[order] = weights[stratum[order]] * (sorted_values - previous)
    return float(values[0] * weights.sum()) + np.cumsum(changes)
