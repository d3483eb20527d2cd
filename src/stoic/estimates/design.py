"""Approximate limits from the variance of the design, with Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stoic.estimates.sample import Floats, Sample

__all__ = ["design_limits", "student"]


def design_limits(
    samples: Sequence[Sample], weights: Floats, confidence: float
) -> tuple[float, float] | None:
    """Return the limits of a weighted mean of strata, narrowed for finite populations.

    A stratum whose shares are all equal is not taken to have no variance, but that of
    coins of which half a one had fallen otherwise. There are no limits where all
    shares are equal, or a stratum has a single trial: then nothing shows the variance.

    References:
        Cochran, Sampling techniques, 1977, sections 2.6 and 5.4.
    """
    if any(s.n < 2 for s in samples) or not any(_varies(s) for s in samples):
        return None
    parts = np.array(
        [
            weight**2 * _variance(sample) * _left(sample) / sample.n
            for sample, weight in zip(samples, weights, strict=True)
        ]
    )
    total = float(parts.sum())
    # Satterthwaite's degrees of freedom.
    free = total**2 / float((parts**2 / [s.n - 1 for s in samples]).sum())
    half = student(confidence, free) * math.sqrt(total)
    low = float(weights @ [s.low.mean() for s in samples]) - half
    high = float(weights @ [s.high.mean() for s in samples]) + half
    return max(low, 0.0), min(high, 1.0)


def student(confidence: float, free: float) -> float:
    """Return the quantile of Student's t for a two-sided interval."""
    from scipy.special import stdtrit

    return float(stdtrit(free, (1 + confidence) / 2))


def _varies(sample: Sample) -> bool:
    return bool(
        (sample.high != sample.high[0]).any() or sample.low[0] != sample.high[0]
    )


def _variance(sample: Sample) -> float:
    if not _varies(sample):
        share = (float(sample.high.sum()) + 0.5) / (sample.n + 1)
        return share * (1 - share)
    return max(float(sample.low.var(ddof=1)), float(sample.high.var(ddof=1)))


def _left(sample: Sample) -> float:
    return 1.0 if sample.finite is None else 1 - sample.n / sample.finite
