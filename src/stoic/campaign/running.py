"""Running trials: each fault against every batch of inputs that it can reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import torch

from stoic.campaign.facts import RaisedError, told
from stoic.campaign.jury import Block, Jury
from stoic.campaign.together import Place, run_together
from stoic.campaign.trials import Bay, Outcome, Trial, shared_time
from stoic.faults.space import Fault
from stoic.network.memory import is_out_of_memory
from stoic.network.replay import TimeLimitError
from stoic.network.subject import Answer, Bench, Group, one_by_one

_Way = Literal["fast", "exact", "alone"]

__all__ = ["EngineError", "Ran", "run_trials"]

# Golden values of batches that wait for each other.
_MOST_BYTES = 2 << 30


class EngineError(RuntimeError):
    """A trial could not be run, for a reason that is no fault of the network's."""


class _TooMuchError(RuntimeError):
    """A group needs more memory than there is: half of it may not."""


@dataclass(frozen=True)
class Ran:
    """What came of some trials: one outcome each, and their facts in blocks."""

    outcomes: list[Outcome]
    blocks: list[Block]


@torch.inference_mode()
def run_trials(
    bay: Bay,
    trials: Sequence[Trial],
    *,
    bench: Callable[[int], Bench] | None = None,
    tick: Callable[[int], None] | None = None,
) -> Ran:
    """Run some trials on every input, batch by batch, together where that pays.

    Args:
        bay: What they are run on.
        trials: To run.
        bench: Gives the golden run of the batch at an input; made anew by default.
        tick: Told after each batch and trial how many have been run.
    """
    outcomes = [
        Outcome(_exposed(trial, bay), words=[(0, 0)] * len(trial.faults))
        for trial in trials
    ]
    ran = Ran(outcomes, [])
    order = sorted(range(len(trials)), key=lambda i: trials[i].depth)
    waiting: list[_Batch] = []
    held = 0
    for start in bay.starts:
        batch = range(start, start + bay.batch)
        here = [i for i in order if trials[i].strikes(batch)]
        if here:
            golden = (bench or bay.bench)(start)
            waiting.append(_Batch(bay, golden, start, trials, ran, here))
            held += golden.nbytes
        if waiting and not (_may_wait(bay, trials) and held < _MOST_BYTES):
            _run_all(waiting, tick)
            waiting, held = [], 0
    _run_all(waiting, tick)
    return ran


def _may_wait(bay: Bay, trials: Sequence[Trial]) -> bool:
    """Say whether batches are to wait for others to be run together with.

    That is for trials on one batch each: their fast runs share a larger one.
    """
    small = bay.batch == 1 or trials[0].only is not None
    return small and bay.fast and not bay.subject.bounded


def _run_all(batches: Sequence[_Batch], tick: Callable[[int], None] | None) -> None:
    """Run batches, what can be together first."""
    settled, unsure = set[int](), set[int]()
    if len(batches) > 1:
        ran = batches[0].ran
        places = [batch.place() for batch in batches]
        settled, unsure = run_together(
            batches[0].bay, places, ran.outcomes, ran.blocks, tick
        )
    for batch in batches:
        batch.run(settled, unsure, tick)


def _exposed(trial: Trial, bay: Bay) -> int:
    if trial.only is not None:
        return len(trial.only)
    return bay.inputs.count if trial.input is None else 1


@dataclass(frozen=True)
class _Waiting:
    """An answer that waits to be judged with others."""

    trial: int
    answer: Answer


