"""The walk back through a run: what has reached each value, and who took what."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.operators.contract import Handed, Passage
from stoic.causes.relevance.weighed import weighed
from stoic.network.certified.contract import Call
from stoic.network.program import Program, Step, Values
from stoic.network.rows import ODD, SAME, RowDims

__all__ = ["Walk", "floating"]


class Walk:
    """Relevance on its way through one run, and the account of it.

    Args:
        program: What was run.
        values: All of the run.
        rows: Where each value has its images.
        count: How many images there are.
    """

    def __init__(
        self, program: Program, values: Values, rows: RowDims, count: int
    ) -> None:
        self._program = program
        self._values = values
        self._rows = rows
        self._moved, self._fresh = _reached(program, values)
        self._fixed = {*values} - self._moved
        self._waiting: dict[str, Any] = {}
        self._keep: Collection[str] = ()
        self._kept: dict[str, Tensor] = {}
        some = next(v for v in values.values() if floating(v))
        self.bias = some.new_zeros(count)
        self.absorbed = some.new_zeros(count)

    def begin(self, name: str, relevance: Tensor, keep: Collection[str]) -> None:
        """Begin with the relevance of a value.

        Args:
            name: Of the value.
            relevance: Of each element.
            keep: Values whose relevance is wanted.
        """
        self._keep = keep
        self._add(name, relevance)

    def passage(self, step: Step, composite: Composite) -> Passage | None:
        """Return a step with all that reached it; nothing if there is nothing to do."""
        if step.name not in self._waiting:
            return None
        relevance = self._waiting.pop(step.name)
        if step.name in self._keep:
            self._kept[step.name] = relevance
        if step.op is operator.getitem:
            self._among(step, relevance)
            return None
        call = self._call(step)
        if not call.reads:
            return None
        if isinstance(relevance, dict):
            parts = self._values[step.name]
            relevance = [
                relevance.get(i, torch.zeros_like(part)) for i, part in enumerate(parts)
            ]
        first = self._fresh.issuperset(call.reads)
        return Passage(call, relevance, composite, first, self._origin)

    def take(self, step: Step, passage: Passage, found: Handed) -> None:
        """Hand on what a step hands on, and put down what others take."""
        for name, relevance in found.to.items():
            self._add(name, relevance)
        if found.bias is not None:
            self.bias += self._each(step.name, found.bias)
        absorbed = (
            0 if found.absorbed is None else self._each(step.name, found.absorbed)
        )
        self.absorbed += absorbed
        if found.rest:
            before = _parts(step.name, passage.relevance)
            came = sum(self._each(name, own) for name, own in before)
            went = sum(self._each(name, own) for name, own in found.to.items())
            self.bias += came - went - absorbed

    def of(self, name: str) -> Tensor:
        """Return the relevance of a value that is kept; none has reached a gate's."""
        found = self._kept.get(name)
        return torch.zeros_like(self._values[name]) if found is None else found

    def size(self, passage: Passage) -> float:
        """Return how much relevance, of either sign, has reached a step."""
        parts = _parts(passage.call.step.name, passage.relevance)
        return sum(float(own.abs().sum()) for _, own in parts)

    def _add(self, name: str, relevance: Tensor) -> None:
        before = self._waiting.get(name)
        whole = relevance if before is None else before + relevance
        self._waiting[name] = whole
        # What no step makes is where relevance ends.
        if name in self._keep and name not in self._program.by_name:
            self._kept[name] = whole

    def _among(self, step: Step, relevance: Tensor) -> None:
        """Put down what has reached one of several results of a step."""
        source, place = step.args[0].name, step.args[1]
        parts = self._waiting.setdefault(source, {})
        parts[place] = parts[place] + relevance if place in parts else relevance

    def _call(self, step: Step) -> Call:
        return Call(step, self._values.__getitem__, self._fixed)

    def _origin(self, name: str) -> Call | None:
        step = self._program.by_name.get(name)
        return None if step is None else self._call(step)

    def _each(self, name: str, numbers: Tensor) -> Tensor | float:
        """Sum up what lies in the rows of each image; 0 where these are not known."""
        dim = self._rows.get(name, ODD)
        if dim in (SAME, ODD):
            return 0.0
        apart = dim.apart(numbers).movedim(dim.dim + 1, 0)
        return apart.flatten(1).sum(1)


def _parts(name: str, relevance: Any) -> list[tuple[str, Tensor]]:
    several = isinstance(relevance, list)
    return [(name, each) for each in (relevance if several else [relevance])]


def floating(value: Any) -> bool:
    """Say whether a value is a tensor of floating numbers, or several of them."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(floating, value))
    return isinstance(value, Tensor) and value.is_floating_point()


def _reached(program: Program, values: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return values that hang on the image, and those that nothing has weighed yet."""
    moved = {name for name in program.inputs if floating(values[name])}
    fresh = set(moved)
    for step in program.steps:
        own = moved.intersection(step.inputs)
        if not own or not floating(values[step.name]):
            continue
        moved.add(step.name)
        if fresh.issuperset(own) and not _weighs(step, values, moved):
            fresh.add(step.name)
    return moved, fresh


def _weighs(step: Step, values: Mapping[str, Any], moved: set[str]) -> bool:
    call = Call(step, values.__getitem__, {*values} - moved)
    return weighed(call) is not None
