"""A captured network as a module again, with modules that read or change its values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from stoic.network.program import First, Program, Ref, Step, as_reshape
from stoic.network.subject import Inputs

__all__ = ["Tapped", "tapped"]


class Tapped(nn.Module):
    """A network that also returns what a head says of values inside of it.

    A plain graph: it can be compiled, exported and moved, and its output has the words
    of the network's own.

    Args:
        graph: From input leaves to output leaves, and the head's answer.
        program: That was captured.
        inputs: That it was captured with: only their structure counts.
    """

    def __init__(self, graph: fx.GraphModule, program: Program, inputs: Inputs) -> None:
        super().__init__()
        self.graph = graph
        self._spec = program.output_spec
        self._single = program.output_spec.is_leaf()
        given = inputs.args, dict(inputs.kwargs)
        self._example = pytree.tree_map(lambda _: None, given)
        leaves = all(structure is None for structure in self._example[0])
        self._plain = leaves and not inputs.kwargs
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the network's output, and what the head says of the values.

        Raises:
            ValueError: Inputs are given in another structure than the example's.
        """
        plain = self._plain and not kwargs and len(args) == len(self._example[0])
        given = args if plain else _ordered(self._example, (args, kwargs))
        leaves, answer = self.graph(*given)
        if self._single:
            return leaves[0], answer
        return pytree.tree_unflatten(list(leaves), self._spec), answer


def _ordered(example: Any, given: Any) -> list[Any]:
    """Return the leaves of inputs in the order of an example's, whose keys they have.

    A caller may name keywords in any order; the graph knows one.
    """
    if example is None:
        return [given]
    keyed = isinstance(example, dict)
    if keyed:
        same = isinstance(given, dict) and set(example) == set(given)
    else:
        same = isinstance(given, (list, tuple)) and len(given) == len(example)
    if not same:
        raise ValueError(
            f"inputs must be given as in the example, {_told(example)}, got "
            f"{_told(given)}; name them in the same way"
        )
    keys = list(example) if keyed else range(len(example))
    return [leaf for key in keys for leaf in _ordered(example[key], given[key])]


def _told(given: Any) -> str:
    """Return the structure of inputs, without the tensors."""
    if isinstance(given, dict):
        return "{" + ", ".join(f"{key}: {_told(x)}" for key, x in given.items()) + "}"
    if isinstance(given, (list, tuple)):
        return f"({', '.join(map(_told, given))})"
    return "*"


def tapped(
    program: Program,
    taps: Sequence[tuple[str | tuple[str, ...], nn.Module]],
    head: nn.Module,
    inputs: Inputs,
    through: Mapping[str, nn.Module] | None = None,
    in_place: Mapping[str, Callable[..., Any]] | None = None,
) -> Tapped:
    """Return a network with taps.

    It shares the tensors of the captured network.

    Args:
        program: The captured network.
        taps: Names of values, and modules that read them. One that reads several
            takes them in order, the last of which is computed last.
        head: Takes what the taps return, in their order, and makes an answer of it.
        inputs: That it was captured with.
        through: Modules that values go through before anything else reads them.
        in_place: Operators to call instead of those of some steps, as
            `inplace.overwriting` finds them.

    Raises:
        KeyError: The program has no value of such a name.
    """
    builder = _Builder(program, in_place or {})
    for step in program.steps:
        value = builder.add(step)
        if through and step.name in through:
            builder.replace(step.name, through[step.name], value)
    read = [builder.read(name, module) for name, module in taps]
    return Tapped(builder.finish(read, head), program, inputs)


class _Builder:
    """A graph under construction."""

    def __init__(
        self, program: Program, in_place: Mapping[str, Callable[..., Any]]
    ) -> None:
        self._program, self._in_place = program, in_place
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._nodes: dict[str, fx.Node] = {}
        for name in program.inputs:
            self._nodes[name] = self._graph.placeholder(name)
        for name, value in program.stored.items():
            self._store(name, value)

    def _store(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Parameter):
            # Products choose their kernel by who wants a gradient, even where none is
            # computed. A parameter of its own: to move it leaves the network's there.
            own = nn.Parameter(value.detach(), requires_grad=value.requires_grad)
            self._root.register_parameter(name, own)
        elif isinstance(value, Tensor):
            plain = value.clone() if value.is_inference() else value.detach()
            self._root.register_buffer(name, plain)
        else:
            setattr(self._root, name, value)
        self._nodes[name] = self._graph.get_attr(name)

    def add(self, step: Step) -> fx.Node:
        """Add an operator call."""
        op: Callable[..., Any] = self._in_place.get(step.name, step.op)
        first = isinstance(op, First)
        op = op.op if isinstance(op, First) else op
        if op is as_reshape:
            op = torch.ops.aten.reshape.default
        node = self._graph.call_function(op, self._of(step.args), self._of(step.kwargs))
        if first:
            node = self._graph.call_function(operator.getitem, (node, 0))
        self._nodes[step.name] = node
        return node

    def _of(self, arg: Any) -> Any:
        def node(ref: Any) -> Any:
            return self._nodes[ref.name] if isinstance(ref, Ref) else ref

        if isinstance(arg, Mapping):
            return {key: self._of(each) for key, each in arg.items()}
        if isinstance(arg, list | tuple):
            return type(arg)(map(self._of, arg))
        if isinstance(arg, slice):
            return slice(*map(self._of, (arg.start, arg.stop, arg.step)))
        return node(arg)

    def replace(self, name: str, module: nn.Module, value: fx.Node) -> None:
        """Let a value go through a module."""
        self._nodes[name] = self._call(module, (value,))

    def read(self, names: str | tuple[str, ...], module: nn.Module) -> fx.Node:
        """Let a module read values where they are made, so that they need not stay."""
        several = (names,) if isinstance(names, str) else names
        nodes = tuple(self._nodes[name] for name in several)
        with self._graph.inserting_after(nodes[-1]):
            return self._call(module, nodes)

    def _call(self, module: nn.Module, args: tuple[fx.Node, ...]) -> fx.Node:
        name = f"tap_{sum(1 for _ in self._root.children())}"
        self._root.add_module(name, module)
        return self._graph.call_module(name, args)

    def finish(self, read: Sequence[fx.Node], head: nn.Module) -> fx.GraphModule:
        """Return the graph with its outputs."""
        answer = self._call(head, tuple(read))
        outputs = tuple(self._of(leaf) for leaf in self._program.outputs)
        self._graph.output((outputs, answer))
        return fx.GraphModule(self._root, self._graph)
