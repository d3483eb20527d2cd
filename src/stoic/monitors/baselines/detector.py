"""What every detector has in common: a score per inference, from its traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats
from stoic.monitors.traces import NOTHING, Traces

__all__ = ["Detector", "as_scores", "clean_rows", "needed", "of_values", "parted"]

_MOST = float(np.finfo(np.float32).max)


class Detector(Protocol):
    """Says how likely each inference went wrong. Always fitted: a function makes it."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Features that it reads; none where the network's scores are enough."""
        ...

    def score(self, traces: Traces) -> Floats:
        """Return one score per row, float32; more is more likely wrong; never NaN."""
        ...


def parted(feature: str) -> tuple[str, str]:
    """Return the marker's own name of a feature, and the value that it is of."""
    name, _, value = feature.partition(" of ")
    return name, value


def needed(traces: Traces, wanted: Callable[[str], bool], marker: str) -> Traces:
    """Return the features whose own names are wanted.

    Args:
        traces: To take them from.
        wanted: Of the name without its value, such as ``q90``.
        marker: That makes such features, for the message.

    Raises:
        ValueError: There is none.
    """
    names = [feature for feature in traces.features if wanted(parted(feature)[0])]
    if not names:
        raise ValueError(
            f"traces must have features of the marker {marker}, got none such among "
            f"{len(traces.features)}; collect them with it"
        )
    return traces.columns(names)


def of_values(features: Sequence[str]) -> dict[str, list[int]]:
    """Return the columns of each watched value, in order."""
    found: dict[str, list[int]] = {}
    for column, feature in enumerate(features):
        found.setdefault(parted(feature)[1], []).append(column)
    return found


def clean_rows(traces: Traces) -> Traces:
    """Return the rows to which nothing was done.

    Raises:
        ValueError: There are fewer than two, or one has a feature that is no number.
    """
    clean = traces.rows(traces.origin.kind == NOTHING)
    if len(clean) < 2:
        raise ValueError(
            "traces must have at least 2 fault-free rows to learn from, got "
            f"{len(clean)}; collect them with more inputs"
        )
    if not clean.finite.all():
        raise ValueError(
            "features of fault-free rows must be finite, got "
            f"{int((~clean.finite).sum())} rows that are not; leave these inputs out"
        )
    return clean


def as_scores(scores: NDArray[np.floating], finite: NDArray[np.bool_]) -> Floats:
    """Return scores as float32; infinite where a row could not be judged by numbers.

    Args:
        scores: Of shape ``(rows,)``.
        finite: Which rows have numbers only.
    """
    kept = np.where(finite & ~np.isnan(scores), scores, np.inf)
    large = np.clip(kept, -_MOST, _MOST).astype(np.float32)
    return np.where(kept == np.inf, np.float32(np.inf), large)
