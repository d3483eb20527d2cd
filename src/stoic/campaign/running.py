"""Running trials: each fault against every batch of inputs that it can reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from stoic.campaign.facts import RaisedError, told
from stoic.campaign.jury import Block, Jury
from stoic.campaign.trials import Bay, Outcome, Trial
from stoic.faults.space import Fault
from stoic.network.replay import TimeLimitError
from stoic.network.subject import Answer, Bench

__all__ = ["EngineError", "Ran", "run_trials"]

# What says something of the machine and nothing of the network.
OURS = (MemoryError, RecursionError, torch.OutOfMemoryError, torch.AcceleratorError)


class EngineError(RuntimeError):
    """A trial could not be run, for a reason that is no fault of the network's."""


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
    for start in bay.starts:
        batch = range(start, start + bay.batch)
        here = [i for i in order if trials[i].strikes(batch)]
        if here:
            golden = (bench or bay.bench)(start)
            _Batch(bay, golden, start, trials, ran).run(here, tick)
    return ran


def _exposed(trial: Trial, bay: Bay) -> int:
    return bay.inputs.count if trial.input is None else 1


@dataclass(frozen=True)
class _Waiting:
    """An answer that waits to be judged with others."""

    trial: int
    faults: tuple[Fault, ...]
    answer: Answer


class _Batch:
    """Trials on one batch of inputs.

    Args:
        bay: What they are run on.
        bench: The golden run of the batch.
        start: First input of the batch.
        trials: All of them.
        ran: Where what comes of the trials is added.
    """

    def __init__(
        self, bay: Bay, bench: Bench, start: int, trials: Sequence[Trial], ran: Ran
    ) -> None:
        self.bay = bay
        self.bench = bench
        self.start = start
        self.trials = trials
        self.ran = ran
        self._jury = Jury(bay, bench, start, ran.blocks)
        self._waiting: list[_Waiting] = []

    def run(self, here: list[int], tick: Callable[[int], None] | None) -> None:
        """Run some of the trials and judge them."""
        faults = {i: self._local(i) for i in here}
        for group in self.bench.groups([faults[i] for i in here], fast=self.bay.fast):
            members = [here[place] for place in group]
            self._group(members, [faults[i] for i in members])
            if tick:
                tick(len(members))
        while self._waiting:
            self._judge_waiting()

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
            if fault.input is not None or self.start == 0:
                words[number] = self.bench.words(fault)
            local.append(fault)
        return tuple(local)

    def _group(self, members: list[int], faults: list[tuple[Fault, ...]]) -> None:
        """Run some trials together; alone whatever then is not settled."""
        with self._timed(members):
            if len(members) == 1:
                self._alone(members[0], faults[0], fast=self.bay.fast)
                return
            for place in self._together(members, faults):
                self._alone(members[place], faults[place], fast=False)

    @contextmanager
    def _timed(self, members: Sequence[int]) -> Iterator[None]:
        """Share the time that something takes out among trials."""
        begun = time.monotonic()
        yield
        spent = (time.monotonic() - begun) / len(members)
        for i in members:
            self.ran.outcomes[i].seconds += spent

    def _together(
        self, members: list[int], faults: list[tuple[Fault, ...]]
    ) -> list[int]:
        """Run trials in one go; return the places of those that need a run alone."""
        try:
            answer = self._run(faults, self.bay.fast)
            return self._judged(members, answer)
        except (RaisedError, TimeLimitError):
            # Nobody knows which of them it was.
            return list(range(len(members)))

    def _judged(self, members: list[int], answer: Answer) -> list[int]:
        """Judge an answer; return the places of trials that need another run."""
        unsure = self._jury.judge(members, answer)
        for place in set(range(len(members))) - set(unsure):
            self.ran.outcomes[members[place]].exact &= answer.exact
        return unsure

    def _alone(self, i: int, faults: tuple[Fault, ...], *, fast: bool) -> None:
        outcome = self.ran.outcomes[i]
        try:
            answer = self._in_time(faults, fast)
            if (most := self._jury.at_once(answer)) > 1:
                self._waiting.append(_Waiting(i, faults, answer))
                if len(self._waiting) >= most:
                    self._judge_waiting()
            elif self._judged([i], answer):
                self._judged([i], self._in_time(faults, False))
        except TimeLimitError as error:
            # A crash in another batch is known; it stays.
            if outcome.status != "crash":
                outcome.status, outcome.message = "unknown", str(error)
        except RaisedError as error:
            outcome.status, outcome.message = "crash", str(error)

    def _judge_waiting(self) -> None:
        """Judge the answers that wait; those that are not sure are run once more."""
        waiting, again = self._waiting, []
        self._waiting = []
        with self._timed([one.trial for one in waiting]):
            for exact in (True, False):
                alike = [one for one in waiting if one.answer.exact == exact]
                if alike:
                    joined = self._jury.joined([one.answer for one in alike])
                    unsure = self._judged([one.trial for one in alike], joined)
                    again += [alike[place] for place in unsure]
        for one in again:
            with self._timed([one.trial]):
                self._alone(one.trial, one.faults, fast=False)

    def _in_time(self, faults: tuple[Fault, ...], fast: bool) -> Answer:
        """Run a trial; one over its time is run once more."""
        try:
            return self._run([faults], fast)
        except TimeLimitError:
            return self._run([faults], fast)

    def _run(self, faults: list[tuple[Fault, ...]], fast: bool) -> Answer:
        deadline = time.monotonic() + self.bay.limit_s * len(faults)
        try:
            return self.bench.run(faults, fast=fast, deadline=deadline)
        except TimeLimitError:
            raise
        except OURS as error:
            if len(faults) > 1:
                # A group needs more than its trials do one by one.
                raise RaisedError(told(error)) from error
            raise EngineError(
                f"a trial must fit this machine, got {told(error)}; "
                "use a smaller batch, or less memory for golden values"
            ) from error
        except Exception as error:
            raise RaisedError(told(error)) from error
