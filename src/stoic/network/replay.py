"""Replay: re-run only what lies downstream of a change, and stop where it is masked."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from stoic.network.patch import Changed, Changes, Patch, agrees, whole
from stoic.network.program import Program, Step

__all__ = ["Corrupt", "Replay", "Replayed", "Run", "Stepper", "TimeLimitError"]

Corrupt: TypeAlias = Callable[[Tensor], Changed]


class TimeLimitError(RuntimeError):
    """A trial took longer than it may."""


class Run(Protocol):
    """A golden run, or one with its rows picked."""

    @property
    def program(self) -> Program:
        """What was run."""
        ...

    def __call__(self, name: str) -> Any:
        """Return a value of it."""
        ...

    def holds(self, name: str) -> bool:
        """Say whether a value is in memory."""
        ...


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
    """

    outputs: Mapping[str, Tensor]
    exact: bool


class Replay:
    """Re-run the suffix of a golden run under changes.

    Args:
        stepper: How single steps are run.
        exit_masked: Whether to stop where every deviation has vanished: the whole live
            cut is compared, as a skip connection may still carry one.
    """

    def __init__(self, stepper: Stepper, *, exit_masked: bool = True) -> None:
        self._stepper = stepper
        self._golden = stepper.golden
        self._program = stepper.golden.program
        self._exit = exit_masked

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
        live = _Live(self._program.readers, self._program.output_names)
        for name, change in changes.items():
            live.set(name, change)
        for name, change_of in corrupt.items():
            live.set(name, change_of(self._golden(name)))
        exact = True
        while (step := live.next_step()) is not None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeLimitError(f"time limit reached at {step.name}")
            hit = step.name in corrupt
            result, right = self._stepper(step, live.read_by(step), hit=hit)
            exact &= right
            live.forget(step)
            if hit:
                made = whole(result, self._golden(step.name))
                result = whole(corrupt[step.name](made), made)
            if self._masked(step.name, result, exact):
                live.drop(step.name)
            else:
                live.set(step.name, result)
        return Replayed(self._outputs(live.values), exact)

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

    def _outputs(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        names = self._program.output_names.intersection(values)
        return {name: whole(values[name], self._golden(name)) for name in names}


class _Live:
    """The changed values that a later step or the output reads."""

    def __init__(
        self, readers: Mapping[str, tuple[Step, ...]], outputs: frozenset[str]
    ) -> None:
        self.values: dict[str, Any] = {}
        self._readers = readers
        self._outputs = outputs
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
        return {n: self.values[n] for n in step.inputs if n in self.values}

    def forget(self, step: Step) -> None:
        """Let go of values that no later step reads; those of the output stay."""
        for name in step.inputs:
            last = self._readers[name][-1].order <= step.order
            if last and name not in self._outputs:
                self.values.pop(name, None)
