"""A program that begins at one of its values: for inputs that are no numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from stoic.network.program import First, Program, Ref, Step, Values, refs
from stoic.network.smooth import floats

__all__ = ["beginning_at", "beginnings"]

_ATEN = torch.ops.aten
_SIZE = _ATEN.sym_size.int
_BAGS = (_ATEN.embedding_bag.padding_idx, _ATEN._embedding_bag.default)


@torch.no_grad()
def beginning_at(
    program: Program, leaves: Sequence[Any], name: str
) -> tuple[Program, tuple[Any, ...]]:
    """Return a program that reads one of its values as its first input, and a batch.

    A text has no ball of ids about it; what its embedding looks up has one. Inputs that
    nothing reads any more are left out.

    Args:
        program: Captured.
        leaves: The batch, one entry per input of the program.
        name: Of a value of floating-point numbers, inputs in dimension 0.

    Raises:
        ValueError: There is no such value.
    """
    values = program.run(leaves)
    value = values.get(name) if name in program.by_name else None
    if not floats(value):
        raise ValueError(
            f"beginning_at must be a value of floating-point numbers, got {name!r}; "
            f"choose one such as {', '.join(_likely(program, values))}"
        )
    steps = tuple(_counting(step, program, name) for step in _live(program, name))
    read = {*refs(program.outputs), *(each for step in steps for each in step.inputs)}
    given = {name: value, **dict(zip(program.inputs, leaves, strict=True))}
    left = [each for each in given if each == name or each in read]
    cut = replace(program, steps=steps, inputs=tuple(left))
    return cut, tuple(given[each] for each in left)


def _counting(step: Step, program: Program, name: str) -> Step:
    """Return a step that takes the number of inputs from the value begun at."""
    if step.op is not _SIZE or step.args[1] != 0:
        return step
    ours = isinstance(step.args[0], Ref) and step.args[0].name in program.inputs
    return replace(step, args=(Ref(name), 0)) if ours else step


def beginnings(program: Program, leaves: Sequence[Any]) -> list[str]:
    """Return some values that a program may begin at: what looks up rows, or the first.

    Args:
        program: Captured.
        leaves: The batch, one entry per input of the program.
    """
    return _likely(program, program.run(leaves))


def _likely(program: Program, values: Values) -> list[str]:
    made = [step for step in program.steps if floats(values[step.name])]
    tables = (_ATEN.embedding.default, *_BAGS)
    looked_up = [step.name for step in made if _source(program, step) in tables]
    return (looked_up or [step.name for step in made])[:3]


def _source(program: Program, step: Step) -> Any:
    """Return the operator that made a value, also as the first of several results."""
    if isinstance(step.op, First):
        return step.op.op
    takes = step.op is operator.getitem and step.args[1] == 0
    return program.by_name[step.args[0].name].op if takes else step.op


def _live(program: Program, name: str) -> tuple[Step, ...]:
    """Return the steps that outputs still hang on."""
    wanted, kept = set(refs(program.outputs)), list[Step]()
    for step in reversed(program.steps):
        if step.name in wanted and step.name != name:
            kept.append(step)
            wanted.update(step.inputs)
    return tuple(reversed(kept))
