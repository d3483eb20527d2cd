"""Forwards: everything that each value of a program can become under a perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.backward import fixed_values
from stoic.network.certified.contract import Call
from stoic.network.program import Program, Step, Values
from stoic.network.smooth import floats
from stoic.sensitivity.operators import turn_of
from stoic.sensitivity.operators.contract import (
    UP,
    Crossing,
    Moved,
    Turn,
    beside,
    two_norm,
)
from stoic.sensitivity.perturbation import Perturbation

__all__ = ["Gain", "NotKnownError", "Passed", "Reach", "reached", "wide"]

_SIZE = torch.ops.aten.sym_size.int
_MOVES = {
    *("t", "transpose", "permute", "numpy_T", "reshape", "as_reshape", "view"),
    *("alias", "detach", "clone", "contiguous", "expand", "unsqueeze", "squeeze"),
    *("slice", "select", "flatten", "unflatten"),
}
Gain: TypeAlias = Callable[..., float]
"""From a linear step, or two in a row, to the 2-norm of their map, or infinity."""


class NotKnownError(ValueError):
    """An operator has no bound; the message names it and says what to do."""


@dataclass(frozen=True)
class Passed:
    """A step whose result may move.

    Args:
        call: The step on golden values, float64.
        turn: What it does with what it reads.
        rounding: What it adds to the deviation by rounding.
        wrong: What it adds because of wrong stored words.
        moved: How far its result may move in all.
        product: The same by norms of operators alone: the 2-norm, [inputs].
    """

    call: Call
    turn: Turn
    rounding: Tensor
    wrong: Tensor
    moved: Moved
    product: Tensor

    @property
    def source(self) -> Tensor:
        """All that it adds to the deviation by itself."""
        return self.rounding + self.wrong


@dataclass(frozen=True)
class Reach:
    """All that a program can become, on one batch.

    Args:
        program: In float64.
        values: Golden values.
        given: How far each input of the program may move, by name.
        passed: The steps that move, by name, in order.
    """

    program: Program
    values: Values
    given: Mapping[str, Moved]
    passed: Mapping[str, Passed]

    def moved(self, name: str) -> Moved:
        """Return how far a value that deviates may move."""
        return self.given[name] if name in self.given else self.passed[name].moved

    def product(self, name: str) -> Tensor:
        """Return the same by norms of operators alone."""
        found = self.given.get(name)
        return self.passed[name].product if found is None else found.norm


def wide(program: Program) -> Program:
    """Return the program with its stored numbers in float64."""
    stored = {name: _wide(value) for name, value in program.stored.items()}
    return replace(program, stored=stored)


def _wide(value: Any) -> Any:
    return value.detach().double() if floats(value) else value


@torch.no_grad()
def reached(
    program: Program,
    leaves: Sequence[Any],
    perturbation: Perturbation,
    gain: Gain = lambda *calls: math.inf,
) -> Reach:
    """Run a program on a batch, with bounds of everything it can become.

    Args:
        program: Captured; it stays as it is.
        leaves: The batch, one entry per input of the program.
        perturbation: What may differ.
        gain: The 2-norm of a step's linear map, or infinity.

    Raises:
        NotKnownError: An operator has no bound.
        ValueError: A golden value is not finite.
    """
    ours = wide(program)
    values = ours.given([_wide(leaf) for leaf in leaves])
    given = {
        name: _given(values[name], perturbation)
        for name in ours.inputs
        if floats(values[name])
    }
    fixed = {*fixed_values(ours), *(set(ours.inputs) - given.keys())}
    wrong = _Wrong(ours, values, perturbation)
    reach = Reach(ours, values, given, passed := {})
    for step in ours.steps:
        values[step.name] = step(values.__getitem__)
        if step.op is _SIZE or fixed.issuperset(step.inputs):
            fixed.add(step.name)
            wrong.follow(step)
            continue
        call = Call(step, values.__getitem__, fixed)
        _check_finite(call)
        passed[step.name] = _passed(call, reach, perturbation, wrong, gain)
    return reach


def _check_finite(call: Call) -> None:
    if not bool(call.result.isfinite().all()):
        raise ValueError(
            f"golden values must be finite, got others in {call.step.name}; "
            "leave out the inputs that they come of"
        )


def _given(value: Tensor, perturbation: Perturbation) -> Moved:
    """Return the deviation of an input: a ball about it, or a box."""
    norm = value.flatten(1).norm(dim=1) * perturbation.radius * UP
    if perturbation.norm == 2:
        return Moved(beside(norm, value).expand_as(value).contiguous(), norm)
    side = norm / value[0].numel() ** 0.5
    return Moved(beside(side, value).expand_as(value).contiguous(), norm)


def _passed(
    call: Call,
    reach: Reach,
    perturbation: Perturbation,
    wrong: _Wrong,
    gain: Gain,
) -> Passed:
    """Bound one step, what it adds by itself included."""
    reads = [reach.moved(name) for name in call.reads]
    wrong.check(call)
    share, own = perturbation.stored, partial(gain, call)
    turn = turn_of(Crossing(call, tuple(reads), share, wrong.steps.get, own))
    if turn is None:
        raise _not_known(call, reach.program)
    errors = (torch.zeros_like(call.result) + turn.errors) * UP
    rounding = _rounding(call, turn, perturbation)
    source = two_norm(rounding + errors)
    norm = _stretched(turn, [moved.norm for moved in reads]) + source
    product = _stretched(turn, [*map(reach.product, call.reads)]) + source
    before = _before(call, turn, reach)
    if before is not None:
        assert turn.carry is not None
        added = two_norm(turn.carry(before.source)) + source
        both, (read,) = gain(before.call, call), before.call.reads
        norm = torch.minimum(norm, _times(reach.moved(read).norm, both) + added)
        product = torch.minimum(product, _times(reach.product(read), both) + added)
    moved = Moved.tightened(turn.most + rounding + errors, norm)
    return Passed(call, turn, rounding, errors, moved, product)


def _not_known(call: Call, program: Program) -> NotKnownError:
    name = call.step.operator
    alike = sum(step.operator == name for step in program.steps)
    return NotKnownError(
        f"operator {name} of {call.step.path or 'the network'} must have a bound, got "
        f"none ({alike} of {len(program.steps)} steps); ask for local numbers only"
    )


def _times(norm: Tensor, gain: float) -> Tensor:
    return torch.where(norm == 0, 0.0, norm * gain)


def _stretched(turn: Turn, norms: Sequence[Tensor]) -> Tensor:
    """Stretch norms; what does not move does not move however far a map stretches."""
    still = torch.stack([*norms]).amax(0) == 0
    return torch.where(still, 0.0, turn.stretch(*norms))


def _before(call: Call, turn: Turn, reach: Reach) -> Passed | None:
    """Return the step before, where both are one linear map of one value."""
    if turn.carry is None or call.reads[0] not in reach.passed:
        return None
    before = reach.passed[call.reads[0]]
    return before if before.turn.carry is not None else None


class _Wrong:
    """Errors of stored words, and of what is made of stored words alone.

    A relative error stays what it is while words are only moved about; absolute ones
    are moved with them. Of anything else that is computed of stored words alone nothing
    is known.

    Args:
        program: Whose stored words may be wrong.
        values: Golden values, as far as they have been run.
        perturbation: By how much they may be wrong, or what is computed of them.
    """

    def __init__(
        self, program: Program, values: Values, perturbation: Perturbation
    ) -> None:
        self._values, self._program = values, program
        wrong = perturbation.stored or perturbation.stored_steps
        self._any = bool(wrong or perturbation.values)
        self._computed: set[str] = set()
        self.steps = {
            name: torch.as_tensor(step, dtype=torch.float64).expand_as(values[name])
            for name, step in perturbation.stored_steps.items()
        }

    def follow(self, step: Step) -> None:
        """Note a step that reads nothing that deviates."""
        if step.operator not in _MOVES:
            if any(floats(self._values[name]) for name in step.inputs):
                self._computed.add(step.name)
            return
        if not self._computed.isdisjoint(step.inputs):
            self._computed.add(step.name)
        if any(name in self.steps for name in step.inputs):
            errors = {**self._values, **self.steps}
            self.steps[step.name] = step(errors.__getitem__)

    def check(self, call: Call) -> None:
        """Refuse a step that reads what was computed of stored words.

        Raises:
            NotKnownError: It does, and they may be wrong.
        """
        read = self._computed.intersection(call.step.inputs)
        numbers = [name for name in read if floats(self._values[name])]
        if self._any and numbers:
            made = self._program.by_name[numbers[0]]
            raise NotKnownError(
                f"wrong stored words must reach {call.step.name} unchanged, got "
                f"{made.operator} before it; make its result the stored word"
            )


def _rounding(call: Call, turn: Turn, perturbation: Perturbation) -> Tensor:
    """Return what a step adds by rounding, inside it and as its result is stored."""
    rounding = torch.zeros_like(call.result)
    if turn.size is not None:
        inside = turn.terms * perturbation.sums
        inside = inside / (1 - inside) if inside < 1 else math.inf
        # Our own float64 rounds, too.
        inside = max(inside, turn.terms * 2.0**-52)
        stored = perturbation.values / (1 - perturbation.values)
        rounding = turn.size * (inside + stored * (1 + inside))
    step = perturbation.value_steps.get(call.step.name, 0.0)
    own = step(call.result.abs() + turn.most) if callable(step) else step
    return (rounding + own) * UP
