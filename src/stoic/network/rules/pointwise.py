"""Operators that work element by element: a patch stays where it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.patch import Patch
from stoic.network.program import filled
from stoic.network.rules.contract import Call, Rule

__all__ = ["RULES"]

_ATEN = torch.ops.aten


def pointwise(call: Call) -> Patch | None:
    """Run the operator on slices of its arguments, where they line up."""
    shape = call.result().shape
    place = _place(call, len(shape))
    if place is None:
        return None
    dim, start, length = place

    def sliced(arg: Any) -> Any:
        value = filled(arg, call.golden)
        if not isinstance(value, Tensor):
            return value
        own = dim - (len(shape) - value.dim())
        change = call.changes.get(arg.name)
        if isinstance(change, Patch) and change.dim == own:
            return change.piece
        if own < 0 or value.shape[own] == 1:
            return value
        return value.narrow(own, start, length)

    args = [sliced(arg) for arg in call.step.args]
    kwargs = {key: sliced(arg) for key, arg in call.step.kwargs.items()}
    piece = call.step.op(*args, **kwargs)
    return Patch(dim, start, piece)


def _place(call: Call, dims: int) -> tuple[int, int, int] | None:
    """Return where in the result all patches lie, if they lie in one place."""
    places = set()
    for name, change in call.changes.items():
        value = call.golden(name)
        if not isinstance(change, Patch) or value.shape[change.dim] == 1:
            return None
        dim = change.dim + dims - value.dim()
        places.add((dim, change.start, change.length))
    nested = any(isinstance(arg, list | tuple) for arg in call.step.args)
    return places.pop() if len(places) == 1 and not nested else None


_OPERATORS = (
    "relu relu6 hardtanh hardswish hardsigmoid leaky_relu elu selu celu gelu silu mish "
    "sigmoid tanh softplus hardshrink softshrink threshold log_sigmoid "
    "exp log log1p expm1 sqrt rsqrt reciprocal neg abs sign sin cos erf floor ceil "
    "round trunc clamp clamp_min clamp_max square pow add sub rsub mul div maximum "
    "minimum where clone detach alias contiguous dropout feature_dropout "
    "alpha_dropout _to_copy to lift_fresh_copy bitwise_and bitwise_or "
    "eq ne lt le gt ge logical_not logical_and logical_or nan_to_num isnan "
    "masked_fill addcmul lerp"
).split()


def _overloads(names: list[str]) -> list[Any]:
    packets = [getattr(_ATEN, name) for name in names if hasattr(_ATEN, name)]
    found = [getattr(p, overload) for p in packets for overload in p.overloads()]
    return [op for op in found if _gives_one_tensor(op)]


def _gives_one_tensor(op: Any) -> bool:
    """Tell ``where(condition, a, b)`` from ``where(condition)``, which gives places."""
    return [str(result.type) for result in op._schema.returns] == ["Tensor"]


RULES: dict[Any, Rule] = {op: pointwise for op in _overloads(_OPERATORS)}
