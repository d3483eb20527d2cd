"""A monitor's verdict in a few tensor operators, for use inside of a network."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.monitors.distance import MOST, RUNGS
from stoic.monitors.monitor import Monitor
from stoic.monitors.points import PER_DOUBLING, Condition, Points

__all__ = ["Judge", "Verdict"]

_LARGEST = float(np.finfo(np.float32).max)
# Columns that are no leaf's lie so far below that they are never the largest.
_LOW = -8.0


class Verdict(NamedTuple):
    """What a monitor says of inferences. One entry per row.

    Args:
        label: Index of the class in `Monitor.classes`, int64.
        score: How sure it is that something is wrong, from 0 to 1, float32.
        rule: Number of the leaf that decided, int64; -1 where features are not finite.
        unlike: Whether the calibrated alarm was raised, bool.
    """

    label: Tensor
    score: Tensor
    rule: Tensor
    unlike: Tensor


class Judge(nn.Module):
    """What `Monitor.verdicts` says, by two comparisons, one small product and one sum.

    All questions are of one kind: whether a feature lies within a span. The forks of
    the tree ask some, the alarm one per feature, whether a feature is finite is one
    more, whether it is so odd that points are not asked another, and each condition of
    the points is one. A leaf's column of the product is 0 where every answer on its
    path is as it must be, and at most -1 elsewhere. That of non-finite features is
    above 0 where there is one, else below. The product is one of doubles: autocast
    leaves them alone, and would round counts of many features. Points are whole
    numbers; their sum, less the least, is a place among the scores.

    Args:
        monitor: Whose verdicts it gives.
    """

    feature: Tensor
    low: Tensor
    high: Tensor
    weight: Tensor
    bias: Tensor
    limit: Tensor
    labels: Tensor
    first: Tensor
    second: Tensor
    points: Tensor
    least: Tensor
    scores: Tensor
    rules: Tensor

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        rules, alarm, points = monitor.rules, monitor.alarm, monitor.points
        forks, count = rules.forks, len(rules.features)
        every = list(range(count))
        most = [_LARGEST] * count + _most(points)
        low = [*(fork.low for fork in forks), *alarm.low, *(-end for end in most)]
        high = [*(fork.high for fork in forks), *alarm.high, *most]
        steps = points.steps
        conditions = list({c: None for step in steps for c in step.conditions})
        spans = [_span(condition) for condition in conditions]
        # A step with one condition asks it twice.
        ends = [(step.conditions[0], step.conditions[-1]) for step in steps]
        first, second = ([conditions.index(e[n]) for e in ends] for n in (0, 1))
        weight, bias = _columns(rules.paths, count)
        # Nothing lies within an empty span.
        weight[np.array(low, np.float32) > np.array(high, np.float32)] = 0
        labels = [*rules.labels, len(rules.classes)]
        asked = [fork.feature for fork in forks] + every + every + every
        asked += [condition.feature for condition in conditions]
        leaves = len(rules.leaves)
        self._others = len(low)
        self._conditions = len(conditions)
        for name, numbers, dtype in (
            ("feature", asked, np.int64),
            ("low", [*low, *(span[0] for span in spans)], np.float32),
            ("high", [*high, *(span[1] for span in spans)], np.float32),
            ("weight", weight, np.float64),
            ("bias", bias, np.float64),
            # A number of Python's would be copied into a tensor each time.
            ("limit", _LOW, np.float64),
            ("labels", labels, np.int64),
            ("first", first, np.int64),
            ("second", second, np.int64),
            ("points", [step.points for step in steps], np.int64),
            ("least", points.base - points.least, np.int64),
            ("scores", points.shares, np.float32),
            ("rules", [*range(leaves), -1], np.int64),
        ):
            self.register_buffer(name, torch.from_numpy(np.array(numbers, dtype)))
        self.surveyor = _Surveyor(points) if points.distance else None

    def forward(self, *rows: Tensor) -> Verdict:
        """Return verdicts of features.

        Args:
            rows: Features of each watch, float32 of shape ``(rows, numbers)``.
        """
        features = rows[0] if len(rows) == 1 else torch.cat(rows, 1)
        more = self.least
        if self.surveyor is not None:
            features, far = self.surveyor(features)
            more = more + far
        asked = features.index_select(1, self.feature)
        # What is no number is equal to nothing: it lies outside of every span.
        inside = asked.clamp(self.low, self.high) == asked
        others, holds = inside.split([self._others, self._conditions], 1)
        found = torch.addmm(self.bias, others.double(), self.weight)
        leaf = found.argmax(1)
        both = holds.index_select(1, self.first) & holds.index_select(1, self.second)
        place = (both * self.points).sum(1) + more
        score = self.scores.index_select(0, place)
        return Verdict(
            self.labels.index_select(0, leaf),
            score.masked_fill(found.select(1, -2) < self.limit, 1.0),
            self.rules.index_select(0, leaf),
            found.select(1, -1) < self.limit,
        )


class _Surveyor(nn.Module):
    """What `Distance.told` and `Distance.doublings` say, beside all features.

    Args:
        points: With a distance.
    """

    apart: Tensor
    middle: Tensor
    per: Tensor
    rungs: Tensor
    rivals: Tensor
    worth: Tensor

    def __init__(self, points: Points) -> None:
        super().__init__()
        distance = points.distance
        assert distance is not None
        rivals = [points.apart[place] for place in distance.places]
        for name, numbers, dtype in (
            ("apart", points.apart, np.int64),
            ("middle", distance.middle, np.float32),
            ("per", distance.per, np.float32),
            ("rungs", RUNGS, np.float32),
            ("rivals", rivals, np.int64),
            ("worth", PER_DOUBLING, np.int64),
        ):
            self.register_buffer(name, torch.from_numpy(np.array(numbers, dtype)))
        self._rivalry = bool(rivals)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, those that the distance tells after them, and points."""
        away = (features.index_select(1, self.apart) - self.middle).abs() * self.per
        near = away.clamp_max(MOST)
        told = [features, (near * near).floor().sum(1, keepdim=True)]
        if self._rivalry:
            first, second = (
                features.index_select(1, self.rivals).topk(2).values.split(1, 1)
            )
            told.append(first - second)
        far = (away.amax(1, keepdim=True) > self.rungs).sum(1) * self.worth
        return torch.cat(told, 1), far


