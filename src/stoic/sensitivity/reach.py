"""Forwards: everything that each value of a program can become under a perturbation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.program import Program, Step, Values
from stoic.network.smooth import floats
from stoic.sensitivity.judged import NotFiniteError
from stoic.sensitivity.operators.always import Always
from stoic.sensitivity.operators.contract import UP, Moved, Moves, single
from stoic.sensitivity.parts import Parts
from stoic.sensitivity.passing import (
    LOCAL,
    Gain,
    NotKnownError,
    OnePassed,
    Passed,
    Passing,
    stood_still,
)
from stoic.sensitivity.perturbation import Perturbation, WrongWords
from stoic.sensitivity.still import Still
from stoic.sensitivity.stored import error_of

__all__ = ["Gain", "NotKnownError", "OnePassed", "Passed", "Reach", "Reaches"]
__all__ += ["in_format", "reached", "reached_by", "wide"]

_SIZE = torch.ops.aten.sym_size.int


@dataclass(frozen=True)
class Reaches:
    """All that a program can become on one batch, by each of several perturbations.

    Args:
        program: In float64.
        values: Golden values.
        given: How far each input of the program may move, by name.
        passed: The steps that move, by name, in order.
        wrong: Errors of stored words, and of what is made of them alone, by each.
        steps: All steps by name, in the parts that have bounds.
    """

    program: Program
    values: Values
    given: Mapping[str, Moves]
    passed: dict[str, Passed]
    wrong: tuple[WrongWords, ...]
    steps: dict[str, Step] = field(default_factory=dict)

    def stored_in(self, name: str) -> set[str]:
        """Return the stored values that a step reads, or what is made of them alone."""
        found, asked = set[str](), [*self.steps[name].inputs]
        while asked:
            read = asked.pop()
            if read in self.program.stored:
                found.add(read)
            elif read in self.steps and read not in self.passed:
                asked += self.steps[read].inputs
        return found

    def moved(self, name: str) -> Moves:
        """Return how far a value that deviates may move.

        Raises:
            NotKnownError: It hangs on whole numbers in a way that is not followed.
        """
        if name not in self.given and name not in self.passed:
            raise NotKnownError(
                "what is bounded must hang on an input of floating-point numbers or a "
                f"layer with stored weights, got {name}; {LOCAL}"
            )
        return self.given[name] if name in self.given else self.passed[name].moved

    def product(self, name: str) -> Tensor:
        """Return the same by norms of operators alone."""
        norm = self.moved(name).norm
        return self.passed[name].product if name in self.passed else norm


@dataclass(frozen=True)
class Reach:
    """The same by one perturbation.

    Args:
        whole: By that one alone.
    """

    whole: Reaches

    @property
    def program(self) -> Program:
        """In float64."""
        return self.whole.program

    @property
    def values(self) -> Values:
        """Golden values."""
        return self.whole.values

    @cached_property
    def given(self) -> dict[str, Moved]:
        """How far each input of the program may move, by name."""
        return {name: moved.of(0) for name, moved in self.whole.given.items()}

    @cached_property
    def passed(self) -> dict[str, OnePassed]:
        """The steps that move, by name, in order."""
        return {name: each.of(0) for name, each in self.whole.passed.items()}

    @property
    def errors(self) -> dict[str, Any]:
        """Of values made of stored words alone, by name."""
        return self.whole.wrong[0].made

    def moved(self, name: str) -> Moved:
        """Return how far a value that deviates may move.

        Raises:
            NotKnownError: It hangs on whole numbers in a way that is not followed.
        """
        return self.whole.moved(name).of(0)


def wide(program: Program) -> Program:
    """Return the program with its stored numbers, and those it makes, in float64."""
    return in_format(program, torch.float64)


def in_format(program: Program, dtype: torch.dtype) -> Program:
    """Return the program with its stored numbers, and those it makes, in a format."""
    stored = {name: _cast(value, dtype) for name, value in program.stored.items()}
    steps = tuple(
        replace(
            step, args=_cast(step.args, dtype), kwargs=_cast(dict(step.kwargs), dtype)
        )
        for step in program.steps
    )
    return replace(program, stored=stored, steps=steps)


def _wide(value: Any) -> Any:
    return _cast(value, torch.float64)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if floats(value):
        return value.detach().to(dtype)
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return dtype
    if isinstance(value, list | tuple):
        return type(value)(_cast(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
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
    return Reach(reached_by(program, leaves, [perturbation], gain))


@torch.no_grad()
def reached_by(
    program: Program,
    leaves: Sequence[Any],
    perturbations: Sequence[Perturbation],
    gain: Gain = lambda *calls: math.inf,
) -> Reaches:
    """Return the same for several perturbations, each by itself, in one golden run.

    Arguments and errors are those of `reached`.
    """
    _check_casts(program)
    ours = wide(program)
    values = ours.given([_wide(leaf) for leaf in leaves])
    floating = [name for name in ours.inputs if floats(values[name])]
    given = _all_given(values, floating, perturbations)
    wrong = tuple(WrongWords(each, ours.stored, {}) for each in perturbations)
    fixed = {*ours.stored, *(set(ours.inputs) - {*floating})}
    reaches = Reaches(ours, values, given, {}, wrong)
    walk = _Walk(reaches, gain, fixed, _count(leaves))
    walk.run()
    return walk.reaches


@dataclass(frozen=True)
class _Walk:
    """A golden run on its way, with bounds of what was passed.

    Args:
        reaches: What is known so far.
        gain: The 2-norm of a step's linear map, or infinity.
        fixed: Values that no moving input reaches.
        count: How many inputs there are.
    """

    reaches: Reaches
    gain: Gain
    fixed: set[str]
    count: int

    def run(self) -> None:
        """Pass all steps, in the parts that have bounds."""
        program, values, fixed = self.reaches.program, self.reaches.values, self.fixed
        parts = Parts(program, values, fixed, self.count)
        still = Still(program, values, fixed, self.count)
        for step in (part for whole in program.steps for part in parts.of(whole)):
            values[step.name] = step(values.__getitem__)
            self.reaches.steps[step.name] = step
            for name in still.read_by(step):
                fixed.remove(name)
                errors = [each.made.pop(name) for each in self.reaches.wrong]
                self._stand_still(still.calls[name], errors)
            call = Call(step, values.__getitem__, fixed.intersection(step.inputs))
            if step.op is _SIZE or fixed.issuperset(step.inputs):
                self._stay(call, begins=still.begins(call))
            elif floats(values[step.name]):
                self._pass(call)

    def _stay(self, call: Call, *, begins: bool) -> None:
        """Note errors of a value that no input moves."""
        errors = [_error(call, each) for each in self.reaches.wrong]
        if begins:
            self._stand_still(call, errors)
            return
        self.fixed.add(call.step.name)
        for each, error in zip(self.reaches.wrong, errors, strict=True):
            each.made[call.step.name] = error

    def _stand_still(self, call: Call, errors: Sequence[Tensor | None]) -> None:
        _check_finite(call)
        self.reaches.passed[call.step.name] = stood_still(call, errors)

    def _pass(self, call: Call) -> None:
        _check_finite(call)
        reaches = self.reaches
        reaches.passed[call.step.name] = Passing(
            *(call, reaches.program, reaches.given, reaches.passed),
            *(reaches.wrong, self.gain),
        ).bounded()


def _all_given(
    values: Values, names: Sequence[str], perturbations: Sequence[Perturbation]
) -> dict[str, Moves]:
    radius = max(each.radius for each in perturbations)
    if radius and not names:
        raise ValueError(
            "radius must be 0 where no input has floating-point numbers, got "
            f"{radius}; begin at what the embedding gives: beginning_at"
        )
    return {name: _given(values[name], perturbations) for name in names}


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
                    f"{given} in {step.path or 'the network'}; {LOCAL}"
                )


def _error(call: Call, wrong: WrongWords) -> Any:
    if call.step.op is _SIZE:
        return None
    return error_of(call, wrong.of, wrong.perturbation)


def _count(leaves: Sequence[Any]) -> int:
    return next(len(x) for x in leaves if isinstance(x, Tensor) and x.dim() > 0)


def _check_finite(call: Call) -> None:
    # A sum is finite only of finite numbers, and much faster than to ask each.
    if not math.isfinite(call.result.sum()) and not bool(call.result.isfinite().all()):
        raise NotFiniteError.of(call.step.path or call.step.name, call.result)


def _given(value: Tensor, perturbations: Sequence[Perturbation]) -> Moves:
    """Return the deviation of an input: a ball about it, or a box."""
    radii = torch.tensor([each.radius for each in perturbations]).double()
    root = value[0].numel() ** 0.5
    sides = [1.0 if each.norm == 2 else 1 / root for each in perturbations]
    norm = value.flatten(1).norm(dim=1) * radii[:, None] * UP
    most = single(norm * (torch.tensor(sides).double() * UP)[:, None])
    most = most.reshape(*norm.shape, *[1] * (value.dim() - 1))
    whole = most.expand(*norm.shape, *value.shape[1:]).contiguous()
    return Moves(whole, norm, (Always(),) * len(norm))
