"""The layers of a network whose words may be narrower: products with stored weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stoic.network.program import Program, Ref, Step, Values

__all__ = ["Layer", "Weights", "each_last", "find_layers", "run_layers"]

# Where the input and the weight stand among the arguments.
_PLACES = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear", "mm", "matmul"), (0, 1)),
    "addmm": (1, 2),
}
# What only turns a weight round.
_TURNS = ("t", "transpose", "permute", "numpy_T")

Weights = Mapping[str, Tensor]
"""Stored values by name that stand in for the network's own."""


@dataclass(frozen=True)
class Layer:
    """A stored weight and the products that it is a factor of.

    Args:
        name: Of the weight in the network, without ``.weight``.
        weight: Name of the stored value.
        reads: By the name of each product's step, the value it multiplies.
        words: How many the weight has.
        macs: Multiplications for one input.
    """

    name: str
    weight: str
    reads: Mapping[str, str]
    words: int
    macs: int


def find_layers(program: Program, values: Values, inputs: int) -> tuple[Layer, ...]:
    """Return the layers in the order in which their weights are first used.

    Args:
        program: Of the network.
        values: All values of a run.
        inputs: How many it was on.

    Raises:
        ValueError: There is none.
    """
    found: dict[str, list[Step]] = {}
    for step in program.steps:
        weight = _weight_of(program, step)
        if weight is not None:
            found.setdefault(weight, []).append(step)
    if not found:
        raise ValueError(
            "network must have a layer with a stored weight, a convolution or a linear "
            "one, got none; there is nothing to make narrower"
        )
    return tuple(
        _layer(program, weight, steps, values, inputs)
        for weight, steps in found.items()
    )


def _layer(
    program: Program, weight: str, steps: list[Step], values: Values, inputs: int
) -> Layer:
    origin = program.origins.get(weight, (weight,))[0]
    stored = values[weight]
    reads = {s.name: s.args[_PLACES[s.operator][0]].name for s in steps}
    macs = 0
    for step in steps:
        convolves = step.operator.startswith("conv")
        read = values[reads[step.name]]
        summed = math.prod(stored.shape[1:]) if convolves else read.shape[-1]
        macs += values[step.name].numel() // inputs * int(summed)
    return Layer(origin.removesuffix(".weight"), weight, reads, stored.numel(), macs)


def _weight_of(program: Program, step: Step) -> str | None:
    """Return the name of the stored floating weight that a product multiplies by."""
    if step.operator not in _PLACES:
        return None
    read, weight = (step.args[place] for place in _PLACES[step.operator])
    if not (isinstance(read, Ref) and isinstance(weight, Ref)):
        return None
    name = weight.name
    while name in program.by_name and program.by_name[name].operator in _TURNS:
        name = program.by_name[name].inputs[0]
    stored = program.stored.get(name)
    floating = isinstance(stored, Tensor) and stored.is_floating_point()
    return name if floating and read.name not in program.stored else None


def run_layers(
    program: Program,
    layers: Sequence[Layer],
    leaves: Sequence[Any],
    through: Callable[[Layer, Tensor], Tensor],
    weights: Weights | None = None,
) -> Any:
    """Return the network's output, with what layers multiply put through a function.

    Values are let go of after their last reader.

    Args:
        program: Nothing of it is changed.
        layers: Of it.
        leaves: The inputs of the batch.
        through: Takes a layer and the value it reads; other readers get the value.
        weights: That stand in for stored ones.
    """
    by_step = {name: layer for layer in layers for name in layer.reads}
    values: Values = {**program.given(leaves), **(weights or {})}
    for step, done in each_last(program):
        layer = by_step.get(step.name)
        if layer is None:
            values[step.name] = step(values.__getitem__)
        else:
            read = layer.reads[step.name]
            own = {**values, read: through(layer, values[read])}
            values[step.name] = step(own.__getitem__)
        for name in done:
            del values[name]
    return program.answer(values.__getitem__)


def each_last(program: Program) -> Iterator[tuple[Step, list[str]]]:
    """Yield each step with the computed values that nothing reads after it."""
    last = {name: steps[-1].name for name, steps in program.readers.items()}
    for step in program.steps:
        unread = [step.name] if step.name not in last else []
        done = [name for name in step.inputs if last[name] == step.name]
        computed = (name for name in [*done, *unread] if name in program.by_name)
        yield step, [name for name in computed if name not in program.output_names]