def _most(points: Points) -> list[float]:
    """Return what each feature may be at most, and less, so that points are asked."""
    apart = points.apart or range(len(points.features))
    return [_LARGEST if n in apart else math.inf for n in range(len(points.features))]


def _span(condition: Condition) -> tuple[float, float]:
    """Return the span in which a feature is if a condition holds.

    What is no number is in none, but then nobody asks for points.
    """
    limit = np.float32(condition.limit)
    if not condition.above:
        return -math.inf, float(limit)
    return float(np.nextafter(limit, np.float32(np.inf))), math.inf


def _columns(
    paths: NDArray[np.int8], features: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the product's weights and bias: leaves, non-finite, lost, alarm.

    Args:
        paths: As `Rules.paths` has them.
        features: How many there are.
    """
    forks, leaves = paths.shape
    alarm, finite, odd = (
        slice(forks + n * features, forks + (n + 1) * features) for n in range(3)
    )
    weight = np.zeros((forks + 3 * features, leaves + 3))
    weight[:forks, :leaves] = -paths.astype(float)
    weight[finite, leaves] = -1
    weight[odd, leaves + 1] = 1
    weight[alarm, leaves + 2] = 1
    bias = np.zeros(leaves + 3)
    bias[:leaves] = -(paths < 0).sum(0)
    # A quarter less than the number of features, so that it never ties with a leaf.
    bias[leaves] = features - 0.25
    bias[leaves + 1 :] = _LOW - features
    return weight, bias
