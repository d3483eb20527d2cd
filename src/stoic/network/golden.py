"""The golden run: every value of a fault-free run, kept or made again on demand."""

from __future__ import annotations

import operator
from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from stoic.network.patch import laid_as
from stoic.network.program import Program, Step, Values
from stoic.network.rows import ODD, SAME, RowDim, RowDims
from stoic.network.sizes import near_overflow

__all__ = ["Golden", "Run", "Selected", "parts_with_rows"]


class Golden:
    """The values of a program on one batch of inputs.

    Args:
        program: What is run.
        leaves: The batch, one entry per input leaf.
        rows: Row dimension of every value, if the batch size is free.
        keep: Computed values to hold in memory; the others are computed again from
            them when asked for, with the same bits. Everything by default.
        again_bytes: How many bytes of those may be held, the latest ones.
    """

    def __init__(
        self,
        program: Program,
        leaves: Sequence[Any],
        rows: RowDims | None,
        keep: Collection[str] | None = None,
        again_bytes: int = 0,
    ) -> None:
        self.program = program
        self.rows = rows
        self.inputs = batch_size(leaves)
        self._values: Values = program.given(leaves)
        self._again: Values = {}
        self.again_bytes = again_bytes
        self.nbytes: dict[str, int] = {}
        self.loud: set[str] = set()
        self._run(keep)

    def _run(self, keep: Collection[str] | None) -> None:
        last = {name: steps[-1].order for name, steps in self.program.readers.items()}
        for step in self.program.steps:
            self._values[step.name] = value = step(self._values.__getitem__)
            self.nbytes[step.name] = getattr(value, "nbytes", 0)
            if near_overflow(value):
                self.loud.add(step.name)
            for name in (*step.inputs, step.name):
                done = last.get(name, -1) <= step.order
                if done and keep is not None and self._droppable(name, keep):
                    del self._values[name]

    @property
    def held_bytes(self) -> int:
        """Bytes of the values that steps have made and that are in memory."""
        return sum(size for name, size in self.nbytes.items() if self.holds(name))

    @cached_property
    def bounded(self) -> bool:
        """Whether memory is limited."""
        return self.again_bytes > 0 or not self.whole

    @property
    def largest(self) -> int:
        """Bytes of the largest value that a step makes."""
        return max(self.nbytes.values(), default=0)

    def _droppable(self, name: str, keep: Collection[str]) -> bool:
        kept = name in keep or name in self.program.output_names
        return name in self._values and name in self.program.by_name and not kept

    def __call__(self, name: str) -> Any:
        """Return a value, computing it again if it was not kept."""
        if name in self._values:
            return self._values[name]
        if name not in self._again:
            self._hold(name, self._made_again(name))
        return self._again[name]

    def _made_again(self, name: str) -> Any:
        """Compute a value from those that are held, step by step in program order."""
        held = ChainMap(self._values, self._again)
        needed, missing = {}, [name]
        while missing:
            step = self.program.by_name[missing.pop()]
            needed[step.order] = step
            missing += [n for n in step.inputs if n not in held]
        made: Values = {}
        last = {n: order for order in sorted(needed) for n in needed[order].inputs}
        for order in sorted(needed):
            step = needed[order]
            made[step.name] = step(lambda n: made[n] if n in made else held[n])
            for n in step.inputs:
                if last[n] == order:
                    made.pop(n, None)
        return made[name]

    def _hold(self, name: str, value: Any) -> None:
        """Hold a value computed again, and let go of the oldest ones for it."""
        self._again[name] = value
        while len(self._again) > 1 and self._size_again() > self.again_bytes:
            del self._again[next(iter(self._again))]

    def _size_again(self) -> int:
        return sum(getattr(value, "nbytes", 0) for value in self._again.values())

    @cached_property
    def rows_apart(self) -> bool:
        """Whether no value mixes the inputs: each can be run beside any others.

        And whether the output tells them apart: it has them in the first dimension.
        """
        if self.rows is None:
            return False
        if not all(map(self._tells_rows, self.program.output_names)):
            return False
        free = self._free_of_inputs
        return all(
            self.dim(step.name) is not None
            or step.name in free
            or self._is_taken_apart(step)
            for step in self.program.steps
        )

    def _tells_rows(self, name: str) -> bool:
        dim, value = self.dim(name), self(name)
        if dim is not None:
            return dim == RowDim(0)
        # As many words by chance would be taken for the inputs' own.
        by_chance = isinstance(value, Tensor) and value.shape[:1] == (self.inputs,)
        return self.rows is not None and self.rows.get(name) == SAME and not by_chance

    @property
    def _free_of_inputs(self) -> set[str]:
        """Values that hang on parameters and on how many inputs there are only.

        One that happens to be the same for all inputs may be another under a fault.
        """
        free = set(self.program.stored)
        for step in self.program.steps:
            number = isinstance(self(step.name), int | float)
            if number or free.issuperset(step.inputs):
                free.add(step.name)
        return free

    def _is_taken_apart(self, step: Step) -> bool:
        """Say whether a step makes several values that are told apart after it."""
        readers = self.program.readers.get(step.name, ())
        several = isinstance(self(step.name), list | tuple)
        inside = step.name not in self.program.output_names
        return several and inside and all(r.op is operator.getitem for r in readers)

    def dim(self, name: str) -> RowDim | None:
        """Return where a value has its rows, if it has any."""
        dim = self.rows.get(name, SAME) if self.rows is not None else SAME
        return None if dim in (SAME, ODD) else dim

    def holds(self, name: str) -> bool:
        """Say whether a value is in memory."""
        return name in self._values or name in self._again

    @property
    def whole(self) -> bool:
        """Whether every value is in memory."""
        return all(step.name in self._values for step in self.program.steps)

    @property
    def answer(self) -> Any:
        """The network's output."""
        return self.program.answer(self)


