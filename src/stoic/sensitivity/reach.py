"""Forwards: everything that each value of a program can become under a perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.folds import only_norm
from stoic.network.program import Program, Values
from stoic.network.smooth import floats
from stoic.sensitivity.judged import NotFiniteError
from stoic.sensitivity.operators import turn_of
from stoic.sensitivity.operators.always import Always, always_of
from stoic.sensitivity.operators.contract import (
    UP,
    Adjoint,
    Crossing,
    Moved,
    Turn,
    beside,
    two_norm,
)
from stoic.sensitivity.parts import Parts
from stoic.sensitivity.perturbation import Perturbation, WrongWords
from stoic.sensitivity.still import Still
from stoic.sensitivity.stored import error_of

__all__ = ["Gain", "NotKnownError", "Passed", "Reach", "reached", "reached_by", "wide"]

_SIZE = torch.ops.aten.sym_size.int
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
        source: What it adds to the deviation by itself: rounding, and wrong stored
            words; 0 of an exact step.
        moved: How far its result may move in all.
        product: The same by norms of operators alone: the 2-norm, [inputs].
    """

    call: Call
    turn: Turn
    source: Tensor | float
    moved: Moved
    product: Tensor


@dataclass(frozen=True)
class Reach:
    """All that a program can become, on one batch.

    Args:
        program: In float64.
        values: Golden values.
        given: How far each input of the program may move, by name.
        passed: The steps that move, by name, in order.
        errors: Of values made of stored words alone, by name.
    """

    program: Program
    values: Values
    given: Mapping[str, Moved]
    passed: dict[str, Passed]
    errors: dict[str, Any]

    def moved(self, name: str) -> Moved:
        """Return how far a value that deviates may move.

        Raises:
            NotKnownError: It hangs on whole numbers in a way that is not followed.
        """
        if name not in self.given and name not in self.passed:
            raise NotKnownError(
                "what is bounded must hang on an input of floating-point numbers or a "
                f"layer with stored weights, got {name}; ask for local numbers only"
            )
        return self.given[name] if name in self.given else self.passed[name].moved

    def product(self, name: str) -> Tensor:
        """Return the same by norms of operators alone."""
        norm = self.moved(name).norm
        return self.passed[name].product if name in self.passed else norm


def wide(program: Program) -> Program:
    """Return the program with its stored numbers, and those it makes, in float64."""
    stored = {name: _wide(value) for name, value in program.stored.items()}
    steps = tuple(
        replace(step, args=_wide(step.args), kwargs=_wide(dict(step.kwargs)))
        for step in program.steps
    )
    return replace(program, stored=stored, steps=steps)


def _wide(value: Any) -> Any:
    if floats(value):
        return value.detach().double()
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    if isinstance(value, list | tuple):
        return type(value)(_wide(item) for item in value)
    if isinstance(value, dict):
        return {key: _wide(item) for key, item in value.items()}
    return value


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
    (found,) = reached_by(program, leaves, [perturbation], gain)
    return found


@torch.no_grad()
def reached_by(
    program: Program,
    leaves: Sequence[Any],
    perturbations: Sequence[Perturbation],
    gain: Gain = lambda *calls: math.inf,
) -> list[Reach]:
    """Return the same for several perturbations, each by itself, in one golden run.

    Arguments and errors are those of `reached`.
    """
    _check_casts(program)
    ours = wide(program)
    values = ours.given([_wide(leaf) for leaf in leaves])
    floating = [name for name in ours.inputs if floats(values[name])]
    reaches = [
        Reach(ours, values, _all_given(values, floating, each), {}, {})
        for each in perturbations
    ]
    both = [*zip(reaches, perturbations, strict=True)]
    fixed = {*ours.stored, *(set(ours.inputs) - {*floating})}
    count = _count(leaves)
    parts, still = Parts(ours, values, fixed, count), Still(ours, values, fixed, count)
    for step in (part for whole in ours.steps for part in parts.of(whole)):
        values[step.name] = step(values.__getitem__)
        for name in still.read_by(step):
            fixed.remove(name)
            for reach in reaches:
                error = reach.errors.pop(name)
                reach.passed[name] = _still(still.calls[name], error)
        call = Call(step, values.__getitem__, fixed.intersection(step.inputs))
        if step.op is _SIZE or fixed.issuperset(step.inputs):
            errors = [_error(call, reach, each) for reach, each in both]
            if still.begins(call):
                for reach, error in zip(reaches, errors, strict=True):
                    reach.passed[step.name] = _still(call, error)
            else:
                fixed.add(step.name)
                for reach, error in zip(reaches, errors, strict=True):
                    reach.errors[step.name] = error
        elif floats(values[step.name]):
            _check_finite(call)
            shared: dict[str, Any] = {}
            for reach, each in both:
                passing = _Passing(call, reach, each, gain, shared)
                reach.passed[step.name] = passing.passed()
    return reaches


