"""A captured network as plain data: operator calls in order, without side effects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = [
    "First",
    "Program",
    "Ref",
    "Step",
    "Values",
    "as_reshape",
    "filled",
    "refs",
]

Values = dict[str, Any]


@dataclass(frozen=True)
class Ref:
    """A place in an argument list where the value of that name goes."""

    name: str


@dataclass(frozen=True)
class First:
    """An operator with several results of which only the first is used."""

    op: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the first result."""
        return self.op(*args, **kwargs)[0]


@dataclass(frozen=True)
class Step:
    """One operator call.

    Args:
        name: Of the value it makes; unique in its program.
        op: What is called.
        args: Positional arguments, with ``Ref`` leaves.
        kwargs: Keyword arguments, likewise.
        path: Module whose ``forward`` made the call; empty for the network itself.
        leaf: Whether that module has no children of its own.
        order: Position in the program.
    """

    name: str
    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    path: str
    leaf: bool
    order: int

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values that the call reads, each once, in order."""
        return tuple(dict.fromkeys(refs((self.args, dict(self.kwargs)))))

    @property
    def operator(self) -> str:
        """The operator's short name, such as ``conv2d``."""
        op = self.op.op if isinstance(self.op, First) else self.op
        packet = getattr(op, "overloadpacket", op)
        return str(getattr(packet, "__name__", packet)).strip("_")

    def __call__(self, lookup: Callable[[str], Any]) -> Any:
        """Run the operator on the values that ``lookup`` finds."""
        return self.op(
            *(filled(arg, lookup) for arg in self.args),
            **{key: filled(arg, lookup) for key, arg in self.kwargs.items()},
        )


@dataclass(frozen=True)
class Program:
    """A functional graph of operator calls.

    Args:
        steps: The calls, each after those whose values it reads.
        stored: Parameters, buffers and constants by value name, sharing the
            network's storage: nobody may write to them.
        origins: Dotted names of the stored values in the network, aliases included.
        inputs: Names of the values that the caller gives, one per leaf.
        outputs: Leaves of the network's output: ``Ref`` or plain values.
        output_spec: How the leaves form the output.
        free_batch: Whether other batch sizes than the captured one may be run.
    """

    steps: tuple[Step, ...]
    stored: Mapping[str, Any]
    origins: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[Any, ...]
    output_spec: pytree.TreeSpec
    free_batch: bool

    @cached_property
    def by_name(self) -> dict[str, Step]:
        """Steps by the value they make."""
        return {step.name: step for step in self.steps}

    @cached_property
    def readers(self) -> dict[str, tuple[Step, ...]]:
        """Steps that read each value."""
        found: dict[str, list[Step]] = defaultdict(list)
        for step in self.steps:
            for name in step.inputs:
                found[name].append(step)
        return {name: tuple(steps) for name, steps in found.items()}

    @cached_property
    def output_names(self) -> frozenset[str]:
        """Values that the network returns."""
        return frozenset(refs(self.outputs))

    def given(self, leaves: Iterable[Any]) -> Values:
        """Return the starting values of a run on these input leaves."""
        return {**self.stored, **dict(zip(self.inputs, leaves, strict=True))}

    def run(self, leaves: Iterable[Any]) -> Values:
        """Return every value of a run on these input leaves."""
        values = self.given(leaves)
        for step in self.steps:
            values[step.name] = step(values.__getitem__)
        return values

    def answer(self, lookup: Callable[[str], Any]) -> Any:
        """Return the network's output in its own structure."""
        leaves = [filled(leaf, lookup) for leaf in self.outputs]
        return pytree.tree_unflatten(leaves, self.output_spec)


def filled(arg: Any, lookup: Callable[[str], Any]) -> Any:
    """Return an argument with every ``Ref`` replaced by its value."""
    if isinstance(arg, Ref):
        return lookup(arg.name)
    if isinstance(arg, list | tuple):
        return type(arg)(filled(item, lookup) for item in arg)
    if isinstance(arg, dict):
        return {key: filled(item, lookup) for key, item in arg.items()}
    if isinstance(arg, slice):
        return slice(*(filled(i, lookup) for i in (arg.start, arg.stop, arg.step)))
    return arg


def refs(arg: Any) -> Iterator[str]:
    """Yield the names of all values that an argument refers to."""
    if isinstance(arg, Ref):
        yield arg.name
    elif isinstance(arg, list | tuple):
        for item in arg:
            yield from refs(item)
    elif isinstance(arg, dict):
        yield from refs(list(arg.values()))
    elif isinstance(arg, slice):
        yield from refs((arg.start, arg.stop, arg.step))


def as_reshape(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Stand in for ``view``, which refuses the strides of a stack."""
    reshaped: Tensor = torch.ops.aten.reshape.default(tensor, *args, **kwargs)
    return reshaped
