"""Chances: from drifts to how likely a fault turns a verdict, and how true that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.estimates.coins import wilson

__all__ = ["Curve", "Reliability", "chances", "reliability"]

# Classes without slopes of their own are looked at in so many groups by their lead.
_GROUPS = 16
# So few rivals tell nothing of the drifts towards other classes.
_FEWEST = 4
_TINY = 1e-30


@dataclass(frozen=True)
class Curve:
    """How likely a drift turns a verdict: a logistic curve over its logarithm.

    Args:
        steepness: Infinite for a network that were a straight line.
        shift: 0 where a drift of 1 turns half of the verdicts.
        ceiling: Share of verdicts that the largest drifts turn.
    """

    # Fitted to all faults of digits: ``python -m benchmarks.predicted --fit``.
    steepness: float = 19.2
    shift: float = 0.03
    ceiling: float = 0.992

    def __call__(self, drift: Tensor) -> Tensor:
        """Return the chances; 0 where a rival falls behind."""
        logs = drift.clamp(min=_TINY).log()
        found = torch.sigmoid(self.steepness * logs + self.shift) * self.ceiling
        return found.masked_fill(drift <= 0, 0.0)


def chances(
    drift: Tensor,
    leads: Tensor,
    others: Tensor,
    lost: int,
    curve: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return how likely a verdict turns.

    Classes without a slope of their own are reckoned to drift as the rivals do: in
    absolute numbers, with their mean and spread, each by itself.

    Args:
        drift: Towards each rival, ``[..., rivals]``, or the one that decides.
        leads: Over each.
        others: Over classes that have no slopes.
        lost: So many rivals must overtake; 0 for one lead whose change counts.
        curve: From the drift that decides to a chance.
    """
    if not lost:
        return curve(drift.abs().amax(-1))
    if drift.shape[-1] == 1:
        return curve(drift[..., 0])
    found = curve(drift.topk(lost, -1).values[..., -1])
    if lost > 1 or not len(others) or len(leads) < _FEWEST:
        return found
    return 1 - (1 - found) * _none_overtakes(drift * leads, others)


def _none_overtakes(losses: Tensor, others: Tensor) -> Tensor:
    """Return how likely none of the other classes is ahead after some losses."""
    mean, spread = losses.mean(-1), losses.std(-1)
    total = torch.zeros_like(mean)
    for group in others.tensor_split(min(_GROUPS, len(others))):
        distance = (group.mean() - mean) / spread.clamp(min=_TINY)
        total += len(group) * torch.special.log_ndtr(distance)
    # Where nothing is finite, the curve has said all there is to say.
    return total.exp().nan_to_num(1.0)


@dataclass(frozen=True)
class Reliability:
    """A point of a calibration curve: verdicts with about the same chance.

    Args:
        predicted: Mean of their chances.
        measured: Share that turned.
        low: Wilson's 95 % limit of that share, as if verdicts were independent.
        high: The same.
        count: Verdicts.
    """

    predicted: float
    measured: float
    low: float
    high: float
    count: int


def reliability(
    chance: NDArray[np.float64],
    failed: NDArray[np.bool_],
    edges: Sequence[float] = (0, 1e-6, 1e-3, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999),
) -> tuple[Reliability, ...]:
    """Return how often verdicts turned, by what was predicted.

    Args:
        chance: One per fault and input.
        failed: What came of each.
        edges: Least chances of each point.
    """
    found, places = [], np.digitize(chance, [*edges, np.inf]) - 1
    for place in np.unique(places):
        own = places == place
        count, bad = int(own.sum()), int(failed[own].sum())
        low, high = wilson(bad, count, None, 0.95)
        found.append(
            Reliability(float(chance[own].mean()), bad / count, low, high, count)
        )
    return tuple(found)
