"""Ranger as a detector: a value outside of its golden range.

References:
    Chen, Li and Pattabiraman, A low-cost fault corrector for deep neural networks
    through range restriction, 2021. There values are restricted to the range; here
    leaving it is a sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stoic.monitors.baselines.detector import as_scores, clean_rows, needed, parted
from stoic.monitors.bounds import Floats
from stoic.monitors.traces import Traces

__all__ = ["Ranger", "fit_ranger"]

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Ranger:
    """The range of each value in fault-free runs.

    Args:
        features: Least and largest numbers of values.
        limit: Of each: the least of the least, the largest of the largest.
        width: Of the range of its value.
        sign: 1 for a largest number, -1 for a least one.
    """

    features: tuple[str, ...]
    limit: Floats
    width: Floats
    sign: Floats
    name: str = "ranger"

    def score(self, traces: Traces) -> Floats:
        """Return by how many widths any value leaves its range at most, float32.

        Below 0 where none does.
        """
        chosen = traces.columns(self.features)
        with np.errstate(over="ignore", invalid="ignore"):
            beyond = self.sign * (chosen.values.astype(float) - self.limit)
            return as_scores((beyond / self.width).max(1), chosen.finite)


def fit_ranger(traces: Traces) -> Ranger:
    """Take the range of each value from fault-free rows.

    Raises:
        ValueError: No features of the marker Extremes, or too few fault-free rows.
    """
    ends = needed(traces, lambda name: name in ("least", "largest"), "Extremes")
    clean = clean_rows(ends).values
    top = np.array([parted(name)[0] == "largest" for name in ends.features])
    limit = np.where(top, clean.max(0), clean.min(0))
    by_name = dict(zip(ends.features, limit.tolist(), strict=True))
    width = [_width(by_name, parted(name)[1]) for name in ends.features]
    return Ranger(
        ends.features,
        limit.astype(np.float32),
        np.array(width, np.float32),
        np.where(top, 1, -1).astype(np.float32),
    )


def _width(limits: dict[str, float], value: str) -> float:
    """Return the width of a range; where only one end is watched, that end's size."""
    low = limits.get(f"least of {value}")
    high = limits.get(f"largest of {value}")
    if low is None or high is None:
        return max(abs(low or 0.0), abs(high or 0.0), _TINY)
    return max(high - low, _TINY)
