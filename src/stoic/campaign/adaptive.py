"""A campaign on units: trials on few inputs, where the plan or former ones point."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stoic.campaign.benches import Benches
from stoic.campaign.campaign import Several, Shard, batched
from stoic.campaign.running import Ran, run_trials
from stoic.campaign.trials import Bay, Trial
from stoic.estimates.course import Course
from stoic.estimates.preset import PresetCourse, course_of
from stoic.estimates.sample import Floats
from stoic.faults.space import FaultSpace
from stoic.plans import Adaptive, Batch, Lot, Preset
from stoic.population.cells import Population, Unit

__all__ = ["NO_SHARES", "AdaptiveCampaign", "Shares"]

Shares = tuple[Floats, Floats]
"""Of each trial the share of inputs that failed: at least, at most."""


NO_SHARES: Shares = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class AdaptiveCampaign:
    """What is to be run, as far as it is known beforehand.

    Args:
        bay: The network, its inputs and the verdict; a batch is what a trial runs on.
        space: All faults.
        population: Their units: every fault on every batch.
        plan: What is wanted.
        seed: Of all randomness.
        size: Trials per shard at most.
        seconds: Time after which no other shard is begun; one always is.
    """

    bay: Bay
    space: FaultSpace
    population: Population
    plan: Adaptive | Preset
    seed: int
    size: int
    seconds: float | None = None
    several: Several | None = None

    @property
    def strata(self) -> tuple[tuple[str, FaultSpace], ...]:
        """The space as one: what it is divided into is in the table of cells."""
        return (("all", self.space),)

    @property
    def count(self) -> int:
        """How many trials there will be, as far as anybody knows."""
        return self._course.expected

    @property
    def runs_per_trial(self) -> float:
        """How many batches a trial runs on."""
        return 1.0

    @cached_property
    def _course(self) -> Course | PresetCourse:
        return self.course()

    def course(self) -> Course | PresetCourse:
        """Return the plan's course from its beginning."""
        population = self.population
        return course_of(self.plan, population.strata(), population.known, self.seed)

    def trials(self, shares: Shares) -> Iterator[Trial]:
        """Yield again the trials that have come out like so."""
        course, done = self.course(), 0
        while done < len(shares[0]) and (batch := course.batch()) is not None:
            part = slice(done, done + len(batch.draws))
            yield from itertools.islice(self._trials(batch), len(shares[0]) - done)
            course.learn(shares[0][part], shares[1][part])
            done += len(batch.draws)

    def run(
        self,
        done: Container[int] = (),
        tick: Callable[[int], None] | None = None,
        shares: Shares = NO_SHARES,
    ) -> Iterator[Shard]:
        """Yield shards as soon as they have run.

        Args:
            done: Numbers of shards that need not be run again.
            tick: Told how many trials have been run.
            shares: What came of the trials of those shards.
        """
        course, number, first = self._course, 0, 0
        begun, bench = 0.0, Benches(self.bay)
        while (batch := course.batch()) is not None:
            learnt: list[Shares] = []
            for trials in batched(self._trials(batch), self.size):
                if number in done:
                    part = slice(first, first + len(trials))
                    learnt.append((shares[0][part], shares[1][part]))
                else:
                    spent = time.monotonic() - begun
                    if begun and spent > (self.seconds or math.inf):
                        return
                    begun = begun or time.monotonic()
                    ran = run_trials(self.bay, trials, bench=bench, tick=tick)
                    learnt.append(_shares(ran))
                    yield Shard(number, trials, ran)
                number, first = number + 1, first + len(trials)
            low, high = zip(*learnt, strict=True)
            course.learn(np.concatenate(low), np.concatenate(high))

    def _trials(self, batch: Batch | Lot) -> Iterator[Trial]:
        wanted = [(draw.stratum, draw.position) for draw in batch.draws]
        units = self.population.units(wanted)
        for draw, unit in zip(batch.draws, units, strict=True):
            yield self.trial(draw.trial, draw.stratum, unit)

    def trial(self, number: int, stratum: int, unit: Unit) -> Trial:
        """Return the trial of a unit."""
        start = unit.row * self.bay.batch
        own = unit.fault.input is not None
        only = None if own else range(start, start + self.bay.batch)
        return Trial(number, stratum, (unit.fault,), only)


def _shares(ran: Ran) -> Shares:
    """Return the share of failed inputs of each trial."""
    failed = np.zeros(len(ran.outcomes))
    for block in ran.blocks:
        np.add.at(failed, block.trial, block.columns["failed"])
    status = np.array([outcome.status for outcome in ran.outcomes], object)
    share = failed / np.array([outcome.exposed for outcome in ran.outcomes])
    low = np.where(status == "crash", 1.0, np.where(status == "unknown", 0.0, share))
    return low, np.where(status == "unknown", 1.0, low)
