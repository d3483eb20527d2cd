"""From samples of strata to an estimate of the mean over all of their faults."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Literal, TypeAlias

import numpy as np

from stoic.estimates.bets import LOWER, UPPER
from stoic.estimates.betting import betting_limit
from stoic.estimates.coins import coin_lower, coin_upper, wilson
from stoic.estimates.design import design_limits
from stoic.estimates.estimate import Estimate, Kind
from stoic.estimates.sample import Floats, Sample

__all__ = ["Interval", "estimate_mean"]

Interval: TypeAlias = Literal["guaranteed", "approximate"]
_Limits: TypeAlias = tuple[float, float, Kind]


def estimate_mean(
    samples: Sequence[Sample],
    *,
    confidence: float = 0.95,
    interval: Interval = "guaranteed",
    about: str = "these inputs",
) -> Estimate:
    """Estimate the share of failed inputs, averaged over the faults of all strata.

    A stratum with every fault tried adds nothing to the width; one without trials adds
    all of its weight. One stratum of coins gets exact limits.

    Args:
        samples: One per stratum.
        confidence: That the interval covers the mean; 0.90 gives limits that are
            one-sided 95 % limits.
        interval: ``approximate`` is narrower; it needs many trials and some failures.
        about: What varies, and what is held fixed.

    Raises:
        ValueError: There are no trials, or the confidence is none.
    """
    n = sum(s.n for s in samples)
    if n < 1:
        raise ValueError("an estimate must have at least 1 trial, got 0")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    weights = _weights([s.size for s in samples])
    drawn = [i for i, s in enumerate(samples) if s.n and not s.complete]
    low = fsum(w * _low(s) for w, s in zip(weights, samples, strict=True))
    high = fsum(w * _high(s) for w, s in zip(weights, samples, strict=True))
    value = _value(samples, weights)
    kind: Kind = "census" if all(s.complete for s in samples) else "guaranteed"
    if drawn:
        limits = _approximate if interval == "approximate" else _guaranteed
        part = float(weights[drawn].sum())
        chosen = [samples[i] for i in drawn]
        below, above, kind = limits(chosen, weights[drawn] / part, confidence)
        low, high = low + part * below, high + part * above
    # After trials in a bad order their mean may lie outside of what bets leave.
    value = min(max(value, 0.0), 1.0)
    low, high = max(0.0, min(low, value)), min(1.0, max(high, value))
    return Estimate(value, low, high, n, confidence, kind, about)


def _weights(sizes: Sequence[int]) -> Floats:
    # Sizes may be beyond any float; their quotients are not.
    total = sum(sizes)
    return np.array([size / total for size in sizes])


def _value(samples: Sequence[Sample], weights: Floats) -> float:
    """The mean over the strata that have trials."""
    tried = np.array([s.n > 0 for s in samples])
    value = fsum(w * s.value for w, s in zip(weights, samples, strict=True) if s.n)
    return value if tried.all() else value / float(weights[tried].sum())


def _low(sample: Sample) -> float:
    """What a stratum adds for certain: something only where every fault was tried."""
    return float(sample.low.mean()) if sample.complete else 0.0


def _high(sample: Sample) -> float:
    """What it can add at most, where no interval will say more."""
    if sample.complete:
        return float(sample.high.mean())
    return 0.0 if sample.n else 1.0


def _guaranteed(
    samples: Sequence[Sample], weights: Floats, confidence: float
) -> _Limits:
    level = (1 - confidence) / 2
    if len(samples) == 1 and samples[0].coins:
        (sample,) = samples
        failed, possibly = round(sample.low.sum()), round(sample.high.sum())
        low = coin_lower(failed, sample.n, sample.finite, level)
        high = coin_upper(possibly, sample.n, sample.finite, level)
        return low, high, "exact"
    low = betting_limit(samples, weights, LOWER, level)
    high = betting_limit(samples, weights, UPPER, level)
    return low, high, "guaranteed"


def _approximate(
    samples: Sequence[Sample], weights: Floats, confidence: float
) -> _Limits:
    known = all((s.low == s.high).all() for s in samples)
    if len(samples) == 1 and samples[0].coins and known:
        (sample,) = samples
        failed = round(sample.low.sum())
        return *wilson(failed, sample.n, sample.finite, confidence), "approximate"
    if limits := design_limits(samples, weights, confidence):
        return *limits, "approximate"
    return _guaranteed(samples, weights, confidence)
