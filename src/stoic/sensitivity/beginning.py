"""A program that begins at one of its values: for inputs that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program, Step, refs

__all__ = ["beginning_at"]


@torch.no_grad()
def beginning_at(
    program: Program, leaves: Sequence[Any], name: str
) -> tuple[Program, tuple[Any, ...]]:
    """Return a program that reads one of its values as its first input, and a batch.

    A text has no ball of ids about it; what its embedding looks up has one.

    Args:
        program: Captured.
        leaves: The batch, one entry per input of the program.
        name: Of a value of floating-point numbers, inputs in dimension 0.

    Raises:
        ValueError: There is no such value.
    """
    value = program.run(leaves).get(name) if name in program.by_name else None
    if not isinstance(value, Tensor) or not value.is_floating_point():
        likely = [s.name for s in program.steps if s.operator == "embedding"]
        raise ValueError(
            f"name must be of a value of floating-point numbers, got {name}; "
            f"choose one such as {', '.join(likely[:3]) or program.steps[0].name}"
        )
    steps = _live(program, name)
    return (
        replace(program, steps=steps, inputs=(name, *program.inputs)),
        (value, *leaves),
    )


def _live(program: Program, name: str) -> tuple[Step, ...]:
    """Return the steps that outputs still hang on."""
    wanted, kept = set(refs(program.outputs)), list[Step]()
    for step in reversed(program.steps):
        if step.name in wanted and step.name != name:
            kept.append(step)
            wanted.update(step.inputs)
    return tuple(reversed(kept))
