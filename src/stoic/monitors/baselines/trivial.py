"""The least a detector can do: a non-finite number, or one above all golden ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stoic.monitors.baselines.detector import clean_rows, needed
from stoic.monitors.bounds import Floats
from stoic.monitors.traces import Traces

__all__ = ["Trivial", "fit_trivial"]


@dataclass(frozen=True, eq=False)
class Trivial:
    """Watches the largest number of each value. Always shown beside others.

    Args:
        features: Largest numbers of values.
        high: Largest of each in fault-free runs.
    """

    features: tuple[str, ...]
    high: Floats
    name: str = "trivial"

    def score(self, traces: Traces) -> Floats:
        """Return 1 where any feature is no number or too large, else 0; float32."""
        values = traces.columns(self.features).values
        fine = np.isfinite(values) & (values <= self.high)
        return np.asarray(~fine.all(1) | ~traces.finite, np.float32)


def fit_trivial(traces: Traces) -> Trivial:
    """Take the golden maximum of each value from fault-free rows.

    Raises:
        ValueError: No features of the marker Extremes, or too few fault-free rows.
    """
    largest = needed(traces, lambda name: name == "largest", "Extremes")
    return Trivial(largest.features, clean_rows(largest).values.max(0))
