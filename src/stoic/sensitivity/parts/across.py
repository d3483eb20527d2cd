"""Steps along the last dimension of values in which inputs are not dimension 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, named_ops
from stoic.sensitivity.parts.layouts import Layout
from stoic.sensitivity.parts.making import Making

__all__ = ["Across"]

_ATEN = torch.ops.aten
_ALONG = {
    _ATEN.linear.default,
    _ATEN.matmul.default,
    _ATEN.mm.default,
    _ATEN.bmm.default,
    _ATEN.addmm.default,
    _ATEN.layer_norm.default,
}
_EACH = {
    *named_ops("relu gelu silu sigmoid tanh hardtanh hardswish leaky_relu elu neg"),
    *named_ops("abs square exp dropout clamp"),
    *named_ops("add sub mul div", "Tensor"),
}


@dataclass(frozen=True)
class Across:
    """A step on vectors, each of one input, in some order.

    Args:
        places: Of each value read, in a row of its root, [vectors, features].
        order: The place of each vector when inputs are sorted.
        shape: Of the vectors in the step's own result.
    """

    places: Mapping[str, Tensor]
    order: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, call: Call, layouts: Mapping[str, Any], count: int) -> Across | None:
        """Read where inputs are; nothing where a step mixes them, or is not known."""
        ours = [each for each in layouts.values() if isinstance(each, Layout)]
        if len(ours) < len(layouts) or call.step.op not in _ALONG | _EACH | {
            _ATEN.cat.default
        }:
            return None
        owners = ours[0].owners
        if not _alike(ours, owners) or not _constants_fit(call, owners.shape[-1]):
            return None
        order = owners[..., 0].flatten().argsort(stable=True)
        places = {name: _sorted(layouts[name], order, count) for name in layouts}
        known = {name: found for name, found in places.items() if found is not None}
        if len(known) < len(places):
            return None
        return cls(known, order.argsort(), tuple(owners.shape[:-1]))

    def make(self, making: Making) -> None:
        """Make the step on inputs first."""
        step = making.step
        if step.op is _ATEN.addmm.default:
            product = making.make(_ATEN.matmul.default, *step.args[1:3])
            making.make(_ATEN.add.Tensor, product, step.args[0], last=True)
            return
        if step.op is _ATEN.bmm.default:
            weight = making.make(_ATEN.select.int, step.args[1], 0, 0)
            making.make(_ATEN.matmul.default, step.args[0], weight, last=True)
            return
        op = _ATEN.matmul.default if step.op is _ATEN.mm.default else step.op
        making.make(op, *step.args, last=True, **step.kwargs)

    def back(self, found: Tensor, name: str) -> tuple[Tensor, Layout]:
        """Return the step's own result, and where its elements are in ours."""
        features = found.shape[-1]
        shape = (*self.shape, features)
        value = found.flatten(0, 1)[self.order].reshape(shape)
        places = self.order[:, None] * features + torch.arange(features)
        return value, Layout(name, places.reshape(shape), found[0].numel())


def _alike(layouts: list[Layout], owners: Tensor) -> bool:
    """Say whether all have the same inputs in the same places, none in one vector."""
    if owners.dim() < 2:
        return False
    every = [each.owners for each in layouts]
    whole = all(bool((each == each[..., :1]).all()) for each in every)
    return whole and all(torch.equal(e[..., 0], owners[..., 0]) for e in every)


def _constants_fit(call: Call, features: int) -> bool:
    """Say whether constants are the same for every vector."""
    fixed = [call.golden(n) for n in call.step.inputs if n not in call.reads]
    fixed_tensors = [value for value in fixed if isinstance(value, Tensor)]
    if call.step.op is _ATEN.cat.default:
        return not fixed_tensors and call.arg(1, 0) in (-1, call.arg(0)[0].dim() - 1)
    if call.step.op is _ATEN.bmm.default:
        weight = call.arg(1)
        return call.only(0) and bool((weight == weight[:1]).all())
    if call.step.op in _ALONG:
        return call.only(1 if call.step.op is _ATEN.addmm.default else 0)
    return all(t.numel() in (1, _last(t)) for t in fixed_tensors)


def _last(value: Tensor) -> int:
    return value.shape[-1] if value.dim() else 1


def _sorted(layout: Layout, order: Tensor, count: int) -> Tensor | None:
    features = layout.places.shape[-1]
    vectors = layout.places.flatten(0, -2)
    if len(vectors) % count:
        return None
    ordered = vectors[order].reshape(count, -1, features)
    return Layout(layout.root, ordered, layout.size).rows(count)
