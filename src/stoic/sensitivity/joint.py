"""The joint table: layers beside each other under every number there is of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

__all__ = ["Agreement", "Joint", "joint_table"]

_DRAWS = 1000
# Fewer layers have no order to speak of.
_FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """How far two numbers put the same layers into the same order.

    Args:
        first: Name of the one.
        second: Of the other.
        spearman: Correlation of the ranks.
        low: Its 95 % limit, layers drawn again and again.
        high: The same.
        kendall: Share of pairs in the same order less that in the other one.
        layers: That have both numbers.
    """

    first: str
    second: str
    spearman: float
    low: float
    high: float
    kendall: float
    layers: int


@dataclass(frozen=True)
class Joint:
    """Numbers of layers.

    Args:
        layers: Names, in the order of the network.
        columns: By what they say, one number per layer; NaN where there is none.
    """

    layers: tuple[str, ...]
    columns: Mapping[str, tuple[float, ...]]

    def ranked(self, column: str) -> tuple[str, ...]:
        """Return the layers that have this number, the largest first."""
        numbers = dict(zip(self.layers, self.columns[column], strict=True))
        known = [layer for layer in self.layers if not np.isnan(numbers[layer])]
        return tuple(sorted(known, key=lambda layer: -numbers[layer]))

    def agreements(self, seed: int = 0) -> tuple[Agreement, ...]:
        """Return how any two columns agree, where enough layers have both.

        Args:
            seed: Of the layers drawn for the limits.
        """
        pairs = [
            (_pair(self.columns, a, b), a, b) for a, b in combinations(self.columns, 2)
        ]
        return tuple(
            _agreement(both, first, second, seed)
            for both, first, second in pairs
            if both.shape[1] >= _FEWEST
        )


def joint_table(
    columns: Mapping[str, Mapping[str, float]], layers: tuple[str, ...] = ()
) -> Joint:
    """Return layers with all that is known of them.

    Args:
        columns: By what they say, numbers by layer; more is more vulnerable.
        layers: Their order; by default that in which they are first named.
    """
    named = layers or tuple(dict.fromkeys(n for own in columns.values() for n in own))
    return Joint(
        named,
        {
            name: tuple(float(own.get(layer, np.nan)) for layer in named)
            for name, own in columns.items()
        },
    )


def _pair(
    columns: Mapping[str, tuple[float, ...]], first: str, second: str
) -> NDArray[np.float64]:
    both = np.array([columns[first], columns[second]])
    return np.asarray(both[:, ~np.isnan(both).any(0)])


def _agreement(
    both: NDArray[np.float64], first: str, second: str, seed: int
) -> Agreement:
    chance = np.random.default_rng(seed)
    count = both.shape[1]
    drawn = [
        _spearman(both[:, chance.integers(0, count, count)]) for _ in range(_DRAWS)
    ]
    low, high = (
        np.nanquantile(drawn, (0.025, 0.975))
        if np.isfinite(drawn).any()
        else (np.nan, np.nan)
    )
    kendall = float(kendalltau(both[0], both[1]).statistic)
    return Agreement(
        first, second, _spearman(both), float(low), float(high), kendall, count
    )


def _spearman(both: NDArray[np.float64]) -> float:
    """Return the rank correlation; NaN where one side is all alike."""
    if any((side == side[0]).all() for side in both):
        return float("nan")
    return float(spearmanr(both[0], both[1]).statistic)
