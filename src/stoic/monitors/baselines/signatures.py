"""Signatures of distributions: how far each layer is from its golden profile.

A restatement of the idea on markers: the earth mover's distance between the quantiles
of a layer and golden ones, and how far its ends leave the golden ends. Which neurons
are extreme is not looked at, as markers do not tell.

References:
    Ma, Lin, Desmaison et al., Dr. DNA: combating silent data corruptions in deep
    learning using distribution of neuron activations, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.baselines.detector import (
    as_scores,
    clean_rows,
    needed,
    parted,
)
from stoic.monitors.bounds import Floats
from stoic.monitors.traces import Traces

__all__ = ["Profile", "Signatures", "fit_signatures", "moved"]

_TINY = 1e-12
_MOST = 1e30


@dataclass(frozen=True, eq=False)
class Profile:
    """What quantiles of one value look like in fault-free runs.

    Args:
        columns: Of its quantiles among the features, by rising level.
        levels: Of them.
        golden: Mean of each.
        ends: Least of the lowest quantile and largest of the highest.
        usual: Mean and standard deviation of the distance to ``golden``.
    """

    columns: tuple[int, ...]
    levels: NDArray[np.float64]
    golden: NDArray[np.float64]
    ends: tuple[float, float]
    usual: tuple[float, float]

    def strange(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how unusual each row is: distance and ends, in golden units."""
        quantiles = features[:, self.columns]
        mean, spread = self.usual
        distance = (moved(quantiles, self.golden, self.levels) - mean) / spread
        low, high = self.ends
        width = max(high - low, _TINY)
        beyond = np.maximum(low - quantiles[:, 0], quantiles[:, -1] - high) / width
        # Noise of inputs within the range says nothing beside the distance.
        return np.asarray(np.maximum(distance, 0) + np.maximum(beyond, 0))


@dataclass(frozen=True, eq=False)
class Signatures:
    """Profiles of values.

    Args:
        features: Quantiles of values.
        profiles: One per value and marker.
    """

    features: tuple[str, ...]
    profiles: tuple[Profile, ...]
    name: str = "signatures"

    def score(self, traces: Traces) -> Floats:
        """Return the sum over all values of how unusual each is, float32."""
        chosen = traces.columns(self.features)
        values = np.nan_to_num(chosen.values.astype(float), posinf=_MOST, neginf=-_MOST)
        strange = sum(profile.strange(values) for profile in self.profiles)
        return as_scores(np.asarray(strange), chosen.finite)


def fit_signatures(traces: Traces) -> Signatures:
    """Take the profile of each value from fault-free rows.

    Raises:
        ValueError: No features of the markers Quantiles or ChannelQuantiles, values
            with fewer than two of them, or too few fault-free rows.
    """
    chosen = needed(traces, lambda name: _level(name) is not None, "Quantiles")
    clean = clean_rows(chosen).values.astype(float)
    together = _together(chosen.features)
    for value, columns in together.items():
        if len(columns) < 2:
            raise ValueError(
                f"{value} must have at least 2 quantiles for a distance, got 1; "
                "collect more levels"
            )
    profiles = [_profile(clean, chosen.features, c) for c in together.values()]
    return Signatures(chosen.features, tuple(profiles))


def moved(
    quantiles: NDArray[np.float64],
    golden: NDArray[np.float64],
    levels: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the earth mover's distance of each row to a golden distribution.

    Exact for distributions whose quantiles are linear between the levels.

    Args:
        quantiles: Of shape ``(rows, levels)``.
        golden: Of shape ``(levels,)``.
        levels: Rising, between 0 and 1.
    """
    away = quantiles - golden
    first, second = away[:, :-1], away[:, 1:]
    both = np.abs(first) + np.abs(second)
    crossing = (first**2 + second**2) / np.maximum(both, _TINY)
    area = np.where(first * second < 0, crossing, both) / 2
    return np.asarray(area @ np.diff(levels))


def _profile(
    clean: NDArray[np.float64], features: tuple[str, ...], columns: list[int]
) -> Profile:
    level = {column: _level(parted(features[column])[0]) or 0.0 for column in columns}
    ordered = sorted(columns, key=level.__getitem__)
    own = clean[:, ordered]
    levels = np.array([level[column] for column in ordered])
    golden = own.mean(0)
    usual = moved(own, golden, levels)
    return Profile(
        columns=tuple(ordered),
        levels=levels,
        golden=golden,
        ends=(float(own[:, 0].min()), float(own[:, -1].max())),
        usual=(float(usual.mean()), max(float(usual.std()), _TINY)),
    )


def _together(features: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the columns of each set of quantiles: of one value by one marker."""
    found: dict[str, list[int]] = {}
    for column, feature in enumerate(features):
        name, value = parted(feature)
        marker = name.rpartition(" ")[0]
        found.setdefault(f"{marker} {value}".strip(), []).append(column)
    return found


def _level(name: str) -> float | None:
    """Return the level of a quantile by its name, such as ``1/64 q90``."""
    last = name.rpartition(" ")[2]
    try:
        return float(last[1:]) / 100 if last.startswith("q") else None
    except ValueError:
        return None
