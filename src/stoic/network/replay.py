"""Replay: re-run only what lies downstream of a change, and stop where it is masked."""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from torch import Tensor

from stoic.network.golden import Run
from stoic.network.patch import (
    Changed,
    Changes,
    Patch,
    agrees,
    shares_words,
    whole,
    whole_over,
)
from stoic.network.program import Step

__all__ = ["Corrupt", "Replay", "Replayed", "Stepper", "TimeLimitError"]


class Corrupt(Protocol):
    """What faults do to a value."""

    def of(self, value: Tensor) -> Changed:
        """Return what becomes of a value; the value itself stays as it is."""
        ...

    def into(self, value: Tensor) -> None:
        """Change a value that nobody else reads."""
        ...


class TimeLimitError(RuntimeError):
    """A trial took longer than it may."""


class Stepper(Protocol):
    """How one step is run again."""

    @property
    def golden(self) -> Run:
        """The run whose values are not changed."""
        ...

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        """Return a step's result under changes, and whether every bit of it is right.

        That is: right if those of the changes are. A result that is ``hit`` by a fault
        of its own must not be left to later steps.
        """
        ...


@dataclass(frozen=True)
class Replayed:
    """What came out.

    Args:
        outputs: Changed output values by name; none where all is masked.
        exact: Whether every bit is that of a full run at the native batch size.
        watched: Changed values that were asked for, by name.
    """

    outputs: Mapping[str, Tensor]
    exact: bool
    watched: Mapping[str, Any] = field(default_factory=dict)

    def output(self, golden: Run) -> Any:
        """Return the output in the network's structure; nothing if all is masked."""
        if not self.outputs:
            return None
        found = self.outputs
        return golden.program.answer(lambda n: found[n] if n in found else golden(n))


class Replay:
    """Re-run the suffix of a golden run under changes.

    Args:
        stepper: How single steps are run.
        exit_masked: Whether to stop where every deviation has vanished: the whole live
            cut is compared, as a skip connection may still carry one.
        watch: Values to be told of, besides the outputs.
    """

    def __init__(
        self,
        stepper: Stepper,
        *,
        exit_masked: bool = True,
        watch: Collection[str] = (),
    ) -> None:
        self._stepper = stepper
        self._golden = stepper.golden
        self._program = stepper.golden.program
        self._exit = exit_masked
        self._kept = self._program.output_names.union(watch)

    def __call__(
        self,
        changes: Changes,
        corrupt: Mapping[str, Corrupt] | None = None,
        *,
        deadline: float | None = None,
    ) -> Replayed:
        """Return the outputs under changed values.

        Args:
            changes: Stored or computed values by name, as they are at the start.
            corrupt: What to do to computed values each time they are made.
            deadline: Time of ``time.monotonic`` after which the run is given up.

        Raises:
            TimeLimitError: The deadline has passed.
        """
        corrupt = corrupt or {}
        live = _Live(self._program.readers, self._kept)
        for name, change in changes.items():
            live.set(name, change)
        for name, hit_by in corrupt.items():
            live.set(name, _Later(hit_by, self._golden))
        exact = True
        while (step := live.next_step()) is not None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeLimitError(f"time limit reached at {step.name}")
            hit = step.name in corrupt
            read = live.read_by(step)
            result, right = self._stepper(step, read, hit=hit)
            exact &= right
            live.forget(step)
            if hit:
                result = self._corrupted(step, result, read, corrupt[step.name])
            if self._masked(step.name, result, exact):
                live.drop(step.name)
            else:
                live.set(step.name, result)
        kept = {
            name: whole_over(name, live(name), self._golden)
            for name in self._kept.intersection(live.values)
        }
        names = self._program.output_names
        outputs = {name: value for name, value in kept.items() if name in names}
        return Replayed(outputs, exact, kept)

    def _corrupted(
        self, step: Step, result: Any, read: Changes, hit_by: Corrupt
    ) -> Tensor:
        """Return a step's result with faults in it, as one tensor."""
        value: Tensor = whole_over(step.name, result, self._golden)
        golden = (self._golden(n) for n in step.inputs if self._golden.holds(n))
        if shares_words(value, (*read.values(), *golden)):
            return cast(Tensor, whole(hit_by.of(value), value))
        hit_by.into(value)
        return value

    def _masked(self, name: str, result: Any, exact: bool) -> bool:
        """Say whether a result is the golden one, word for word."""
        if isinstance(result, int | float):
            return bool(result == self._golden(name))
        if not isinstance(result, Tensor | Patch | tuple | list):
            return False
        # What is off in its last bits never equals the golden words for sure.
        if not self._exit or not exact or not self._golden.holds(name):
            return False
        return agrees(result, self._golden(name))


@dataclass(frozen=True)
class _Later:
    """What a fault makes of a golden value: made when read, as a step may make it."""

    corrupt: Corrupt
    golden: Run


class _Live:
    """The changed values that a later step reads, and those that are kept."""

    def __init__(
        self, readers: Mapping[str, tuple[Step, ...]], kept: frozenset[str]
    ) -> None:
        self.values: dict[str, Any] = {}
        self._readers = readers
        self._kept = kept
        self._queue: list[tuple[int, Step]] = []
        self._queued: set[int] = set()

    def set(self, name: str, change: Any) -> None:
        self.values[name] = change
        for step in self._readers.get(name, ()):
            if step.order not in self._queued:
                self._queued.add(step.order)
                heapq.heappush(self._queue, (step.order, step))

    def drop(self, name: str) -> None:
        self.values.pop(name, None)

    def next_step(self) -> Step | None:
        """Return the first step in program order that reads a changed value."""
        while self._queue:
            step = heapq.heappop(self._queue)[1]
            if any(name in self.values for name in step.inputs):
                return step
        return None

    def read_by(self, step: Step) -> Changes:
        return {n: self(n) for n in step.inputs if n in self.values}

    def __call__(self, name: str) -> Any:
        """Return a changed value."""
        change = self.values[name]
        if isinstance(change, _Later):
            change = self.values[name] = change.corrupt.of(change.golden(name))
        return change

    def forget(self, step: Step) -> None:
        """Let go of values that no later step reads, unless they are kept."""
        for name in step.inputs:
            last = self._readers[name][-1].order <= step.order
            if last and name not in self._kept:
                self.values.pop(name, None)