class Run(Protocol):
    """A golden run, or one with its values in another layout or its rows picked."""

    @property
    def program(self) -> Program:
        """What was run."""
        ...

    @property
    def rows(self) -> RowDims | None:
        """Row dimension of every value."""
        ...

    def __call__(self, name: str) -> Any:
        """Return a value of it."""
        ...

    def holds(self, name: str) -> bool:
        """Say whether a value is in memory."""
        ...


class Selected:
    """Golden values with their rows picked and repeated, as trials run together need.

    Args:
        golden: The run.
        index: The input that each row stands for.
        like: Tensors that lie as the picked values shall; as the golden ones otherwise.
    """

    def __init__(
        self, golden: Run, index: Tensor, like: Mapping[str, Tensor] | None = None
    ) -> None:
        self.program = golden.program
        self.rows = golden.rows
        self.index = index
        self._golden = golden
        self._like = like or {}
        self._made: Values = {}

    def __call__(self, name: str) -> Any:
        """Return a value with the rows of the stack."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def holds(self, name: str) -> bool:
        """Say whether the rows of a value have been picked already."""
        return name in self._made

    def _make(self, name: str) -> Any:
        dims = self.rows
        assert dims is not None
        dim = dims.get(name, SAME)
        step = self.program.by_name.get(name)
        # What no step computes, such as the graphs of a condition, has no rows.
        if dim == SAME or (dim == ODD and step is None):
            return self._golden(name)
        several = isinstance(self._golden(name), list | tuple)
        if dim == ODD and step is not None and not several:
            return step(self)
        return self.picked(name, self._golden(name))

    def picked(self, name: str, value: Any) -> Any:
        """Return the rows of another value of the same name, as they would lie."""
        if isinstance(value, list | tuple):
            parts = list(value)
            for place, part in parts_with_rows(self, name).items():
                parts[place] = self.picked(part, parts[place])
            return type(value)(parts)
        dims = self.rows
        assert dims is not None
        rows = dims[name].take(value, self.index)
        like = self._like.get(name)
        if like is None or like.stride() == rows.stride():
            return rows
        return laid_as(rows, like)


def parts_with_rows(run: Run, name: str) -> dict[int, str]:
    """Return names of the values with rows that a step makes, by their place in it.

    A step that makes several is read by steps that take one of them each.
    """
    dims = run.rows or {}
    if dims.get(name, ODD) not in (SAME, ODD):
        return {0: name}
    readers = run.program.readers.get(name, ())
    taken = {r.args[1]: r.name for r in readers if r.op is operator.getitem}
    return {i: n for i, n in taken.items() if dims.get(n, ODD) not in (SAME, ODD)}


def batch_size(leaves: Sequence[Any]) -> int:
    """Return the number of rows of a batch."""
    sizes = [
        leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()
    ]
    return int(sizes[0]) if sizes else 1