def _all_given(
    values: Values, names: Sequence[str], perturbation: Perturbation
) -> dict[str, Moved]:
    if perturbation.radius and not names:
        raise ValueError(
            "radius must be 0 where no input has floating-point numbers, got "
            f"{perturbation.radius}; begin at what the embedding gives: beginning_at"
        )
    return {name: _given(values[name], perturbation) for name in names}


def _still(call: Call, error: Tensor | None) -> Passed:
    """Return a value that no input moves, but wrong words and rounding may."""
    _check_finite(call)
    nothing = torch.zeros_like(call.result)
    none = torch.zeros(len(nothing), dtype=torch.float64)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return ()

    turn = Turn(nothing, lambda *norms: none, Adjoint(back, back))
    wrong = nothing if error is None else error
    moved = Moved.tightened(wrong, two_norm(wrong))
    return Passed(call, turn, wrong, moved, moved.norm)


def _check_casts(program: Program) -> None:
    """Refuse a cast to a narrower format than the network's own: it rounds more."""
    stored = [value.dtype for value in program.stored.values() if floats(value)]
    widest = max((torch.finfo(dtype).eps for dtype in stored), default=1.0)
    for step in program.steps:
        for given in (*step.args, *step.kwargs.values()):
            ours = isinstance(given, torch.dtype) and given.is_floating_point
            if ours and torch.finfo(given).eps > widest:
                raise NotKnownError(
                    f"computed values must keep the network's format, got a cast to "
                    f"{given} in {step.path or 'the network'}; ask for local numbers "
                    "only"
                )


def _error(call: Call, reach: Reach, perturbation: Perturbation) -> Any:
    words = WrongWords(perturbation, reach.program.stored, reach.errors)
    return None if call.step.op is _SIZE else error_of(call, words.of, perturbation)


def _count(leaves: Sequence[Any]) -> int:
    return next(len(x) for x in leaves if isinstance(x, Tensor) and x.dim() > 0)


def _check_finite(call: Call) -> None:
    if not bool(call.result.isfinite().all()):
        raise NotFiniteError.of(call.step.path or call.step.name, call.result)


def _given(value: Tensor, perturbation: Perturbation) -> Moved:
    """Return the deviation of an input: a ball about it, or a box."""
    norm = value.flatten(1).norm(dim=1) * perturbation.radius * UP
    if perturbation.norm == 2:
        return Moved(beside(norm, value).expand_as(value).contiguous(), norm)
    side = norm / value[0].numel() ** 0.5
    return Moved(beside(side, value).expand_as(value).contiguous(), norm)


