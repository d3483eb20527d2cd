"""Checksums as a monitor like any other: fitted, saved, and inside of a network.

Its rules are not learnt: a layer of which the sums disagree is a fault in memory. What
is fitted are the tolerances. The sums themselves are no part of the file: they follow
from the weights, which the file is bound to by the network's fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoic.monitors.alarm import calibrated, check_enough
from stoic.monitors.bounds import Floats, bounds_of
from stoic.monitors.checksum import Checksum, Checksums, checksums_of, fit_checksums
from stoic.monitors.monitor import Monitor
from stoic.monitors.points import PER_UNIT, Condition, Points, Step
from stoic.monitors.rules import REGULAR, Fork, Leaf, Node, Rules
from stoic.monitors.traces import MEMORY
from stoic.network.captured import CapturedSubject
from stoic.network.subject import Inputs

__all__ = ["SumCheck", "fit_sums", "summed"]

# Points of certainty: one in thirty thousand is thought to be otherwise.
_SURE = 10 * PER_UNIT


class SumCheck(nn.Module):
    """A checksum inside of a network.

    Args:
        check: Of one layer.
    """

    filter: Tensor
    size: Tensor

    def __init__(self, check: Checksum) -> None:
        super().__init__()
        self._check = check
        self.register_buffer("filter", check.filter)
        self.register_buffer("size", check.size)

    def forward(self, source: Tensor, output: Tensor) -> Tensor:
        """Return the feature, float32 of shape ``(rows, 1)``.

        Args:
            source: Input of the layer.
            output: What the layer made of it.
        """
        sums = self.filter, self.size
        return self._check.excess(source, output, sums).unsqueeze(1)


def summed(monitor: Monitor, subject: CapturedSubject) -> Checksums:
    """Return the checksums that a monitor looks at, of a network's own weights.

    Raises:
        ValueError: A layer has none.
    """
    if not monitor.checksums:
        return Checksums(())
    return checksums_of(subject).only(monitor.checksums)


def fit_sums(
    subject: CapturedSubject,
    learning: Sequence[Inputs],
    calibration: Sequence[Inputs],
    fingerprint: str,
    *,
    layers: Sequence[str] = (),
    rate: float = 0.01,
    about: Mapping[str, Any] | None = None,
) -> Monitor:
    """Return a monitor of checksums, with tolerances from fault-free inputs.

    Args:
        subject: The network.
        learning: Batches of inputs to find tolerances by.
        calibration: Others, for the alarm.
        fingerprint: Of the network.
        layers: By the names of their values; all by default.
        rate: Of false alarms of the calibrated alarm.
        about: What people should know of it.

    Raises:
        ValueError: A layer has no checksum, an input is not finite, or there are too
            few.
    """
    check_enough(rate, sum(rows.count for rows in calibration))
    sums = fit_checksums(subject, (subject.bench(rows) for rows in learning))
    if layers:
        known = sums.tolerances
        sums = sums.only({name: known.get(name, math.nan) for name in layers})
    seen = _seen(subject, sums, learning)
    # That sums agree better than they usually do is no alarm.
    bounds = bounds_of([-np.ones_like(seen[:1]), seen])
    alarm = calibrated(_seen(subject, sums, calibration), bounds, rate)
    rules = _chained(sums.features, len(seen))
    points, told = _beyond(sums.features), dict(about or {})
    return Monitor(fingerprint, (), rules, alarm, points, told, sums.tolerances)


def _seen(
    subject: CapturedSubject, sums: Checksums, batches: Sequence[Inputs]
) -> Floats:
    """Return features of fault-free inputs."""

    def rows() -> Iterator[Tensor]:
        for batch in batches:
            _, values = subject.bench(batch).watched([], sums.values)
            yield sums.excess(values).cpu()

    with torch.inference_mode():
        found = list(rows())
    width = len(sums.checks)
    return torch.cat(found).numpy() if found else np.zeros((0, width), np.float32)


def _beyond(features: Sequence[str]) -> Points:
    """Return points that are as sure as can be where a sum is out of tolerance."""
    steps = (Step((Condition(n, 1.0),), 2 * _SURE) for n in range(len(features)))
    return Points(tuple(features), tuple(steps), -_SURE)


def _chained(features: Sequence[str], rows: int) -> Rules:
    """Return that sums within every tolerance are regular, others a fault."""
    node: Node = Leaf((1.0, 0.0), rows)
    for number in reversed(range(len(features))):
        node = Fork(number, -math.inf, 1.0, node, Leaf((0.0, 1.0), 0))
    return Rules((REGULAR, MEMORY), tuple(features), node)
