"""Folding: batch norms made part of the convolutions and matrices beside them.

Relevance is about what a sum weighs. A norm after it scales its weights; one before it
scales what it reads, which is the same but for what a padded border would have been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.folds import only_norm
from stoic.network.program import First, Program, Ref, Step, Values
from stoic.network.rules.channels import BATCH_NORM
from stoic.network.rules.contraction import CONVOLUTIONS

__all__ = ["Folded", "folded"]

_LINEAR = torch.ops.aten.linear.default


@dataclass(frozen=True)
class Folded:
    """A program with its norms folded.

    Args:
        program: Its stored tensors are its own where anything was folded.
        stands: Values that are no more, with those that have their relevance.
    """

    program: Program
    stands: Mapping[str, str]


@dataclass(frozen=True)
class _Scale:
    """What a norm does to each channel: times ``gain``, plus ``shift``."""

    gain: Tensor
    shift: Tensor


def folded(program: Program, values: Values, *, onwards: bool) -> Folded:
    """Fold every norm that only scales what one convolution or matrix weighs.

    Args:
        program: Nothing of it is changed.
        values: Of a run of it.
        onwards: Whether norms that follow none are folded into the next one.
    """
    stands: dict[str, str] = {}
    for step in program.steps:
        norm = only_norm(program, step)
        if norm is not None and _weighs(step, program) and _lines_up(step, values):
            program = _backwards(program, step, norm)
            stands[step.name] = norm.name
    for norm in program.steps if onwards else ():
        reader = _only_reader(program, norm)
        if reader is None or not _is_scale(norm, program):
            continue
        if _takes(reader, norm) and _lines_up(reader, values):
            program = _onwards(program, norm, reader)
            stands[norm.name] = norm.args[0].name
    return Folded(program, stands)


def _weighs(step: Step, program: Program) -> bool:
    """Say whether a step weighs with a stored kernel or matrix."""
    known = step.op in CONVOLUTIONS or step.op is _LINEAR
    return known and not step.kwargs and {*step.inputs[1:]} <= program.stored.keys()


def _lines_up(step: Step, values: Values) -> bool:
    """Say whether the channels of a norm are those of the sums, dimension 1."""
    return step.op is not _LINEAR or values[step.args[0].name].dim() == 2


def _is_scale(norm: Step, program: Program) -> bool:
    is_norm = isinstance(norm.op, First) and norm.op.op is BATCH_NORM
    return is_norm and {*norm.inputs[1:]} <= program.stored.keys()


def _only_reader(program: Program, norm: Step) -> Step | None:
    readers = program.readers.get(norm.name, ())
    alone = len(readers) == 1 and norm.name not in program.output_names
    return readers[0] if alone and _weighs(readers[0], program) else None


def _takes(step: Step, norm: Step) -> bool:
    """Say whether a step reads a norm's value without a border around it."""
    padding = step.args[4] if len(step.args) > 4 else 0
    bordered = any(padding) if isinstance(padding, list | tuple) else bool(padding)
    return step.args[0] == Ref(norm.name) and not bordered


def _scale_of(norm: Step, program: Program) -> _Scale:
    weight, bias, mean, variance = (_stored(norm, i, program) for i in range(1, 5))
    assert mean is not None and variance is not None
    gain = torch.rsqrt(variance + norm.args[-1])
    gain = gain if weight is None else gain * weight
    return _Scale(gain, -mean * gain if bias is None else bias - mean * gain)


def _stored(step: Step, place: int, program: Program) -> Tensor | None:
    """Return a stored tensor in float64, so that folding adds one rounding."""
    arg = step.args[place] if place < len(step.args) else None
    return program.stored[arg.name].detach().double() if isinstance(arg, Ref) else None


def _backwards(program: Program, step: Step, norm: Step) -> Program:
    """Make one step of a sum and the norm that reads it, with the norm's name."""
    scale = _scale_of(norm, program)
    weight, bias = _stored(step, 1, program), _stored(step, 2, program)
    assert weight is not None
    own = weight * scale.gain.reshape(-1, *[1] * (weight.dim() - 1))
    added = scale.shift if bias is None else bias * scale.gain + scale.shift
    made = replace(step, name=norm.name)
    return _with(program, step, own, added, made, without=norm.name)


def _onwards(program: Program, norm: Step, step: Step) -> Program:
    """Let a sum read what the norm before it reads."""
    scale = _scale_of(norm, program)
    weight, bias = _stored(step, 1, program), _stored(step, 2, program)
    assert weight is not None
    groups = step.args[6] if len(step.args) > 6 else 1
    parts = weight.unflatten(0, (groups, -1))
    shape = (groups, 1, -1, *[1] * (weight.dim() - 2))
    own = (parts * scale.gain.reshape(shape)).flatten(0, 1)
    added = (parts * scale.shift.reshape(shape)).flatten(2).sum(2).flatten()
    added = added if bias is None else added + bias
    made = replace(step, args=(norm.args[0], *step.args[1:]))
    return _with(program, step, own, added, made, without=norm.name)


def _with(
    program: Program,
    old: Step,
    weight: Tensor,
    bias: Tensor,
    made: Step,
    *,
    without: str,
) -> Program:
    """Put a step with weights of its own in the place of an old one."""
    names = f"{made.name}: weight", f"{made.name}: bias"
    dtype = program.stored[old.args[1].name].dtype
    own = {names[0]: weight.to(dtype), names[1]: bias.to(dtype)}
    args: tuple[Any, ...] = (made.args[0], *map(Ref, names), *made.args[3:])
    step = replace(made, args=args)
    steps = [
        step if each.name == old.name else each
        for each in program.steps
        if each.name != without or each.name == old.name
    ]
    return replace(program, steps=tuple(steps), stored={**program.stored, **own})
