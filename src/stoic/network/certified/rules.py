"""The bound of a step, if its operator has a rule and keeps the inputs apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.certified import channels, moves, pointwise, products
from stoic.network.certified.contract import Absolute, Call, Rule
from stoic.network.program import First

__all__ = ["bound_of"]

_RULES: dict[Any, Rule] = {
    **pointwise.RULES,
    **moves.RULES,
    **channels.RULES,
    **products.RULES,
}
_FORMATS = {torch.float32, torch.float64}


def bound_of(call: Call, inputs: int) -> Absolute | None:
    """Return how a step carries deviations, or nothing where that is not known.

    Args:
        call: The step on golden values.
        inputs: How many there are: all values must have them in dimension 0.
    """
    op = call.step.op
    rule = _RULES.get(op.op if isinstance(op, First) else op)
    if rule is None or not call.reads:
        return None
    values = [call.golden(name) for name in (*call.reads, call.step.name)]
    if not all(_has_rows(value, inputs) for value in values):
        return None
    constants = map(call.golden, call.step.inputs)
    formats = {v.dtype for v in constants if isinstance(v, Tensor)}
    return rule(call) if formats == {call.result.dtype} <= _FORMATS else None


def _has_rows(value: Any, inputs: int) -> bool:
    ours = isinstance(value, Tensor) and value.device.type == "cpu"
    return ours and value.dim() > 1 and len(value) == inputs
