"""Operators that are linear in what deviates, beside products: sums, means, moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from stoic.network.certified import moves, products
from stoic.network.certified.contract import Absolute, Call, named_ops, transposed
from stoic.network.certified.rules import bound_of
from stoic.network.program import as_reshape, filled
from stoic.sensitivity.operators.contract import UP, Adjoint, Crossing, Turn
from stoic.sensitivity.operators.summing import summing

__all__ = ["linear"]

_ATEN = torch.ops.aten
_JOINS = {_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.cat.default}
_RESHAPES = {as_reshape, _ATEN.reshape.default, _ATEN.flatten.using_ints}
# Only these: a bound of what is not linear would leave out how far it bends.
_LINEAR = {
    *moves.RULES,
    *products.RULES,
    *named_ops("neg dropout avg_pool1d avg_pool2d avg_pool3d"),
    *named_ops("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"),
    *named_ops("add sub mul div", "Tensor"),
    _ATEN.mean.dim,
    _ATEN.sum.dim_IntList,
}


def linear(crossing: Crossing) -> Turn | None:
    """Carry deviations by absolute numbers, and gradients by the transposed map."""
    call = crossing.call
    if not crossing.moved:
        return None
    bound = crossing.once("bound", lambda: _bound(call, len(crossing.value)))
    if bound is None:
        return None
    most = bound.carry(*(moved.most for moved in crossing.moved)) * UP
    errors, size = _errors(crossing), None
    if isinstance(errors, Tensor) or bound.terms:
        # As no number is subtracted, sums of golden sizes and moves are those of both.
        size = crossing.once("golden size", lambda: _golden_size(call, bound))
        size = size + most + errors
    return Turn(
        most=most,
        stretch=_stretch(crossing, bound),
        adjoint=crossing.once("adjoint", lambda: _adjoint(call, bound)),
        size=size if bound.terms else None,
        terms=bound.terms,
        errors=errors,
        carry=bound.carry if len(crossing.moved) == 1 else None,
    )


def _golden_size(call: Call, bound: Absolute) -> Tensor:
    sizes = (call.golden(name).abs() for name in call.reads)
    return bound.carry(*sizes) * UP + bound.offset


def _bound(call: Call, inputs: int) -> Absolute | None:
    known = bound_of(call, inputs) if call.step.op in _LINEAR else None
    return known or summing(call, inputs)


def _errors(crossing: Crossing) -> Tensor | float:
    """Return what errors of stored words add: the map with errors in their place."""
    call = crossing.call
    if not any(name in call.fixed for name in call.step.inputs):
        return 0.0
    wrong = {name: crossing.errors(name) for name in call.step.inputs}
    if all(error is None for error in wrong.values()):
        return 0.0
    if call.step.op in _JOINS:
        return _joined(call, wrong)

    def lookup(name: str) -> Any:
        error, value = wrong.get(name), call.golden(name)
        if error is not None or name not in wrong or name in call.reads:
            return value if error is None else error
        return torch.zeros_like(value) if isinstance(value, Tensor) else value

    bound = _bound(Call(call.step, lookup, call.fixed), len(crossing.value))
    assert bound is not None
    sizes = [call.golden(name).abs() + moved.most for name, moved in crossing.named]
    return (bound.carry(*sizes) + bound.offset) * UP


def _joined(call: Call, wrong: dict[str, Tensor | None]) -> Tensor:
    """Put errors where the words are, of a step that adds or joins values."""

    def lookup(name: str) -> Any:
        error, value = wrong[name], call.golden(name)
        return torch.zeros_like(value) if error is None else error

    args = [_without_numbers(filled(arg, lookup)) for arg in call.step.args]
    result: Tensor = call.step.op(*args, **call.step.kwargs)
    return result.abs() * UP


def _without_numbers(arg: Any) -> Any:
    """Return 0 for a number that is added: it has no error."""
    return 0.0 if isinstance(arg, float) else arg


def _stretch(crossing: Crossing, bound: Absolute) -> Callable[..., Tensor]:
    """Bound the 2-norm: by the map's own norm, or by the norms of what is joined."""
    if len(crossing.moved) == 1:
        gain = crossing.gain()
        if gain == math.inf:
            gain = crossing.once("gain", lambda: _interpolated(crossing, bound))
        return lambda norm: norm * gain
    op, shape = crossing.call.step.op, crossing.call.result.shape
    if op is _ATEN.cat.default:
        return lambda *norms: torch.stack(norms).square().sum(0).sqrt() * UP
    whole = all(crossing.call.golden(name).shape == shape for name, _ in crossing.named)
    if op in (_ATEN.add.Tensor, _ATEN.sub.Tensor) and whole:
        scale = max(1.0, abs(float(crossing.call.step.kwargs.get("alpha", 1))))
        return lambda *norms: torch.stack(norms).sum(0) * (scale * UP)
    return lambda *norms: torch.full_like(norms[0], math.inf)


def _interpolated(crossing: Crossing, bound: Absolute) -> float:
    """Return the root of the 1-norm times the infinity-norm, an upper bound."""
    rows, adjoint = transposed(bound.carry, torch.ones_like(crossing.value))
    (columns,) = adjoint(torch.ones_like(rows))
    return math.sqrt(float(rows.max() * columns.max())) * UP


def _adjoint(call: Call, bound: Absolute) -> Adjoint:
    if call.step.op in _RESHAPES:
        return _reshaped(call)
    golden = [call.golden(name) for name in call.reads]
    _, signed, *_ = vjp(lambda *values: _again(call, *values), *golden)
    _, absolute = transposed(bound.carry, *(value.abs() for value in golden))
    # No element has more readers than the result has elements.
    fan = max(call.result[0].numel(), bound.terms)
    return Adjoint(vmap(signed), _raised(vmap(absolute)), fan)


def _reshaped(call: Call) -> Adjoint:
    """Put elements back where they were: inputs stay in dimension 0."""
    shape = call.golden(call.reads[0]).shape

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return (gradient.reshape(len(gradient), *shape),)

    return Adjoint(back, back, 0)


def _raised(
    absolute: Callable[[Tensor], tuple[Tensor, ...]],
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    return lambda gradient: tuple(part * UP for part in absolute(gradient))


def _again(call: Call, *values: Tensor) -> Tensor:
    """Run the step on other values of what deviates."""
    moving = dict(zip(call.reads, values, strict=True))

    def lookup(name: str) -> Any:
        return moving[name] if name in moving else call.golden(name)

    # What is detached hangs on the value all the same.
    detached = call.step.op is _ATEN.detach.default
    result: Tensor = values[0] if detached else call.step(lookup)
    return result
