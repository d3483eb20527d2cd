"""A campaign: trials drawn by a plan against one golden run, shard by shard."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stoic.campaign.benches import Benches
from stoic.campaign.running import Ran, run_trials
from stoic.campaign.trials import Bay, Trial
from stoic.faults.space import Fault, FaultSpace
from stoic.plans import Plan, Stratified, Stratum, Uniform

__all__ = ["Campaign", "Several", "Shard", "batched"]

# The largest number of chances that NumPy counts.
_BINOMIAL = (1 << 63) - 1


@dataclass(frozen=True)
class Several:
    """Faults that strike together: a fixed number of them, or a rate per fault.

    With one flipped bit as the fault model, the rate is the bit error rate.

    Args:
        count: How many different faults of the space each trial has.
        rate: Probability of each fault of the space by itself.
    """

    count: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if (self.count is None) == (self.rate is None):
            raise ValueError("several faults must have either a count or a rate")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if self.rate is not None and not 0 < self.rate < 1:
            raise ValueError(f"rate must be between 0 and 1, got {self.rate}")

    def draw(self, space: FaultSpace, seed: str) -> tuple[Fault, ...]:
        """Return the faults of one trial; the same for the same seed."""
        chance = random.Random(seed)
        count = self._how_many(space, chance)
        if not count:
            return ()
        whole = [Stratum("all", space.size)]
        draws = Uniform(count).draws(whole, seed=chance.getrandbits(128))
        return tuple(map(space.fault, sorted(draw.position for draw in draws)))

    def _how_many(self, space: FaultSpace, chance: random.Random) -> int:
        if self.rate is None:
            return self.count or 0
        generator = np.random.default_rng(chance.getrandbits(128))
        if space.size > _BINOMIAL:
            # So many faults at a rate low enough to be drawn: the limit is reached.
            return int(generator.poisson(space.size * self.rate))
        return int(generator.binomial(space.size, self.rate))

    def as_record(self) -> dict[str, Any]:
        """Return plain data that says how many."""
        return {"count": self.count, "rate": self.rate}


@dataclass(frozen=True)
class Shard:
    """Some trials in a row with what came of them."""

    number: int
    trials: tuple[Trial, ...]
    ran: Ran


@dataclass(frozen=True)
class Campaign:
    """What is to be run.

    Args:
        bay: The network, its inputs and the verdict.
        strata: Parts of the fault space by name.
        plan: Which faults to try.
        seed: Of all randomness.
        size: Trials per shard.
        several: How many faults strike together, if more than one may.
    """

    bay: Bay
    strata: tuple[tuple[str, FaultSpace], ...]
    plan: Plan
    seed: int
    size: int
    several: Several | None = None

    @cached_property
    def space(self) -> FaultSpace:
        """All faults."""
        return FaultSpace(tuple(b for _, space in self.strata for b in space.blocks))

    @property
    def count(self) -> int:
        """How many trials the plan has."""
        match self.plan:
            case Uniform(trials=trials):
                return trials
            case Stratified(trials=shares):
                return sum(shares.values())
        return self.space.size

    @property
    def runs_per_trial(self) -> float:
        """How many batches a trial runs on, on average over all faults."""
        batches = len(self.bay.starts)
        runs = sum(b.size * (1 if b.inputs else batches) for b in self.space.blocks)
        return batches if self.several else runs / self.space.size

    def trials(self) -> Iterator[Trial]:
        """Yield every trial in the order of the plan."""
        sizes = [Stratum(name, space.size) for name, space in self.strata]
        for draw in self.plan.draws(sizes, seed=self.seed):
            space = self.strata[draw.stratum][1]
            yield Trial(draw.trial, draw.stratum, self._faults(draw, space))

    def _faults(self, draw: Any, space: FaultSpace) -> tuple[Fault, ...]:
        if self.several is None:
            return (space.fault(draw.position),)
        return self.several.draw(space, f"several {self.seed} {draw.trial}")

    def run(
        self,
        done: Container[int] = (),
        tick: Callable[[int], None] | None = None,
    ) -> Iterator[Shard]:
        """Yield shards as soon as they have run.

        Args:
            done: Numbers of shards that need not be run again.
            tick: Told how many runs of a trial on a batch have been done.
        """
        bench = Benches(self.bay)
        for number, trials in enumerate(batched(self.trials(), self.size)):
            if number in done:
                continue
            ran = run_trials(self.bay, trials, bench=bench, tick=tick)
            yield Shard(number, trials, ran)


def batched(trials: Iterator[Trial], size: int) -> Iterator[tuple[Trial, ...]]:
    """Yield trials in tuples of a size, the last one perhaps shorter."""
    while batch := tuple(itertools.islice(trials, size)):
        yield batch
