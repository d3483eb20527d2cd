"""Exact steps: narrow where a rule is proved to give the words of a full run."""

from __future__ import annotations

import math
from typing import Any

from stoic.network.golden import Golden
from stoic.network.learnt import Learnt
from stoic.network.patch import Changed, Changes, Patch, overlaid, widened
from stoic.network.program import Step
from stoic.network.proof import holds_at_place, holds_on_noise
from stoic.network.rules import Call, Rule, layout, rule_for

__all__ = ["ExactStepper", "Screen", "SurvivesError"]

# Rows of a product are computed alike in blocks of the widest registers.
_WIDTHS = (1, 16, 64)


class ExactStepper:
    """Run steps so that every bit is that of a full run at the native batch size.

    Args:
        golden: The run.
        narrow: Whether to compute only the touched channel or row where an operator
            allows it; the whole operator otherwise.
        short: Order of the first step from which on that does not pay.
        learnt: Proofs that other benches of this batch size have made.
    """

    def __init__(
        self,
        golden: Golden,
        *,
        narrow: bool = True,
        short: float = math.inf,
        learnt: Learnt | None = None,
    ) -> None:
        self.golden = golden
        self._narrow, self._short = narrow, short
        learnt = learnt or Learnt()
        self._proofs, self._widths = learnt.proofs, learnt.widths
        # Tried on the golden words of this batch.
        self._places: dict[Any, bool] = {}

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        """Return the step's result under changes."""
        narrow = None if self.is_short(step) else self.narrowed(step, changes)
        if narrow is not None:
            return narrow, True
        return self.whole(step, changes), True

    def is_short(self, step: Step) -> bool:
        """Say whether a step is best run whole."""
        return step.order >= self._short

    def whole(self, step: Step, changes: Changes) -> Any:
        """Return the result of the whole operator."""
        return step(overlaid(changes, self.golden))

    def narrowed(self, step: Step, changes: Changes) -> Changed | None:
        """Return the result by a rule, if one is proved for these changes."""
        rule = rule_for(step) if self._narrow else None
        patched = any(isinstance(change, Patch) for change in changes.values())
        if rule is None or not patched:
            return None
        if step.op in layout.MOVES:
            return rule(Call(step, changes, self.golden, fast=False))
        kind = (step.name, *changes)
        first = self._widths.get(kind, 0)
        for number, width in enumerate(_WIDTHS[first:], first):
            wide = self._widened(changes, width)
            shape = _shape(step, wide)
            if self._proofs.get(shape) is False:
                continue
            result = rule(Call(step, wide, self.golden, fast=False))
            if result is None:
                return None
            if self._proved(step, wide, rule, shape):
                self._widths[kind] = number
                return None if _has_nan(result) else result
        return None

    def _widened(self, changes: Changes, width: int) -> Changes:
        if width == 1:
            return changes
        return {
            name: widened(change, width, self.golden(name))
            if isinstance(change, Patch)
            else change
            for name, change in changes.items()
        }

    def _proved(
        self, step: Step, changes: Changes, rule: Rule, shape: tuple[Any, ...]
    ) -> bool:
        """Say whether a rule gives the words of a full run, tried out beforehand."""
        if shape not in self._proofs:
            self._proofs[shape] = holds_on_noise(step, changes, rule, self.golden)
        place = _place(step, changes)
        if self._proofs[shape] and place not in self._places:
            self._places[place] = holds_at_place(step, changes, rule, self.golden)
        return self._proofs[shape] and self._places[place]


class SurvivesError(RuntimeError):
    """A deviation has left the slice it began in."""


class Screen:
    """Run narrow steps only: what is masked by them needs no more than a moment.

    Args:
        exact: That proves them.
    """

    def __init__(self, exact: ExactStepper) -> None:
        self.golden = exact.golden
        self._exact = exact

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        """Return the step's result under changes.

        Raises:
            SurvivesError: It takes a whole step to tell.
        """
        narrow = self._exact.narrowed(step, changes)
        if narrow is None:
            raise SurvivesError
        return narrow, True


def _shape(step: Step, changes: Changes) -> tuple[Any, ...]:
    def of(change: Changed) -> tuple[Any, ...]:
        if isinstance(change, Patch):
            phase = change.start % change.length
            return ("slice", change.dim, change.length, phase, change.piece.stride())
        return ("whole",)

    return (step.name, *((name, *of(change)) for name, change in changes.items()))


def _place(step: Step, changes: Changes) -> tuple[Any, ...]:
    def of(change: Changed) -> tuple[int, ...]:
        if isinstance(change, Patch):
            return (change.dim, change.start, change.length)
        return ()

    return (step.name, *((name, *of(change)) for name, change in changes.items()))


def _has_nan(result: Changed) -> bool:
    """Tell results whose words even the whole operator alone can give.

    Which NaN of two a sum keeps depends on the order in which a kernel reads them.
    """
    piece = result.piece if isinstance(result, Patch) else result
    return bool(piece.isnan().any())
