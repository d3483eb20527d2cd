"""One rule per kind of operator: how it carries all that is reachable."""

from __future__ import annotations

from typing import Any

import torch

from stoic.network.program import First
from stoic.sensitivity.operators.contract import (
    Crossing,
    Crossings,
    OpRule,
    Turn,
    Turns,
)
from stoic.sensitivity.operators.each import TogetherRule, each
from stoic.sensitivity.operators.largest import largest
from stoic.sensitivity.operators.linear import linear
from stoic.sensitivity.operators.matrices import matmul
from stoic.sensitivity.operators.mixed import product
from stoic.sensitivity.operators.normed import layer_norm, rms_norm
from stoic.sensitivity.operators.pointwise import pointwise, relu
from stoic.sensitivity.operators.pools import max_pool, max_pool_apart
from stoic.sensitivity.operators.scaled import batch_norm
from stoic.sensitivity.operators.several import products
from stoic.sensitivity.operators.shares import (
    log_softmax,
    log_sum,
    masked,
    softmax,
)
from stoic.sensitivity.operators.weighed import weighed

__all__ = ["turn_of", "turns_of"]

_ATEN = torch.ops.aten
_OWN: dict[Any, tuple[OpRule, ...]] = {
    _ATEN.max_pool2d.default: (max_pool,),
    _ATEN.amax.default: (largest,),
    _ATEN.max.dim: (largest,),
    _ATEN.layer_norm.default: (layer_norm,),
    _ATEN.rms_norm.default: (rms_norm,),
    _ATEN.softmax.int: (softmax,),
    _ATEN._softmax.default: (softmax,),
    _ATEN.log_softmax.int: (log_softmax,),
    _ATEN._log_softmax.default: (log_softmax,),
    _ATEN.logsumexp.default: (log_sum,),
    # Constants that are added or multiplied round, and may be wrong.
    _ATEN.mul.Tensor: (product, products, linear),
    _ATEN.add.Tensor: (linear,),
    _ATEN.sub.Tensor: (linear,),
    _ATEN.div.Tensor: (linear,),
    _ATEN.matmul.default: (matmul, products),
    _ATEN.bmm.default: (matmul,),
}
_ANY: tuple[OpRule, ...] = (masked, pointwise, linear)
# Rules that bound several perturbations at once.
_TOGETHER: dict[Any, TogetherRule] = {
    _ATEN.relu.default: relu,
    _ATEN.max_pool2d.default: max_pool_apart,
    _ATEN._native_batch_norm_legit_no_training.default: batch_norm,
}


def turns_of(crossings: Crossings) -> Turns | None:
    """Return what a step does with all that is reachable; nothing if not known."""
    found = _together(crossings)
    return each(_alone(crossings), crossings) if found is None else found


def turn_of(crossing: Crossing) -> Turn | None:
    """Return the same of one perturbation: in float64, where its rule is for one."""
    found = _together(Crossings.one(crossing))
    if found is not None:
        return found.of(0)
    rules = _alone(crossing)
    return next((t for rule in rules if (t := rule(crossing)) is not None), None)


def _together(crossings: Crossings) -> Turns | None:
    op = _plain(crossings)
    ours = [_TOGETHER[op]] if op in _TOGETHER else []
    for rule in (*ours, *((weighed,) if crossings.moved else ())):
        found: Turns | None = rule(crossings)
        if found is not None:
            return found
    return None


def _alone(crossing: Crossing | Crossings) -> tuple[OpRule, ...]:
    return *_OWN.get(_plain(crossing), ()), *(_ANY if crossing.moved else ())


def _plain(crossing: Crossing | Crossings) -> Any:
    op = crossing.call.step.op
    return op.op if isinstance(op, First) else op
