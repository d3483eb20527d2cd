"""Fast steps: the same verdicts, with last bits that may differ.

Exact as long as a change is a proved patch. Then deviations are added to golden sums,
batch norms are folded into the convolutions before them, and values lie in the memory
layout that a timed probe found quicker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stoic.network.exact import ExactStepper
from stoic.network.folds import Fold, find_folds
from stoic.network.golden import Golden, Run, Selected
from stoic.network.learnt import Learnt
from stoic.network.memory import now
from stoic.network.patch import Changed, Changes, Patch, overlaid
from stoic.network.program import Step, Values
from stoic.network.rules import Call, rule_for
from stoic.network.sizes import BOUNDED, near_overflow, too_large

__all__ = ["FastStepper", "Laid", "TooLargeError"]


class TooLargeError(RuntimeError):
    """A deviation may overflow in one way of summing and not in the other."""


@dataclass(frozen=True)
class _Pending:
    """What a convolution reads; it is run by the batch norm that follows it."""

    change: Changed


class Laid:
    """A golden run whose four-dimensional values lie in a memory layout of choice."""

    def __init__(self, golden: Golden, layout: torch.memory_format) -> None:
        self.program = golden.program
        self.rows = golden.rows
        self._golden = golden
        self._layout = layout
        self._made: Values = {}

    def __call__(self, name: str) -> Any:
        """Return a value in the layout."""
        value = self._golden(name)
        if not isinstance(value, Tensor) or value.dim() != 4:
            return value
        if self._layout is torch.contiguous_format:
            return value
        if name not in self._made:
            self._made[name] = value.contiguous(memory_format=self._layout)
        return self._made[name]

    @property
    def nbytes(self) -> int:
        """Bytes of what had to be copied."""
        return sum(int(value.nbytes) for value in self._made.values())

    def holds(self, name: str) -> bool:
        """Say whether a value is in memory, in any layout."""
        return self._golden.holds(name)


@dataclass(frozen=True)
class FastStepper:
    """Run steps as quickly as the verdict allows.

    Args:
        golden: The run.
        laid: The same, in the layout that steps are quickest in.
        folds: Batch norms folded into convolutions.
        exact: For patches that it has proved; nothing where bits cannot be compared.
        loud: Values that are close to an overflow in the golden run, as masks are.
        sums: Whether to add a deviation's part to the golden result.
        layout: That values of four dimensions lie in.
    """

    golden: Run
    laid: Run
    folds: Mapping[str, Fold]
    exact: ExactStepper | None
    loud: Collection[str]
    sums: bool = True
    layout: torch.memory_format = torch.contiguous_format

    @classmethod
    def of(
        cls,
        golden: Golden,
        exact: ExactStepper,
        learnt: Learnt,
        *,
        sums: bool,
        fold: bool,
    ) -> FastStepper:
        """Find out what is quickest for a golden run, by trial."""
        layout = learnt.once("layout", partial(_layout, golden))
        found = learnt.once("folds", partial(find_folds, golden, layout))
        folds = found if fold else {}
        laid = Laid(golden, layout)
        return cls(golden, laid, folds, exact, golden.loud, sums, layout)

    def on_rows(self, rows: Tensor) -> FastStepper:
        """Return the same steps on a batch of picked inputs."""
        picked = Selected(self.laid, rows)
        return replace(self, golden=picked, laid=picked, exact=None)

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        """Return the step's result under changes, and whether it is exact.

        Raises:
            TooLargeError: The result must come from an exact run.
        """
        waits = any(isinstance(change, _Pending) for change in changes.values())
        if self.exact is not None and not waits:
            if self.exact.is_short(step):
                return self.exact.whole(step, changes), True
            narrow = self.exact.narrowed(step, changes)
            if narrow is not None:
                return narrow, True
        _check_sizes(changes)
        result = self._inexact(step, changes, hit)
        # What a fold reads has been checked for both of its steps.
        checked = waits and len(changes) == 1
        if checked or step.op in BOUNDED or step.name in self.loud:
            return result, False
        if near_overflow(result):
            raise TooLargeError
        return result, False

    def _inexact(self, step: Step, changes: Changes, hit: bool) -> Any:
        fold = self.folds.get(step.name)
        if (
            fold is not None
            and not hit
            and fold.convolution is step
            and self._may_wait(fold, changes)
        ):
            return _Pending(changes[fold.source])
        pending = changes.get(fold.convolution.name) if fold is not None else None
        if fold is not None and isinstance(pending, _Pending):
            if len(changes) == 1:
                return self._folded(fold, pending.change)
            # Another fault is in the norm itself: the convolution is run by itself.
            source = {fold.source: pending.change}
            made = fold.convolution(overlaid(source, self.laid))
            changes = {**changes, fold.convolution.name: made}
        patched = any(map(_is_patch, changes.values()))
        if self.sums and patched and (rule := rule_for(step)) is not None:
            result = rule(Call(step, changes, self.laid, fast=True))
            if result is not None:
                return result
        return step(overlaid(changes, self.laid))

    def _may_wait(self, fold: Fold, changes: Changes) -> bool:
        """Say whether a convolution may be run by the norm that follows it."""
        change = changes.get(fold.source)
        if tuple(changes) != (fold.source,) or (fold.grouped and _is_patch(change)):
            return False
        # What overflows between the two would not be seen.
        return not near_overflow(change, fold.growth)

    def _folded(self, fold: Fold, change: Changed) -> Tensor:
        if isinstance(change, Patch) and change.dim == 1 and self.sums:
            deviation = change.piece - change.of(self.golden(fold.source))
            part = fold.part(deviation, change.start, change.length)
            return part.add_(self.laid(fold.norm.name))
        return fold(overlaid({fold.source: change}, self.laid)(fold.source))


def _is_patch(change: Any) -> bool:
    return isinstance(change, Patch)


def _check_sizes(changes: Changes) -> None:
    """Refuse patches that later layers might carry over the format's edge."""
    for change in changes.values():
        if isinstance(change, Patch) and too_large(change.piece):
            raise TooLargeError


def _layout(golden: Golden) -> torch.memory_format:
    """Return the layout in which the program's convolutions take less time.

    Where memory is limited there is no room for values in another layout.
    """
    if golden.bounded:
        return torch.contiguous_format
    times = {
        layout: _probe(golden, layout)
        for layout in (torch.contiguous_format, torch.channels_last)
    }
    return min(times, key=lambda layout: times[layout])


def _probe(golden: Golden, layout: torch.memory_format) -> float:
    """Return the seconds that folded convolutions take in a layout, second run."""
    folds = {fold.norm.name: fold for fold in find_folds(golden, layout).values()}
    spent = 0.0
    for fold in folds.values():
        value = golden(fold.source)
        if value.dim() == 4:
            value = value.contiguous(memory_format=layout)
        for counted in (False, True):
            begun = now()
            fold(value)
            spent += counted * (now() - begun)
    return spent