class _Batch:
    """Trials on one batch of inputs.

    Args:
        bay: What they are run on.
        bench: The golden run of the batch.
        start: First input of the batch.
        trials: All of them.
        ran: Where what comes of the trials is added.
        here: Those that strike the batch.
    """

    def __init__(
        self,
        bay: Bay,
        bench: Bench,
        start: int,
        trials: Sequence[Trial],
        ran: Ran,
        here: Sequence[int],
    ) -> None:
        self.bay = bay
        self.bench = bench
        self.start = start
        self.trials = trials
        self.ran = ran
        self._jury = Jury(bay, [bench], [start], ran.blocks)
        self._waiting: list[_Waiting] = []
        self._faults = {i: self._local(i) for i in here}

    def place(self) -> Place:
        """Return the batch with those trials that run on no other."""
        alone = {
            i: faults
            for i, faults in self._faults.items()
            if self.trials[i].only is not None or self.trials[i].input is not None
        }
        return Place(self.start, self.bench, alone)

    def run(
        self,
        settled: Container[int],
        unsure: Container[int],
        tick: Callable[[int], None] | None,
    ) -> None:
        """Run trials and judge them; again where that settles nothing.

        Args:
            settled: Need no run any more.
            unsure: Have been run fast.
            tick: Told after each trial.
        """
        here = [i for i in self._faults if i not in settled]
        left = [i for i in here if i not in unsure]
        again = [i for i in here if i in unsure]
        left = self._round(left, "fast" if self.bay.fast else "exact", tick)
        if self.bay.fast:
            left = self._round([*again, *left], "exact")
        self._round(left, "alone")

    def _groups(self, members: list[int], way: _Way) -> Iterator[Group]:
        faults = [self._faults[i] for i in members]
        if way == "alone":
            return one_by_one(self.bench, faults, range(len(faults)), fast=False)
        return self.bench.groups(faults, fast=way == "fast")

    def _local(self, i: int) -> tuple[Fault, ...]:
        """Return the faults of a trial that strike here, with rows for inputs."""
        trial, words = self.trials[i], self.ran.outcomes[i].words
        batch = range(self.start, self.start + self.bay.batch)
        local = []
        for number, fault in enumerate(trial.faults):
            if fault.input is not None:
                if fault.input not in batch:
                    continue
                fault = replace(fault, input=fault.input - self.start)
            if fault.input is not None or trial.only or self.start == 0:
                words[number] = self.bench.words(fault)
            local.append(fault)
        return tuple(local)

    def _round(
        self,
        members: list[int],
        way: _Way,
        tick: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Run trials in groups; return those that are not settled by it."""
        left: list[int] = []
        for group in self._groups(members, way):
            trials = [members[place] for place in group.places]
            try:
                with self._timed(trials):
                    left += self._run(trials, group)
            except _TooMuchError:
                left += self._judge_waiting()
                half = len(trials) // 2
                left += self._round(trials[:half], way) + self._round(
                    trials[half:], way
                )
            if self._is_time_to_judge():
                left += self._judge_waiting()
            if tick:
                tick(len(trials))
        unsettled = {*left, *self._judge_waiting()}
        return [i for i in members if i in unsettled]

    def _timed(self, members: Sequence[int]) -> AbstractContextManager[None]:
        return shared_time([self.ran.outcomes[i] for i in members])

    def _run(self, trials: list[int], group: Group) -> list[int]:
        """Run a group and judge it, unless it is to be judged with others."""
        try:
            answer = self._in_time(group)
            if len(trials) == 1 and self._jury.at_once(answer) > 1:
                self._waiting.append(_Waiting(trials[0], answer))
                return []
            return self._judged(trials, answer)
        except (RaisedError, TimeLimitError) as error:
            if len(trials) > 1:
                # Nobody knows which of them it was.
                return trials
            self._end(trials[0], error)
            return []

    def _end(self, i: int, error: Exception) -> None:
        """Note why a trial has come to no output."""
        outcome = self.ran.outcomes[i]
        if isinstance(error, RaisedError):
            outcome.status, outcome.message = "crash", str(error)
        elif outcome.status != "crash":
            # A crash in another batch is known; it stays.
            outcome.status, outcome.message = "unknown", str(error)

    def _judged(self, trials: list[int], answer: Answer) -> list[int]:
        """Judge an answer; return the trials that need another run."""
        unsure = {trials[place] for place in self._jury.judge(trials, answer)}
        for i in set(trials) - unsure:
            self.ran.outcomes[i].exact &= answer.exact
        return list(unsure)

    def _is_time_to_judge(self) -> bool:
        waiting = self._waiting
        return bool(waiting) and len(waiting) >= self._jury.at_once(waiting[-1].answer)

    def _judge_waiting(self) -> list[int]:
        """Judge the answers that wait; return the trials that need another run."""
        waiting, unsure = self._waiting, []
        self._waiting = []
        with self._timed([one.trial for one in waiting]):
            for exact in (True, False):
                alike = [one for one in waiting if one.answer.exact == exact]
                if alike:
                    joined = self._jury.joined([one.answer for one in alike])
                    unsure += self._judged([one.trial for one in alike], joined)
        return unsure

    def _in_time(self, group: Group) -> Answer:
        """Run a group; a trial over its time is run once more."""
        try:
            return self._answer(group)
        except TimeLimitError:
            if len(group.places) > 1:
                raise
            return self._answer(group)

    def _answer(self, group: Group) -> Answer:
        try:
            return group.run(time.monotonic() + self.bay.limit_s * len(group.places))
        except TimeLimitError:
            raise
        except Exception as error:
            # Recursion too deep says something of the machine, not of the network.
            large = is_out_of_memory(error) or isinstance(error, RecursionError)
            if isinstance(error, torch.AcceleratorError) and not large:
                # What a kernel refuses ends the device for this process.
                raise EngineError(
                    f"a fault must leave the device usable, got {told(error)}; leave "
                    "out what indexes tables, or measure on the processor"
                ) from error
            if not large:
                raise RaisedError(told(error)) from error
            if len(group.places) > 1:
                raise _TooMuchError from error
            raise EngineError(
                f"a trial must fit this machine, got {told(error)}; "
                "use a smaller batch, or less memory for golden values"
            ) from error
