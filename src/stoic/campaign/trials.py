"""Trials, what comes of them, and what they are run on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from stoic.campaign.facts import Judge
from stoic.faults.space import Fault
from stoic.network.subject import Bench, Inputs, Subject

__all__ = ["Bay", "Outcome", "Trial", "shared_time"]


@dataclass(frozen=True)
class Trial:
    """One execution with its faults in place.

    Args:
        number: In the order of the plan.
        stratum: That it was drawn from.
        faults: One, or several that strike together.
        only: Inputs that it is run on; nothing for all that the faults can reach.
    """

    number: int
    stratum: int
    faults: tuple[Fault, ...]
    only: range | None = None

    @cached_property
    def depth(self) -> tuple[int, int]:
        """Where it starts: trials that start together share what replay prepares."""
        return min([(f.site.order, f.element) for f in self.faults], default=(0, 0))

    @cached_property
    def inputs(self) -> frozenset[int | None]:
        """The inputs whose rows are hit; nothing among them stands for every input."""
        return frozenset([fault.input for fault in self.faults])

    @property
    def input(self) -> int | None:
        """The only input that it can reach, if there is only one."""
        return next(iter(self.inputs)) if len(self.inputs) == 1 else None

    def strikes(self, batch: range) -> bool:
        """Say whether any of its faults hits an input of a batch."""
        if self.only is not None and self.only.start not in batch:
            return False
        return None in self.inputs or any(input in batch for input in self.inputs)


@dataclass
class Outcome:
    """What came of a trial, over all batches.

    Args:
        exposed: Inputs that the faults could reach.
        status: ``done``, ``crash`` or ``unknown``.
        message: Why it crashed or is unknown.
        words: The word of each fault before and after; known once it has struck.
        seconds: That it took.
        exact: Whether it was run exactly.
    """

    exposed: int
    status: str = "done"
    message: str = ""
    words: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0
    exact: bool = True


@contextmanager
def shared_time(outcomes: Sequence[Outcome]) -> Iterator[None]:
    """Share the time that something takes out among trials."""
    begun = time.monotonic()
    yield
    spent = (time.monotonic() - begun) / max(len(outcomes), 1)
    for outcome in outcomes:
        outcome.seconds += spent


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
        kept: Golden runs that are kept, by their first input; of no other subject and
            batch, so that a copy with another one begins without.
    """

    subject: Subject
    inputs: Inputs
    labels: Tensor | None
    batch: int
    judge: Judge
    fast: bool = False
    limit_s: float = 60.0
    kept: dict[int, Bench] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def starts(self) -> range:
        """First input of each batch."""
        return range(0, self.inputs.count, self.batch)

    def judged_by(self, judge: Judge) -> Bay:
        """Return the same with another judge; golden runs are kept."""
        bay = replace(self, judge=judge)
        bay.kept.update(self.kept)
        return bay

    def bench(self, start: int) -> Bench:
        """Run the batch that starts at an input without a fault."""
        return self.subject.bench(self.inputs.rows(start, start + self.batch))

    def batch_labels(self, start: int) -> Tensor | None:
        """Return the labels of a batch."""
        return None if self.labels is None else self.labels[start : start + self.batch]
