"""One rule per kind of operator: how it carries all that is reachable."""

from __future__ import annotations

from typing import Any

import torch

from stoic.network.program import First
from stoic.sensitivity.operators.contract import Crossing, OpRule, Turn
from stoic.sensitivity.operators.linear import linear
from stoic.sensitivity.operators.mixed import matmul, product, softmax
from stoic.sensitivity.operators.pointwise import pointwise
from stoic.sensitivity.operators.pools import max_pool
from stoic.sensitivity.operators.scaled import batch_norm, layer_norm
from stoic.sensitivity.operators.weighed import weighed

__all__ = ["turn_of"]

_ATEN = torch.ops.aten
_OWN: dict[Any, OpRule] = {
    _ATEN.max_pool2d.default: max_pool,
    _ATEN._native_batch_norm_legit_no_training.default: batch_norm,
    _ATEN.layer_norm.default: layer_norm,
    _ATEN.softmax.int: softmax,
    _ATEN._softmax.default: softmax,
    _ATEN.mul.Tensor: product,
    _ATEN.matmul.default: matmul,
    _ATEN.bmm.default: matmul,
}


def turn_of(crossing: Crossing) -> Turn | None:
    """Return what a step does with all that is reachable; nothing if not known."""
    op = crossing.call.step.op
    own = _OWN.get(op.op if isinstance(op, First) else op)
    rules = [rule for rule in (own, weighed, pointwise, linear) if rule is not None]
    return next((t for rule in rules if (t := rule(crossing)) is not None), None)
