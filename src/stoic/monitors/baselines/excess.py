"""Checksums as a detector over traces, beside all others.

`stoic.monitors.checksum` computes the features; here they are only read.
"""

from __future__ import annotations

from dataclasses import dataclass

from stoic.monitors.baselines.detector import as_scores, needed
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import EXCESS
from stoic.monitors.traces import Traces

__all__ = ["Excess", "fit_excess"]


@dataclass(frozen=True)
class Excess:
    """The largest excess of a checksum.

    Args:
        features: Excess of each layer: its deviation as a multiple of the tolerance.
    """

    features: tuple[str, ...]
    name: str = "checksums"

    def score(self, traces: Traces) -> Floats:
        """Return the largest excess over all layers, float32; above 1 is an alarm."""
        chosen = traces.columns(self.features)
        return as_scores(chosen.values.max(1), chosen.finite)


def fit_excess(traces: Traces) -> Excess:
    """Return the detector; tolerances were found when checksums were fitted.

    Raises:
        ValueError: Traces have no such features.
    """
    return Excess(needed(traces, lambda name: name == EXCESS, "Checksums").features)
