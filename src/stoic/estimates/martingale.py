"""Estimates from the steps of an adaptive plan: fair, and limits that allow peeking.

References:
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    2023. Shekhar, Xu, Lipton, Liang and Ramdas, Risk-limiting financial audits via
    weighted sampling without replacement, 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stoic.estimates.bets import LOWER, UPPER, Side
from stoic.estimates.design import student
from stoic.estimates.facts import Bools
from stoic.estimates.sample import Floats
from stoic.plans.allocation import STAKE
from stoic.plans.steps import Known, Steps

__all__ = [
    "Told",
    "approximate_limits",
    "guaranteed_limit",
    "interval",
    "martingale_mean",
]


@dataclass(frozen=True)
class Told:
    """What the trials of an adaptive plan say.

    Args:
        steps: What was known before each trial.
        share: What came of each: the share of failed inputs.
        known: What is proved of the population.
        inside: Trials that could have failed; nothing where all could.
    """

    steps: Steps
    share: Floats
    known: Known
    inside: Bools | None = None

    @property
    def found(self) -> Floats:
        """What is certain before each trial, as a part of the population's mean."""
        before = np.cumsum(self.share) - self.share
        return np.asarray((self.known.failed + before) / self.known.size)

    @property
    def rest(self) -> Floats:
        """What each trial says of the rest; its expectation is right."""
        steps = self.steps
        return np.asarray(steps.base + steps.scale * (self.share - steps.guess))

    @property
    def weight(self) -> Floats:
        """Of each trial, in all 1; all alike where there is only a pilot."""
        weight = self.steps.weight
        if not weight.any():
            weight = np.ones_like(weight)
        return np.asarray(weight / weight.sum())

    @property
    def planned(self) -> Floats:
        """The same without trials that were added as the plan's end was not enough.

        Whether there are any depends on what the others said.
        """
        weight = self.steps.weight
        within = np.cumsum(weight) <= 1 + 1e-9
        weight = np.where(within, weight, 0.0) if weight.any() else self.weight
        return np.asarray(weight / weight.sum())

    @property
    def certain(self) -> tuple[float, float]:
        """Limits that chance has no part in: all that is left holds, or it fails."""
        tried = len(self.share) if self.inside is None else int(self.inside.sum())
        left = self.known.size - self.known.known - tried
        low = (self.known.failed + float(self.share.sum())) / self.known.size
        return low, low + left / self.known.size


def martingale_mean(told: Told) -> float:
    """Return the mean over the population, from the trials that were planned.

    Each trial says ``found + rest``, which is fair whatever came before; weights were
    fixed before each batch, up to 1 in all. So the estimate is fair under any plan that
    goes on to that end. Trials beyond it narrow the interval only.
    """
    return float(told.planned @ (told.found + told.rest))


def approximate_limits(told: Told, confidence: float) -> tuple[float, float]:
    """Return limits of the population's mean, from the variance that trials showed.

    Strata that have had no failure are not taken to have none: their trials count as
    if half a failure had been among all of them. Student's t has as many degrees of
    freedom as there are trials that the variance hangs on.
    """
    weight = told.weight
    said = told.found + told.rest
    batch = told.steps.batch
    count = np.bincount(batch)
    means = np.bincount(batch, said) / np.maximum(count, 1)
    parts = (weight * (said - means[batch])) ** 2
    parts *= (count / np.maximum(count - 1, 1))[batch]
    quiet = (told.steps.guess == 0) & (told.share == 0) & (weight > 0)
    quiet &= True if told.inside is None else told.inside
    rare = 0.5 / (quiet.sum() + 1) * (weight * told.steps.scale)[quiet] ** 2
    variance = parts.sum() + rare.sum()
    free = parts.sum() ** 2 / max(float((parts**2).sum()), 1e-300)
    half = student(confidence, max(free, 1.0)) * math.sqrt(variance)
    center = float(weight @ said)
    return center - half, center + half


def guaranteed_limit(told: Told, side: Side, level: float) -> float:
    """Return a limit of the population's mean, wrong with probability ``level``.

    It holds at any number of trials at once, under any plan that decides on what it has
    seen: a gambler who bets against a supposed mean has his capital grow to 1 /
    ``level`` with that probability at most, if the mean is the true one.

    Args:
        told: The trials; shares at most, or at least, what they may be.
        side: Which limit.
        level: Probability of an error.
    """
    found, rest, steps = told.found, told.rest, told.steps
    needed = -math.log(level)
    ends = np.flatnonzero(np.diff(steps.batch, append=-1))

    def rejected(mean: float) -> bool:
        supposed = mean - found
        reach = supposed - steps.bottom if side == LOWER else steps.top - supposed
        bet = np.minimum(steps.stake, STAKE / np.maximum(reach, 1e-300))
        gains = np.log1p(np.maximum(side * bet * (supposed - rest), -0.999999))
        return bool(np.cumsum(gains)[ends].max() >= needed)

    low, high = told.certain
    center = min(max(float(told.weight @ (found + rest)), low), high)
    outer = high if side == UPPER else low
    if not rejected(outer):
        return outer
    inner = center
    if rejected(inner):
        inner = low if side == UPPER else high
    for _ in range(40):
        middle = (inner + outer) / 2
        if rejected(middle):
            outer = middle
        else:
            inner = middle
    return outer


def interval(
    below: Told, above: Told, confidence: float, *, guaranteed: bool
) -> tuple[float, float, float]:
    """Return the population's mean with its limits: value, lower and upper.

    Args:
        below: The trials, shares at least.
        above: The same, shares at most.
        confidence: Of the interval.
        guaranteed: Its kind.
    """
    if guaranteed:
        level = (1 - confidence) / 2
        least = guaranteed_limit(below, LOWER, level)
        most = guaranteed_limit(above, UPPER, level)
    else:
        least = approximate_limits(below, confidence)[0]
        most = approximate_limits(above, confidence)[1]
    value = (martingale_mean(below) + martingale_mean(above)) / 2
    ends = np.clip([value, least, most], below.certain[0], above.certain[1])
    value, least, most = ends.tolist()
    return value, min(least, value), max(most, value)
