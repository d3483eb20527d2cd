"""Replay: re-run only what lies downstream of a change, and stop where it is masked."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.golden import Golden
from stoic.network.patch import (
    Changed,
    Changes,
    Lookup,
    Patch,
    same_words,
    whole,
    widened,
)
from stoic.network.program import Step
from stoic.network.rules import Call, Rule, rule_for

__all__ = ["Corrupt", "Replay", "Replayed", "Switches", "TimeLimitError"]

Corrupt: TypeAlias = Callable[[Tensor], Changed]

# Rows of a product are computed alike in blocks of the widest registers.
_WIDTHS = (1, 16, 64)


class TimeLimitError(RuntimeError):
    """A trial took longer than it may."""


@dataclass(frozen=True)
class Switches:
    """Optimisations, each proved equal to the serial suffix and each to be turned off.

    Args:
        narrow: Compute only the touched channel or row where an operator allows it.
        exit_masked: Stop where every deviation has vanished.
        sums: Add a deviation's part to the golden output instead of summing anew;
            last bits may differ.
    """

    narrow: bool = True
    exit_masked: bool = True
    sums: bool = False


@dataclass(frozen=True)
class Replayed:
    """What came out.

    Args:
        outputs: Changed output values by name; none where all is masked.
        exact: Whether every bit is that of a full run at the native batch size.
        rows: Rows of the stack that are left; the others are masked.
    """

    outputs: Mapping[str, Tensor]
    exact: bool
    rows: Tensor | None = None


@dataclass
class Replay:
    """Re-run the suffix of a golden run under changes.

    Args:
        golden: The run.
        switches: Which optimisations are on.
    """

    golden: Golden
    switches: Switches = field(default_factory=Switches)

    def __post_init__(self) -> None:
        readers = self.golden.program.readers
        self._last = {name: steps[-1].order for name, steps in readers.items()}
        self._proofs: dict[Any, bool] = {}
        self._widths: dict[str, int] = {}
        self._exact = True

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
        program, corrupt = self.golden.program, corrupt or {}
        self._exact = True
        state: dict[str, Changed] = dict(changes)
        for name, change in corrupt.items():
            state[name] = change(self.golden(name))
        outputs: dict[str, Tensor] = {}
        queue = _Queue(program.readers)
        for name in list(state):
            self._keep(name, state[name], outputs)
            queue.add(name)
        while (step := queue.pop()) is not None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeLimitError(f"time limit reached at {step.name}")
            result = self._step(step, _read(step, state))
            self._forget(step, state)
            if step.name in corrupt:
                result = corrupt[step.name](whole(result, self.golden(step.name)))
            if self.switches.exit_masked and self._masked(step.name, result):
                state.pop(step.name, None)
                outputs.pop(step.name, None)
                continue
            state[step.name] = result
            self._keep(step.name, result, outputs)
            queue.add(step.name)
        return Replayed(outputs, self._exact)

    def _keep(self, name: str, result: Any, outputs: dict[str, Tensor]) -> None:
        if name in self.golden.program.output_names:
            outputs[name] = whole(result, self.golden(name))

    def _forget(self, step: Step, state: dict[str, Changed]) -> None:
        """Let go of changes that no later step reads."""
        for name in step.inputs:
            if self._last[name] <= step.order:
                state.pop(name, None)

    def _masked(self, name: str, result: Any) -> bool:
        golden = self.golden(name)
        if isinstance(result, tuple | list):
            return all(map(same_words, result, golden))
        return _agrees(result, golden)

    def _step(self, step: Step, changes: Changes) -> Any:
        if self.switches.narrow and (result := self._narrow(step, changes)) is not None:
            return result
        return step(_overlaid(changes, self.golden))

    def _narrow(self, step: Step, changes: Changes) -> Changed | None:
        rule = rule_for(step)
        patched = any(isinstance(change, Patch) for change in changes.values())
        if rule is None or not patched:
            return None
        first = self._widths.get(step.name, 0)
        for number, width in enumerate(_WIDTHS[first:], first):
            wide = self._widened(changes, width)
            if (exact := self._ruled(step, wide, rule)) is None:
                break
            if self._proved(step, wide, rule):
                self._widths[step.name] = number
                return exact
        if self.switches.sums and _summable(changes):
            summed = rule(Call(step, changes, self.golden, fast=True))
            if summed is not None:
                self._exact = False
            return summed
        return None

    def _widened(self, changes: Changes, width: int) -> dict[str, Changed]:
        if width == 1:
            return dict(changes)
        return {
            name: widened(change, width, self.golden(name))
            if isinstance(change, Patch)
            else change
            for name, change in changes.items()
        }

    def _proved(self, step: Step, changes: Changes, rule: Rule) -> bool:
        """Say whether a rule gives the words of a full run, tried out beforehand.

        Kernels choose their instructions by shape, stride and place, not by value. So
        one full run on noise speaks for all slices of a shape, and golden slices that
        give the golden slice speak for each place.
        """
        shape = (step.name, *((n, *_shape(c)) for n, c in changes.items()))
        if shape not in self._proofs:
            noisy = {n: _noisy(c, self.golden(n)) for n, c in changes.items()}
            full = step(_overlaid(noisy, self.golden))
            self._proofs[shape] = _agrees(self._ruled(step, noisy, rule), full)
        place = (step.name, *((n, *_place(c)) for n, c in changes.items()))
        if self._proofs[shape] and place not in self._proofs:
            same = {n: _of_golden(c, self.golden(n)) for n, c in changes.items()}
            result = self._ruled(step, same, rule)
            self._proofs[place] = self._masked(step.name, result)
        return self._proofs[shape] and self._proofs[place]

    def _ruled(self, step: Step, changes: Changes, rule: Rule) -> Changed | None:
        return rule(Call(step, changes, self.golden, fast=False))


@dataclass
class _Queue:
    """Steps that read a changed value, each once, in program order."""

    readers: Mapping[str, tuple[Step, ...]]

    def __post_init__(self) -> None:
        self._heap: list[tuple[int, Step]] = []
        self._known: set[int] = set()

    def add(self, name: str) -> None:
        for step in self.readers.get(name, ()):
            if step.order not in self._known:
                self._known.add(step.order)
                heapq.heappush(self._heap, (step.order, step))

    def pop(self) -> Step | None:
        return heapq.heappop(self._heap)[1] if self._heap else None


def _read(step: Step, state: Mapping[str, Changed]) -> Changes:
    return {name: state[name] for name in step.inputs if name in state}


def _overlaid(changes: Changes, golden: Lookup) -> Lookup:
    """Look values up in the golden run with the changed ones in place."""
    full = {name: whole(change, golden(name)) for name, change in changes.items()}
    return lambda name: full[name] if name in full else golden(name)


def _place(change: Changed) -> tuple[int, ...]:
    if isinstance(change, Patch):
        return (change.dim, change.start, change.length)
    return ()


def _shape(change: Changed) -> tuple[Any, ...]:
    if isinstance(change, Patch):
        return ("slice", change.dim, change.length, change.piece.stride())
    return ("whole",)


def _agrees(result: Changed | None, full: Any) -> bool:
    if isinstance(result, Patch):
        return same_words(result.piece, result.of(full))
    return same_words(result, full)


def _of_golden(change: Changed, golden: Tensor) -> Changed:
    if not isinstance(change, Patch):
        return golden
    # In the strides of the real piece, by which kernels choose their path.
    return change.with_piece(torch.empty_like(change.piece).copy_(change.of(golden)))


def _noisy(change: Changed, golden: Tensor) -> Changed:
    """Return a golden value, or slice of it, with its values moved a little."""
    same = _of_golden(change, golden)
    piece = same.piece if isinstance(same, Patch) else same.clone()
    if piece.is_floating_point():
        chance = torch.Generator(piece.device).manual_seed(0)
        noise = torch.empty(piece.shape, device=piece.device)
        noise.uniform_(0.5, 2.0, generator=chance)
        piece.mul_(noise.to(piece.dtype)).add_(noise.to(piece.dtype) / 64)
    return change.with_piece(piece) if isinstance(change, Patch) else piece


def _summable(changes: Changes) -> bool:
    """Say whether deviations are small enough for a sum that is not exact.

    Far below the format's largest number, so that the layers that follow do not
    overflow in one way of summing and not in the other.
    """
    for change in changes.values():
        piece = change.piece if isinstance(change, Patch) else change
        if piece.dtype not in (torch.float32, torch.float64):
            return False
        limit = torch.finfo(piece.dtype).max ** 0.5
        if not bool(piece.abs().max() < limit):
            return False
    return True