@dataclass(frozen=True)
class _Passing:
    """A step on its way to being bounded.

    Args:
        call: The step on golden values.
        reach: Of the steps before.
        perturbation: What may differ.
        gain: The 2-norm of a step's linear map, or infinity.
        shared: What is the same for all perturbations.
    """

    call: Call
    reach: Reach
    perturbation: Perturbation
    gain: Gain
    shared: dict[str, Any]

    def passed(self) -> Passed:
        """Bound the step, what it adds by itself included."""
        call, reach = self.call, self.reach
        if any(n not in reach.passed and n not in reach.given for n in call.reads):
            raise _not_known(call, reach.program)
        reads = [reach.moved(name) for name in call.reads]
        words = WrongWords(self.perturbation, reach.program.stored, reach.errors)
        own = tuple(reads), words, self._own_gain, self.shared
        turn = turn_of(Crossing(call, *own))
        if turn is None:
            raise _not_known(call, reach.program)
        always = self._always(turn, reads)
        source = _source(call, turn, self.perturbation)
        if isinstance(source, Tensor) and always.high - always.low < math.inf:
            # Exact and computed numbers are within one range.
            source = source.clamp(max=(always.high - always.low) * UP)
        size = two_norm(source) if isinstance(source, Tensor) else 0.0
        norm = _stretched(turn, [moved.norm for moved in reads]) + size
        product = _stretched(turn, [*map(reach.product, call.reads)]) + size
        before = _before(call, turn, reach)
        if before is not None:
            assert turn.carry is not None
            added = size
            if isinstance(before.source, Tensor):
                added = two_norm(turn.carry(before.source)) + size
            both, (read,) = self._gain(before.call, call), before.call.reads
            norm = torch.minimum(norm, _times(reach.moved(read).norm, both) + added)
            product = torch.minimum(product, _times(reach.product(read), both) + added)
        most = turn.most + source if isinstance(source, Tensor) else turn.most
        moved = Moved.tightened(most, norm).within(always, call.result)
        return Passed(call, turn, source, moved, product)

    def _always(self, turn: Turn, reads: Sequence[Moved]) -> Always:
        """Return the range of the result; a step that is added may leave it."""
        if self.call.step.name in self.perturbation.value_steps:
            return Always()
        share = 0.0 if turn.size is None else 2 * _share(turn, self.perturbation)
        return always_of(self.call, [moved.always for moved in reads], share)

    def _own_gain(self) -> float:
        """Leave out what a batch norm is taken together with."""
        if only_norm(self.reach.program, self.call.step) is not None:
            return math.inf
        return self._gain(self.call)

    def _gain(self, *calls: Call) -> float:
        """Ask once for a norm that all perturbations share."""
        name = f"gain of {len(calls)}"
        if name not in self.shared:
            self.shared[name] = self.gain(*calls)
        found: float = self.shared[name]
        return found


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
    stretched = turn.stretch(*norms)
    if bool((stretched < math.inf).all()):
        return stretched
    # Infinity times 0 is not known.
    stretched = stretched.nan_to_num(math.inf, math.inf)
    if not norms:
        return stretched
    return torch.where(torch.stack([*norms]).amax(0) == 0, 0.0, stretched)


def _before(call: Call, turn: Turn, reach: Reach) -> Passed | None:
    """Return the step before, where both are one linear map of one value."""
    if turn.carry is None or not call.reads or call.reads[0] not in reach.passed:
        return None
    before = reach.passed[call.reads[0]]
    return before if before.turn.carry is not None else None


def _share(turn: Turn, perturbation: Perturbation) -> float:
    """Return what terms of a step may be off by, relative to their sizes."""
    inside = turn.terms * perturbation.sums
    inside = inside / (1 - inside) if inside < 1 else math.inf
    stored = perturbation.values / (1 - perturbation.values)
    return (inside + stored * (1 + inside)) * UP


def _source(call: Call, turn: Turn, perturbation: Perturbation) -> Tensor | float:
    """Return what a step adds: rounding, inside and of its result, and wrong words."""
    errors, rounding = turn.errors, torch.zeros((), dtype=torch.float64)
    if turn.size is not None:
        # Our own float64 rounds, too.
        share = max(_share(turn, perturbation), turn.terms * 2.0**-52)
        rounding = turn.size * share
    step = perturbation.value_steps.get(call.step.name)
    if step is not None:
        size = call.result.abs() + turn.most + errors + rounding
        rounding = rounding + (step(size) if callable(step) else step)
    elif turn.size is None and not isinstance(errors, Tensor):
        return 0.0
    return (rounding + errors).expand_as(call.result) * UP
