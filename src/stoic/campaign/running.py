"""Running trials: each fault against every batch of inputs that it can reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.campaign.facts import Facts, RaisedError, told
from stoic.campaign.trials import Bay, Outcome, Trial
from stoic.criteria import Custom
from stoic.faults.space import Fault
from stoic.network.memory import one_thread
from stoic.network.replay import TimeLimitError
from stoic.network.subject import Answer, Bench, Rows

__all__ = ["Block", "Ran", "run_trials"]


@dataclass(frozen=True)
class Block:
    """Facts of some trials, one row per trial and input that is not masked.

    Args:
        trial: Place of the trial among those that were run.
        input: Number of the input.
        columns: The facts.
    """

    trial: NDArray[Any]
    input: NDArray[Any]
    columns: dict[str, NDArray[Any]]


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
        here = [i for i in order if _striking(trials[i], start, bay)]
        if here:
            golden = (bench or bay.bench)(start)
            _Batch(bay, golden, start, trials, ran).run(here, tick)
    return ran


def _exposed(trial: Trial, bay: Bay) -> int:
    return bay.inputs.count if trial.input is None else 1


def _striking(trial: Trial, start: int, bay: Bay) -> list[int]:
    """Return the numbers of the faults of a trial that hit a batch."""
    batch = range(start, start + bay.batch)
    return [
        number
        for number, fault in enumerate(trial.faults)
        if fault.input is None or fault.input in batch
    ]


@dataclass(frozen=True)
class _Batch:
    """Trials on one batch of inputs.

    Args:
        start: First input of the batch.
        ran: Where what comes of the trials is added.
    """

    bay: Bay
    bench: Bench
    start: int
    trials: Sequence[Trial]
    ran: Ran

    def run(self, here: list[int], tick: Callable[[int], None] | None) -> None:
        faults = {i: self._local(i) for i in here}
        for group in self.bench.groups([faults[i] for i in here], fast=self.bay.fast):
            members = [here[place] for place in group]
            self._group(members, [faults[i] for i in members])
            if tick:
                tick(len(members))

    def _local(self, i: int) -> tuple[Fault, ...]:
        """Return the faults of a trial that strike here, with rows for inputs."""
        trial, words = self.trials[i], self.ran.outcomes[i].words
        local = []
        for number in _striking(trial, self.start, self.bay):
            fault = trial.faults[number]
            if fault.input is not None:
                fault = replace(fault, input=fault.input - self.start)
            if fault.input is not None or self.start == 0:
                words[number] = self.bench.words(fault)
            local.append(fault)
        return tuple(local)

    def _group(self, members: list[int], faults: list[tuple[Fault, ...]]) -> None:
        """Run some trials together; alone whatever then is not settled."""
        begun = time.monotonic()
        if len(members) == 1:
            self._alone(members[0], faults[0], fast=self.bay.fast)
        else:
            for place in self._together(members, faults):
                self._alone(members[place], faults[place], fast=False)
        spent = (time.monotonic() - begun) / len(members)
        for i in members:
            self.ran.outcomes[i].seconds += spent

    def _together(
        self, members: list[int], faults: list[tuple[Fault, ...]]
    ) -> list[int]:
        """Run trials in one go; return the places of those that need a run alone."""
        try:
            answer = self._run(faults, self.bay.fast)
            unsure = self._settle(members, answer)
        except (RaisedError, TimeLimitError):
            # Nobody knows which of them it was.
            return list(range(len(members)))
        for place in set(range(len(members))) - set(unsure):
            self.ran.outcomes[members[place]].exact &= answer.exact
        return unsure

    def _alone(self, i: int, faults: tuple[Fault, ...], *, fast: bool) -> None:
        outcome = self.ran.outcomes[i]
        try:
            answer = self._in_time(faults, fast)
            if self._settle([i], answer):
                answer = self._in_time(faults, False)
                self._settle([i], answer)
            outcome.exact &= answer.exact
        except TimeLimitError as error:
            # A crash in another batch is known; it stays.
            if outcome.status != "crash":
                outcome.status, outcome.message = "unknown", str(error)
        except RaisedError as error:
            outcome.status, outcome.message = "crash", str(error)

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
        except Exception as error:
            raise RaisedError(told(error)) from error

    def _settle(self, members: list[int], answer: Answer) -> list[int]:
        """Add the facts of an answer; return the places of unsettled trials.

        Facts of a trial are added only if all of its rows are sure.
        """
        if answer.output is None:
            return list(answer.left)
        rows = answer.rows or Rows.of_one(self.bench.inputs)
        facts = self._judged(answer, rows)
        mine = rows.trial >= 0
        unsure: list[int] = np.unique(rows.trial[facts.unsure & mine]).tolist()
        again = sorted({*unsure, *answer.left})
        kept = mine & ~facts.masked & ~np.isin(rows.trial, again)
        if kept.any():
            columns = {name: column[kept] for name, column in facts.columns.items()}
            trial = np.array(members)[rows.trial[kept]]
            self.ran.blocks.append(Block(trial, self.start + rows.input[kept], columns))
        return again

    def _judged(self, answer: Answer, rows: Rows) -> Facts:
        golden, labels = self.bench.golden, self.bay.batch_labels(self.start)
        if answer.rows is not None:
            index = torch.from_numpy(rows.input)
            golden = _picked(golden, index, self.bench.inputs)
            labels = None if labels is None else labels[index.to(labels.device)]
        # A user's own tail or criterion may compute anything: it keeps all threads.
        own = self.bay.judge.tail or isinstance(self.bay.judge.criterion, Custom)
        with nullcontext() if own else one_thread():
            return self.bay.judge.facts(
                golden, answer.output, labels, exact=answer.exact
            )


def _picked(output: Any, index: Tensor, inputs: int) -> Any:
    """Return an output with its rows picked."""

    def pick(leaf: Any) -> Any:
        rowed = isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == inputs
        return leaf[index.to(leaf.device)] if rowed else leaf

    return pytree.tree_map(pick, output)
