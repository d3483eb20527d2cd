"""Guaranteed limits of the mean of shares: they hold at any number of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stoic.estimates.bets import UPPER, Bets, History, Side, bets_on, history
from stoic.estimates.sample import Floats, Sample

__all__ = ["betting_limit", "capital_lines"]

# Sums kept while looking back, over all strata; few strata are looked at more often.
_LOOKS = 1 << 20


def betting_limit(
    samples: Sequence[Sample], weights: Floats, side: Side, level: float
) -> float:
    """Return the limit of a weighted mean of strata, wrong with probability ``level``.

    It holds at every number of trials at once: looking at each batch, and stopping on
    what is seen, leaves the probability as it is.

    The capitals of all strata are multiplied. Each is replaced by a smaller one whose
    logarithm is linear in the supposed mean of its stratum, so that the extreme of the
    weighted mean, over all means that are not rejected together, is found exactly.
    """
    past = history(samples, side)
    strengths = np.array([s.strength for s in samples])
    bets = bets_on(past, weights, strengths, side, level)
    capital, slopes = capital_lines(past, bets, side, len(samples))
    budgets = side * (-math.log(level) - capital)
    low, high = _reach(samples, side)
    limits = _extremes(weights, slopes, low, high, budgets, side)
    return float(limits.min() if side == UPPER else limits.max())


def capital_lines(
    past: History, bets: Bets, side: Side, strata: int
) -> tuple[Floats, Floats]:
    """The log capital at several moments, had all strata supposed mean 0; its slopes.

    On average, 1 + b (a - share) is 1 + b (a - true) for any a, and this at most
    exp(b (a - true)): the quotient is a capital, and linear is all but a constant.
    """
    gains = np.log1p(side * bets.amount * (bets.against - past.share))
    gains -= side * bets.amount * (bets.against + past.gone)
    n = len(gains)
    count = min(n, max(32, _LOOKS // strata))
    looks = np.ceil(np.linspace(0, n, count + 1)[1:]).astype(np.int64)
    segment = np.searchsorted(looks, np.arange(n), side="right")
    cell = segment * strata + past.stratum
    slopes = np.bincount(cell, bets.amount * past.grow, count * strata)
    return np.cumsum(gains)[looks - 1], slopes.reshape(count, strata).cumsum(axis=0)


def _reach(samples: Sequence[Sample], side: Side) -> tuple[Floats, Floats]:
    """What logic leaves: faults that were not tried fail for no input, or for all."""
    low, high = np.zeros(len(samples)), np.ones(len(samples))
    for index, sample in enumerate(samples):
        if sample.finite is not None:
            shares = sample.high if side == UPPER else sample.low
            low[index] = shares.sum() / sample.finite
            high[index] = low[index] + (sample.finite - sample.n) / sample.finite
    return low, high


def _extremes(
    weights: Floats,
    slopes: Floats,
    low: Floats,
    high: Floats,
    budgets: Floats,
    side: Side,
) -> Floats:
    """Per moment, the extreme weighted mean of which no more than the budget is spent.

    Upper: the largest with ``slopes @ means <= budget``. Lower: the smallest with
    ``slopes @ means >= budget``. Strata are filled in the order of their worth.
    """
    with np.errstate(divide="ignore"):
        order = np.argsort(-side * weights / slopes, axis=1)
    room = high - low
    cost = np.take_along_axis(slopes * room, order, axis=1)
    left = budgets - slopes @ low
    left = left[:, None] - (np.cumsum(cost, axis=1) - cost)
    filled = np.clip(left / np.maximum(cost, 1e-300), 0.0, 1.0)
    worth = (weights * room)[order]
    limits: Floats = weights @ low + (worth * filled).sum(axis=1)
    return limits
