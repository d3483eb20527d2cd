"""Running trials: each fault against every batch of inputs that it can reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from stoic.campaign.facts import CriterionError, Facts, Judge
from stoic.faults.space import Fault
from stoic.network.replay import TimeLimitError
from stoic.network.subject import Answer, Bench, Inputs, Subject

__all__ = ["Bay", "Outcome", "Trial", "run_trials"]


@dataclass(frozen=True)
class Trial:
    """One execution with its faults in place.

    Args:
        number: In the order of the plan.
        stratum: That it was drawn from.
        faults: One, or several that strike together.
    """

    number: int
    stratum: int
    faults: tuple[Fault, ...]

    @property
    def depth(self) -> tuple[int, int]:
        """Where it starts: trials that start together share what replay prepares."""
        return min(((f.site.order, f.element) for f in self.faults), default=(0, 0))

    @property
    def input(self) -> int | None:
        """The only input that it can reach, if there is only one."""
        inputs = {fault.input for fault in self.faults}
        return inputs.pop() if len(inputs) == 1 else None


@dataclass
class Outcome:
    """What came of a trial, over all batches.

    Args:
        exposed: Inputs that the faults could reach.
        status: ``done``, ``crash`` or ``unknown``.
        message: Why it crashed or is unknown.
        words: The word of each fault before and after; known once it has struck.
        facts: Rows for the inputs that are not masked.
        seconds: That it took.
        exact: Whether it was run exactly.
    """

    exposed: int
    status: str = "done"
    message: str = ""
    words: list[tuple[int, int]] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    seconds: float = 0.0
    exact: bool = True


@dataclass(frozen=True)
class Bay:
    """Everything a trial needs but its faults.

    Args:
        subject: The network.
        inputs: All of them.
        labels: Of the inputs, if they have any.
        batch: Inputs per run: the native batch size.
        judge: What facts are taken.
        fast: Whether last bits may be off where no verdict hangs on them.
        limit_s: Time that one trial may take per batch.
    """

    subject: Subject
    inputs: Inputs
    labels: Tensor | None
    batch: int
    judge: Judge
    fast: bool = False
    limit_s: float = 60.0

    @property
    def starts(self) -> range:
        """First input of each batch."""
        return range(0, self.inputs.count, self.batch)

    def bench(self, start: int) -> Bench:
        """Run the batch that starts at an input without a fault."""
        return self.subject.bench(self.inputs.rows(start, start + self.batch))

    def batch_labels(self, start: int) -> Tensor | None:
        """Return the labels of a batch."""
        return None if self.labels is None else self.labels[start : start + self.batch]


@torch.inference_mode()
def run_trials(
    bay: Bay,
    trials: Sequence[Trial],
    *,
    bench: Callable[[int], Bench] | None = None,
    tick: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Run some trials on every input, batch by batch, in order of depth.

    Args:
        bay: What they are run on.
        trials: To run.
        bench: Gives the golden run of the batch at an input; made anew by default.
        tick: Told after each batch and trial how many have been run.

    Returns:
        One outcome per trial, in the order given.
    """
    outcomes = [
        Outcome(_exposed(trial, bay), words=[(0, 0)] * len(trial.faults))
        for trial in trials
    ]
    order = sorted(range(len(trials)), key=lambda i: trials[i].depth)
    for start in bay.starts:
        here = [i for i in order if _striking(trials[i], start, bay)]
        if not here:
            continue
        golden = (bench or bay.bench)(start)
        for i in here:
            _run(bay, golden, start, trials[i], outcomes[i])
            if tick:
                tick(1)
    return outcomes


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


def _run(bay: Bay, bench: Bench, start: int, trial: Trial, outcome: Outcome) -> None:
    """Run a trial on one batch and add what came of it."""
    begun = time.monotonic()
    striking = _striking(trial, start, bay)
    faults = [_local(trial.faults[number], start) for number in striking]
    for number, fault in zip(striking, faults, strict=True):
        if trial.faults[number].input is not None or start == 0:
            outcome.words[number] = bench.words(fault)
    try:
        facts, exact = _facts(bay, bench, start, faults)
        outcome.facts += [] if facts is None else [_only(facts, trial.input)]
        outcome.exact &= exact
    except CriterionError:
        raise
    except TimeLimitError as error:
        # A crash in another batch is known; it stays.
        if outcome.status != "crash":
            outcome.status, outcome.message = "unknown", str(error)
    except Exception as error:
        # The faulty run raised, as it would on the machine: that is its outcome.
        outcome.status, outcome.message = "crash", _line(error)
    outcome.seconds += time.monotonic() - begun


def _local(fault: Fault, start: int) -> Fault:
    return fault if fault.input is None else replace(fault, input=fault.input - start)


def _facts(
    bay: Bay, bench: Bench, start: int, faults: list[Fault]
) -> tuple[Facts | None, bool]:
    """Return the facts of a run, taken from an exact one wherever it matters."""
    answer = _in_time(bay, bench, faults, bay.fast)
    facts = _judged(bay, bench, start, answer)
    if facts is not None and facts.unsure:
        answer = _in_time(bay, bench, faults, False)
        facts = _judged(bay, bench, start, answer)
    return facts, answer.exact


def _in_time(bay: Bay, bench: Bench, faults: list[Fault], fast: bool) -> Answer:
    """Run a trial; one over its time is run once more, alone."""
    try:
        return bench.trial(faults, fast=fast, deadline=time.monotonic() + bay.limit_s)
    except TimeLimitError:
        return bench.trial(faults, fast=fast, deadline=time.monotonic() + bay.limit_s)


def _judged(bay: Bay, bench: Bench, start: int, answer: Answer) -> Facts | None:
    if answer.output is None:
        return None
    return bay.judge.facts(
        bench.golden,
        answer.output,
        bay.batch_labels(start),
        exact=answer.exact,
        first=start,
    )


def _only(facts: Facts, input: int | None) -> Facts:
    """Keep the rows of the one input that a fault can reach."""
    if input is None:
        return facts
    mine = facts.columns["input"] == input
    return Facts({k: column[mine] for k, column in facts.columns.items()}, facts.unsure)


def _line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]
