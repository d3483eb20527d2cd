"""Steps made of the operators that one calls inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from stoic.network.program import Ref, as_reshape
from stoic.sensitivity.parts.making import Making

__all__ = ["traced"]

_ATEN = torch.ops.aten
_VIEWS = {_ATEN.view.default, _ATEN._unsafe_view.default}
_OTHERS = {
    _ATEN.unsafe_split.Tensor: _ATEN.split.Tensor,
    _ATEN.add_.Tensor: _ATEN.add.Tensor,
    _ATEN.mul_.Tensor: _ATEN.mul.Tensor,
    _ATEN.sigmoid_.default: _ATEN.sigmoid.default,
    _ATEN.tanh_.default: _ATEN.tanh.default,
    _ATEN.relu_.default: _ATEN.relu.default,
}
_SMALLER = (_ATEN.glu, _ATEN.addcmul, _ATEN.baddbmm)


def traced(making: Making) -> bool:
    """Run a step on golden values, and write down what it calls."""
    step = making.step
    names = [n for n in step.inputs if isinstance(making.values[n], Tensor)]

    def run(*tensors: Tensor) -> Any:
        ours = dict(zip(names, tensors, strict=True))
        return step(lambda name: ours.get(name, making.values.get(name)))

    golden = [making.values[name].detach() for name in names]
    smaller: Any = get_decompositions(_SMALLER)
    graph = make_fx(run, decomposition_table=smaller)(*golden)
    found: dict[fx.Node, Any] = {}
    places = iter(names)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            found[node] = Ref(next(places))
        elif node.op == "get_attr":
            found[node] = making.constant(getattr(graph, str(node.target)))
        elif node.op == "call_function":
            args, kwargs = _given(tuple(node.args), found), _given(node.kwargs, found)
            found[node] = making.make(_plain(node.target), *args, **kwargs)
        elif node.op == "output":
            _end(making, _given(node.args[0], found))
    return True


def _plain(op: Any) -> Any:
    return as_reshape if op in _VIEWS else _OTHERS.get(op, op)


def _end(making: Making, result: Any) -> None:
    if isinstance(result, Ref):
        making.make(_ATEN.alias.default, result, last=True)
    else:
        making.several.extend(result)


def _given(arg: Any, found: dict[fx.Node, Any]) -> Any:
    if isinstance(arg, fx.Node):
        return found[arg]
    if isinstance(arg, list | tuple):
        return type(arg)([_given(item, found) for item in arg])
    if isinstance(arg, dict):
        return {key: _given(item, found) for key, item in arg.items()}
    return arg
