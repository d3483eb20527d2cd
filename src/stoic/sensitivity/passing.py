"""One step on its way to being bounded, for several perturbations at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.folds import only_norm
from stoic.network.program import Program
from stoic.sensitivity.operators import turns_of
from stoic.sensitivity.operators.always import Always, always_of
from stoic.sensitivity.operators.contract import (
    ROOM,
    Adjoint,
    Crossings,
    Moved,
    Moves,
    Turn,
    Turns,
    length,
    rounding_of,
    single,
)
from stoic.sensitivity.perturbation import WrongWords

__all__ = ["LOCAL", "Gain", "NotKnownError", "OnePassed", "Passed", "Passing"]
__all__ += ["stood_still"]

Gain: TypeAlias = Callable[..., float]
"""From a linear step, or two in a row, to the 2-norm of their map, or infinity."""


LOCAL = "ask for local numbers only: local_only=True, --local-only"
"""What to do where there is no bound."""


class NotKnownError(ValueError):
    """An operator has no bound; the message names it and says what to do."""


@dataclass(frozen=True)
class Passed:
    """A step whose result may move, by several perturbations.

    Args:
        call: The step on golden values, float64.
        turn: What it does with what it reads, and adds by itself.
        moved: How far its result may move in all.
        product: The same by norms of operators alone: the 2-norm,
            [perturbations, inputs].
    """

    call: Call
    turn: Turns
    moved: Moves
    product: Tensor

    def of(self, at: int) -> OnePassed:
        """Return that of one of them."""
        return OnePassed(
            *(self.call, self.turn.of(at), self.moved.of(at), self.product[at]),
        )


@dataclass(frozen=True)
class OnePassed:
    """The same by one perturbation.

    Args:
        call: The step on golden values, float64.
        turn: What it does with what it reads, and adds by itself.
        moved: How far its result may move in all.
        product: The same by norms of operators alone: the 2-norm, [inputs].
    """

    call: Call
    turn: Turn
    moved: Moved
    product: Tensor


@dataclass(frozen=True)
class Passing:
    """A step, and all that is known of those before.

    Args:
        call: The step on golden values.
        program: That it is of.
        given: How far each input may move, by name.
        passed: The steps before that move.
        wrong: Errors of stored words, of each perturbation.
        gain: The 2-norm of a step's linear map, or infinity.
    """

    call: Call
    program: Program
    given: Mapping[str, Moves]
    passed: Mapping[str, Passed]
    wrong: tuple[WrongWords, ...]
    gain: Gain

    def bounded(self) -> Passed:
        """Bound the step, what it adds by itself included.

        Raises:
            NotKnownError: It has no bound.
        """
        call = self.call
        if any(n not in self.passed and n not in self.given for n in call.reads):
            raise self._not_known()
        reads = tuple(self._moved(name) for name in call.reads)
        turn = turns_of(Crossings(call, reads, self.wrong, self._own_gain))
        if turn is None:
            raise self._not_known()
        always = self._always(turn, reads)
        turn = self._stepped(_inside(turn, always))
        size = 0.0 if turn.source is None else length(turn.source)
        norm = _stretched(turn, [moved.norm for moved in reads]) + size
        product = _stretched(turn, [*map(self._product, call.reads)]) + size
        before = self._before(turn)
        if before is not None:
            added = size + _carried(turn, before)
            both, (read,) = self.gain(before.call, call), before.call.reads
            norm = torch.minimum(norm, _times(self._moved(read).norm, both) + added)
            product = torch.minimum(product, _times(self._product(read), both) + added)
        moved = Moves.tightened(turn.most, norm, always, even=turn.even)
        return Passed(call, turn, moved.within(call.result), product)

    def _always(self, turn: Turns, reads: Sequence[Moves]) -> list[Always]:
        """Return the range of the result; a step that is added may leave it."""
        found = []
        for at, wrong in enumerate(self.wrong):
            what = wrong.perturbation
            if self.call.step.name in what.value_steps:
                found.append(Always())
                continue
            share = 2 * rounding_of(turn.terms, what) if turn.terms else 0.0
            ranges = [moved.always[at] for moved in reads]
            found.append(always_of(self.call, ranges, share))
        return found

    def _moved(self, name: str) -> Moves:
        return self.given[name] if name in self.given else self.passed[name].moved

    def _product(self, name: str) -> Tensor:
        passed = self.passed.get(name)
        return self.given[name].norm if passed is None else passed.product

    def _own_gain(self) -> float:
        """Leave out what a batch norm is taken together with."""
        if only_norm(self.program, self.call.step) is not None:
            return math.inf
        return self.gain(self.call)

    def _before(self, turn: Turns) -> Passed | None:
        """Return the step before, where both are one linear map of one value."""
        if turn.carry is None or not self.call.reads:
            return None
        before = self.passed.get(self.call.reads[0])
        return before if before and before.turn.carry is not None else None

    def _stepped(self, turn: Turns) -> Turns:
        """Add absolute errors of the result, which may hang on how large it can be."""
        name, result = self.call.step.name, self.call.result
        steps = [wrong.perturbation.value_steps.get(name) for wrong in self.wrong]
        if all(step is None for step in steps):
            return turn
        added = torch.zeros_like(turn.most)
        for at, step in enumerate(steps):
            if step is not None:
                size = result.abs() + turn.most[at]
                error = step(size) if callable(step) else step
                added[at] = single(torch.as_tensor(error).double() * ROOM)
        source = added if turn.source is None else turn.source + added * ROOM
        most = torch.add(turn.most, added, alpha=ROOM) * ROOM
        return replace(turn, source=source * ROOM, most=most)

    def _not_known(self) -> NotKnownError:
        steps, step = self.program.steps, self.call.step
        alike = sum(each.operator == step.operator for each in steps)
        return NotKnownError(
            f"operator {step.operator} of {step.path or 'the network'} must have a "
            f"bound, got none ({alike} of {len(steps)} steps); {LOCAL}"
        )


def _inside(turn: Turns, always: Sequence[Always]) -> Turns:
    """Return the same of a result within ranges: so are exact and computed numbers."""
    widths = torch.tensor([each.width for each in always], dtype=torch.float64)
    if turn.source is None or bool(widths.isinf().all()):
        return turn
    widths = widths.reshape(-1, *[1] * (turn.source.dim() - 1)) * ROOM
    return replace(turn, source=torch.minimum(turn.source, single(widths)))


def _carried(turn: Turns, before: Passed) -> Tensor | float:
    """Return the length of what the step before adds, behind this one."""
    assert turn.carry is not None
    source = before.turn.source
    return 0.0 if source is None else length(turn.carry(source))


def _times(norm: Tensor, gain: float) -> Tensor:
    return torch.where(norm == 0, 0.0, norm * gain)


def _stretched(turn: Turns, norms: Sequence[Tensor]) -> Tensor:
    """Stretch norms; what does not move does not move however far a map stretches."""
    stretched: Tensor = turn.stretch(*norms)
    if bool((stretched < math.inf).all()):
        return stretched
    # Infinity times 0 is not known.
    stretched = stretched.nan_to_num(math.inf, math.inf)
    if not norms:
        return stretched
    return torch.where(torch.stack([*norms]).amax(0) == 0, 0.0, stretched)


def stood_still(call: Call, errors: Sequence[Tensor | None]) -> Passed:
    """Return a value that no input moves, but wrong words and rounding may.

    Args:
        call: The step that makes it.
        errors: Of it, of each perturbation.
    """
    nothing = torch.zeros_like(call.result)
    wrong = torch.stack([single(nothing if each is None else each) for each in errors])
    norm = length(wrong)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return ()

    def stretch(*norms: Any) -> Tensor:
        return torch.zeros_like(norm)

    turn = Turns(wrong, stretch, Adjoint(back, back), wrong)
    moved = Moves(wrong, norm, (Always(),) * len(norm))
    return Passed(call, turn, moved, moved.norm)
