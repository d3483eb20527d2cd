"""A captured network as a module again, with modules that read or change its values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from stoic.network.program import First, Program, Ref, Step, as_reshape

__all__ = ["Tapped", "tapped"]


class Tapped(nn.Module):
    """A network that also returns what a head says of values inside of it.

    A plain graph: it can be compiled, exported and moved, and its output has the words
    of the network's own.

    Args:
        graph: From input leaves to output leaves, and the head's answer.
        program: That was captured.
    """

    def __init__(self, graph: fx.GraphModule, program: Program) -> None:
        super().__init__()
        self.graph = graph
        self._spec = program.output_spec
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the network's output, and what the head says of the values."""
        leaves, answer = self.graph(*pytree.tree_leaves((args, kwargs)))
        return pytree.tree_unflatten(list(leaves), self._spec), answer


def tapped(
    program: Program,
    taps: Sequence[tuple[str, nn.Module]],
    head: nn.Module,
    through: Mapping[str, nn.Module] | None = None,
) -> Tapped:
    """Return a network with taps.

    It shares the tensors of the captured network.

    Args:
        program: The captured network.
        taps: Names of values, and modules that read them.
        head: Takes what the taps return, in their order, and makes an answer of it.
        through: Modules that values go through before anything else reads them.

    Raises:
        KeyError: The program has no value of such a name.
    """
    builder = _Builder(program)
    for step in program.steps:
        value = builder.add(step)
        if through and step.name in through:
            builder.replace(step.name, through[step.name], value)
    read = [builder.read(name, module) for name, module in taps]
    return Tapped(builder.finish(read, head), program)


class _Builder:
    """A graph under construction."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._nodes: dict[str, fx.Node] = {}
        for name in program.inputs:
            self._nodes[name] = self._graph.placeholder(name)
        for name, value in program.stored.items():
            self._store(name, value)

    def _store(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            self._root.register_buffer(name, value.detach())
        else:
            setattr(self._root, name, value)
        self._nodes[name] = self._graph.get_attr(name)

    def add(self, step: Step) -> fx.Node:
        """Add an operator call."""
        op: Callable[..., Any] = step.op
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

    def read(self, name: str, module: nn.Module) -> fx.Node:
        """Let a module read a value where it is made, so that it need not stay."""
        node = self._nodes[name]
        with self._graph.inserting_after(node):
            return self._call(module, (node,))

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
