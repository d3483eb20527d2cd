"""A program in which what layers read is cut off at the ends of a narrow format.

Rounding to a format is cutting off, which is a step like any other, and an error of at
most half the distance of two numbers, which is a perturbation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from stoic.network.certified.backward import fixed_values
from stoic.network.program import Program, Ref, Step, filled
from stoic.sensitivity.layers import Layer
from stoic.sensitivity.quantised import Grid
from stoic.sensitivity.reach import NotKnownError

__all__ = ["narrowed", "never_negative", "reading"]

# Of numbers of any sign, and of such that have none.
_POSITIVE = ("relu", "sigmoid", "hardsigmoid", "softmax", "relu6")
_KEEP_SIGN = (
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "as_reshape", "reshape"),
    *("flatten", "view", "clone", "cat", "permute", "transpose"),
)


def reading(step: str) -> str:
    """Return the name of what a layer's step reads, rounded."""
    return f"{step}.read"


def narrowed(
    program: Program, layers: Sequence[Layer], grids: Mapping[str, Grid]
) -> Program:
    """Return the program with a step before each product that cuts off what it reads.

    Args:
        program: Nothing of it is changed.
        layers: Of it.
        grids: The numbers for what a layer reads, by its name.

    Raises:
        NotKnownError: A layer reads what hangs on stored words alone.
    """
    ours = {
        name: (read, grids[layer.name])
        for layer in layers
        if layer.name in grids
        for name, read in layer.reads.items()
    }
    fixed = fixed_values(program)
    steps: list[Step] = []
    for step in program.steps:
        if step.name in ours:
            read, grid = ours[step.name]
            if read in fixed:
                raise NotKnownError(
                    f"what {step.path or step.name} reads must hang on the inputs, got "
                    "a stored value; make weights alone narrower"
                )
            steps += _cut(program, step, read, grid)
        else:
            steps.append(step)
    numbered = tuple(replace(step, order=i) for i, step in enumerate(steps))
    return replace(program, steps=numbered)


def _cut(program: Program, step: Step, read: str, grid: Grid) -> Iterator[Step]:
    """Yield what cuts off, and the step that reads it."""
    low, high = grid.ends
    if low >= 0 and never_negative(program, read):
        low = -math.inf
    name = reading(step.name)
    op = torch.ops.aten.clamp.default
    yield replace(step, name=name, op=op, args=(Ref(read), low, high), kwargs={})

    def instead(other: str) -> Ref:
        return Ref(name if other == read else other)

    yield replace(step, args=filled(step.args, instead))


def never_negative(program: Program, name: str) -> bool:
    """Say whether no run can make a value less than 0, whatever its stored words are.

    A cut at 0 changes nothing of such a value.
    """
    step = program.by_name.get(name)
    if step is None:
        return False
    if step.operator == "hardtanh":
        return len(step.args) > 1 and float(step.args[1]) >= 0
    if step.operator in _KEEP_SIGN:
        return all(never_negative(program, read) for read in _values(program, step))
    return step.operator in _POSITIVE


def _values(program: Program, step: Step) -> list[str]:
    """Return what a step reads, but for sizes."""
    found = (program.by_name.get(name) for name in step.inputs)
    sizes = {each.name for each in found if each and each.operator == "sym_size"}
    return [name for name in step.inputs if name not in sizes]
