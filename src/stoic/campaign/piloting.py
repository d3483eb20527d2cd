"""Inputs per fault, chosen from a pilot: by what a fault costs and how inputs agree."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stoic.campaign.benches import Benches
from stoic.campaign.running import run_trials
from stoic.campaign.trials import Bay, Trial
from stoic.faults.space import Fault, FaultSpace
from stoic.plans import Stratum, Uniform

__all__ = ["Pilot", "agreement", "piloted"]

# Faults of a pilot, in rounds, until time is over; and inputs of each at most.
_ROUND, _ROUNDS = 32, 8
_SECONDS = 20.0
_INPUTS = 32


@dataclass(frozen=True)
class Pilot:
    """What trials cost, and how alike the inputs of a fault are.

    Args:
        per_fault: Seconds of a trial, whatever its inputs.
        per_input: Seconds more for each input.
        agreement: Intra-fault correlation of failures.
    """

    per_fault: float
    per_input: float
    agreement: float

    @property
    def best(self) -> float:
        """Inputs per fault with the least variance for the time, not rounded.

        The variance of a mean over ``n`` faults on ``m`` inputs each goes with
        ``(rho + (1 - rho) / m) / n``, its time with ``n`` times a fault's cost and
        ``m`` inputs'.
        """
        if self.per_input <= 0:
            return math.inf
        odds = (1 - self.agreement) / max(self.agreement, 1e-9)
        return float(math.sqrt(max(self.per_fault, 0.0) / self.per_input * odds))

    def choose(self, inputs: int) -> int:
        """Return the divisor of a number of inputs that is nearest, as a factor."""
        best = min(max(self.best, 1.0), float(inputs))
        divisors = [n for n in range(1, inputs + 1) if inputs % n == 0]
        return min(divisors, key=lambda n: max(n / best, best / n))


def agreement(failed: NDArray[np.bool_]) -> float:
    """Return the intra-fault correlation of failures, of shape ``(faults, inputs)``.

    Analysis of variance: the part of it that lies between faults. It is 1 where no
    inputs of a fault differ: then a second input would tell nothing.
    """
    if len(failed) < 2:
        # Nothing varies between faults.
        return 1.0
    inputs = failed.shape[1]
    share: NDArray[np.float64] = failed.mean(axis=1)
    within = float((share * (1 - share)).mean()) * inputs / max(inputs - 1, 1)
    between = max(float(share.var(ddof=1)) - within / inputs, 0.0)
    return between / (between + within) if within > 0 else 1.0


def piloted(
    bay: Bay,
    space: FaultSpace,
    seed: int,
    notice: Callable[[str], None] | None = None,
) -> int:
    """Return how many inputs a trial is best run on.

    Some faults, drawn uniformly, are tried on one input and on several. Their times
    differ from run to run, so the number is to be recorded, not found again.

    Args:
        bay: What trials run on; its batch plays no part.
        space: All faults.
        seed: Of the draws.
        notice: Told what was found.
    """
    inputs = bay.inputs.count
    several = max(n for n in range(1, min(inputs, _INPUTS) + 1) if inputs % n == 0)
    if several == 1 or any(block.inputs for block in space.blocks):
        # A fault in one input's row has no other input.
        return 1
    pilot = _tried(bay, space, seed, several)
    chosen = pilot.choose(inputs)
    if notice:
        notice(
            f"inputs per fault: {chosen}, as inputs of a fault agree by "
            f"{pilot.agreement:.2f} and a fault costs "
            f"{1e3 * max(pilot.per_fault, 0.0):.2g} ms and "
            f"{1e3 * max(pilot.per_input, 0.0):.2g} ms more for each input"
        )
    return chosen


def _tried(bay: Bay, space: FaultSpace, seed: int, several: int) -> Pilot:
    count = min(_ROUND * _ROUNDS, space.size)
    draws = Uniform(count).draws([Stratum("all", space.size)], seed=seed)
    faults = [space.fault(draw.position) for draw in draws]
    failed, seconds = [], {1: 0.0, several: 0.0}
    bays = {n: replace(bay, batch=n) for n in seconds}
    benches = {n: Benches(own) for n, own in bays.items()}
    for n, own in bays.items():
        # Kernels and shapes are warmed up outside of the time.
        run_trials(own, _on(faults[:1], n), bench=benches[n])
    begun = time.monotonic()
    for first in range(0, count, _ROUND):
        for n, own in bays.items():
            trials = _on(faults[first : first + _ROUND], n)
            then = time.perf_counter()
            ran = run_trials(own, trials, bench=benches[n])
            seconds[n] += time.perf_counter() - then
        shares = np.zeros((len(trials), several), np.bool_)
        for block in ran.blocks:
            shares[block.trial, block.input] = block.columns["failed"]
        crashed = [outcome.status == "crash" for outcome in ran.outcomes]
        shares[np.flatnonzero(crashed)] = True
        failed.append(shares)
        if time.monotonic() - begun > _SECONDS:
            break
    tried = sum(map(len, failed))
    one, more = seconds[1] / tried, seconds[several] / tried
    per_input = (more - one) / (several - 1)
    return Pilot(one - per_input, per_input, agreement(np.concatenate(failed)))


def _on(faults: Sequence[Fault], inputs: int) -> list[Trial]:
    return [
        Trial(number, 0, (fault,), range(inputs)) for number, fault in enumerate(faults)
    ]
