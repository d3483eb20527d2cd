"""Layers: where a network weighs what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stoic.causes.relevance.weighed import weighed
from stoic.network.certified.contract import Call
from stoic.network.program import Program
from stoic.network.rows import RowDim, RowDims

__all__ = ["Layer", "layers_of"]


@dataclass(frozen=True)
class Layer:
    """A value that convolutions or matrices weigh.

    Args:
        name: The dotted name of the first module that does; with the value's, if it
            weighs several.
        value: What it reads.
        axis: The dimension of its channels.
    """

    name: str
    value: str
    axis: int

    def map(self, relevance: Tensor) -> Tensor:
        """Return a heat map: summed over channels, or as it is where there is no map.

        Args:
            relevance: Of the value, [images, ...].

        Returns:
            Of shape (images, places), or (images, height, width).
        """
        return relevance if relevance.dim() == 2 else relevance.sum(self.axis)

    def channels(self, relevance: Tensor) -> Tensor:
        """Return the relevance of each channel, [images, channels]."""
        if relevance.dim() == 2:
            return relevance
        return relevance.movedim(self.axis, 1).flatten(2).sum(2)


def layers_of(
    program: Program, values: Mapping[str, Any], rows: RowDims
) -> tuple[Layer, ...]:
    """Return the layers of a program, each value once, in order.

    Args:
        program: What is run.
        values: Of a run of it.
        rows: Where values have their images: not in dimension 0, and they are left out.
    """
    found: dict[str, Layer] = {}
    names: set[str] = set()
    fixed = set(program.stored)
    for step in program.steps:
        layer = weighed(Call(step, values.__getitem__, fixed))
        if layer is None:
            continue
        value = step.inputs[0] if step.operator != "addmm" else step.args[1].name
        if rows.get(value) != RowDim(0) or value in found:
            continue
        path = step.path or step.name
        name = f"{path}: {value}" if path in names else path
        names.add(name)
        found[value] = Layer(name, value, layer.axis)
    return tuple(found.values())
