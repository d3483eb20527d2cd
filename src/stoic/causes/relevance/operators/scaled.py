"""Norms over each input's own elements: the spread that they divide by stands still."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.causes.relevance.operators.contract import Handed, Passage
from stoic.causes.relevance.weighed import stabilised

__all__ = ["scaled"]


def scaled(passage: Passage) -> Handed | None:
    """Share out in proportion to what each element adds at the spread that there is.

    References:
        Ali et al., "XAI for transformers: better explanations through conservative
        propagation", 2022.
    """
    call = passage.call
    if call.step.operator not in {"layer_norm", "group_norm"} or not call.only(0):
        return None
    value: Tensor = call.arg(0).detach().requires_grad_()
    with torch.enable_grad():
        centred = _centred(passage, value)
        # What the step makes of it, but for the bias, divided by what is centred.
        gain = _unbiased(passage) / stabilised(centred.detach(), 1e-30)
        straight = torch.where(centred.detach() == 0, 0.0, gain) * centred
    result: Tensor = call.result.detach()
    steady = stabilised(result, passage.composite.stabiliser)
    each = passage.relevance / steady
    (slope,) = torch.autograd.grad(straight, value, each)
    absorbed = each * (steady - result)
    bias = each * (result - straight.detach())
    return Handed({call.reads[0]: value.detach() * slope}, bias, absorbed)


def _centred(passage: Passage, value: Tensor) -> Tensor:
    """Take the mean off, over what the norm works on."""
    call = passage.call
    if call.step.operator == "layer_norm":
        dims = tuple(range(-len(call.arg(1)), 0))
        return value - value.mean(dims, keepdim=True)
    groups: Tensor = value.unflatten(1, (call.arg(1), -1))
    dims = tuple(range(2, groups.dim()))
    return (groups - groups.mean(dims, keepdim=True)).flatten(1, 2)


def _unbiased(passage: Passage) -> Tensor:
    """Run the norm without its bias."""
    call = passage.call
    value, weight = call.arg(0).detach(), call.arg(2)
    weight = None if weight is None else weight.detach()
    if call.step.operator == "layer_norm":
        return F.layer_norm(value, call.arg(1), weight, None, call.arg(4, 1e-5))
    return F.group_norm(value, call.arg(1), weight, None, call.arg(4, 1e-5))
