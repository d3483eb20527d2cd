"""Products of two values that deviate, whatever their indices: by the operator itself.

An operator of products without signs of its own is bounded by itself on absolute
numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn

__all__ = ["products"]

_ATEN = torch.ops.aten


def products(crossing: Crossing) -> Turn | None:
    """Bound a product of two values, each batch by itself."""
    call = crossing.call
    inputs = len(call.result)
    if len(crossing.moved) != 2 or call.step.kwargs or len(call.step.args) != 2:
        return None
    (a, of_a), (b, of_b) = ((call.golden(n), moved) for n, moved in crossing.named)
    if call.name(0) != call.reads[0] or not _apart(a, b, call.result, inputs):
        return None
    op = call.step.op

    def run(left: Tensor, right: Tensor) -> Tensor:
        result: Tensor = op(left, right)
        return result

    bend = run(of_a.most, of_b.most)
    _, signed, *_ = vjp(run, a, b)
    _, absolute, *_ = vjp(run, a.abs() * UP, b.abs() * UP)
    return Turn(
        most=(run(of_a.most, b.abs()) + run(a.abs(), of_b.most) + bend) * UP,
        stretch=lambda *norms: torch.full_like(norms[0], math.inf),
        adjoint=Adjoint(vmap(signed), vmap(absolute), call.result[0].numel()),
        bend=bend * UP,
        size=run(a.abs() + of_a.most, b.abs() + of_b.most),
        terms=_inner(op, a) + 2,
    )


def _apart(a: Tensor, b: Tensor, result: Tensor, inputs: int) -> bool:
    """Say whether inputs are dimension 0 of all three, also where shapes spread."""
    rank = result.dim()
    first = a.dim() == b.dim() == rank and len(a) == len(b) == inputs
    return first and rank > 1


def _inner(op: Any, a: Tensor) -> int:
    return 1 if op is _ATEN.mul.Tensor else a.shape[-1]
