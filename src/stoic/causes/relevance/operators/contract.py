"""What a rule for an operator is: from a result's relevance to that of its values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.weighed import stabilised
from stoic.network.certified.contract import Call

__all__ = ["Handed", "OpRule", "Passage", "again", "proportional"]


@dataclass(frozen=True)
class Passage:
    """A step of a run, and what has reached its result.

    Args:
        call: The step on the values of the run.
        relevance: Of each element of the result, or of each of several results.
        composite: Which rules hold.
        first: Whether nothing before the step has weighed the image.
        origin: From the name of a value to the step that made it, if one did.
    """

    call: Call
    relevance: Any
    composite: Composite
    first: bool
    origin: Callable[[str], Call | None]


@dataclass(frozen=True)
class Handed:
    """What a step hands on.

    Args:
        to: The relevance of each value that it reads.
        bias: What biases and other constants take, shaped like the result.
        absorbed: What stabilisers take, likewise.
        rest: Whether constants take all that is neither handed on nor absorbed.
    """

    to: Mapping[str, Tensor]
    bias: Tensor | None = None
    absorbed: Tensor | None = None
    rest: bool = False


OpRule: TypeAlias = Callable[[Passage], Handed | None]


def again(call: Call, standing: Collection[str] = ()) -> tuple[dict[str, Tensor], Any]:
    """Run a step once more, with gradients to be had of all values that it reads.

    Args:
        call: The step.
        standing: Values that are taken for constants.
    """
    moved = {
        name: call.golden(name).detach().requires_grad_()
        for name in call.reads
        if name not in standing
    }

    def lookup(name: str) -> Any:
        value = moved[name] if name in moved else call.golden(name)
        constant = isinstance(value, Tensor) and name not in moved
        return value.detach() if constant else value

    with torch.enable_grad():
        return moved, call.step(lookup)


def proportional(
    passage: Passage, standing: Collection[str] = (), *, constants: bool
) -> Handed:
    """Share relevance out in proportion to what each element adds to the result.

    It is that of the straight line which touches the step at its values: the step
    itself where it is linear.

    Args:
        passage: The step and what has reached it.
        standing: Values that are taken for constants.
        constants: Whether the line has something to add of its own, which takes its
            share.
    """
    moved, result = again(passage.call, standing)
    total = result.detach()
    steady = stabilised(total, passage.composite.stabiliser)
    each = passage.relevance / steady
    slopes = torch.autograd.grad(
        result, [*moved.values()], each, materialize_grads=True
    )
    found = zip(moved.items(), slopes, strict=True)
    to = {name: value.detach() * slope for (name, value), slope in found}
    return Handed(to, absorbed=each * (steady - total), rest=constants)
