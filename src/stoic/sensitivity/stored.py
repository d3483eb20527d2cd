"""Errors of stored words on their way to where an input first meets them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, named_ops
from stoic.network.program import First, as_reshape
from stoic.sensitivity.curves import curve_of
from stoic.sensitivity.derivatives import derivative_range
from stoic.sensitivity.operators.contract import UP
from stoic.sensitivity.perturbation import Perturbation

__all__ = ["error_of"]

_ATEN = torch.ops.aten
_TERMS = 64
Errors: TypeAlias = Callable[[str], Tensor | None]


def error_of(call: Call, errors: Errors, perturbation: Perturbation) -> Any:
    """Return how far a value made of stored words alone may be off.

    Returns:
        Absolute errors, float64; infinite where they are not known, and nothing where
        there are none.
    """
    op, result = call.step.op, call.golden(call.step.name)
    wrong = {name: errors(name) for name in call.step.inputs}
    known = {name: error for name, error in wrong.items() if error is not None}
    if op in _MOVES:
        return _again(call, wrong) if known else None
    floating = isinstance(result, Tensor) and result.is_floating_point()
    if not known:
        rounds = floating and op not in _EXACT and _reads_floats(call)
        if not rounds:
            return None
        return _rounded(_size(call, wrong), call, perturbation)
    if not floating:
        return _unknown(result)
    found = _exact(call, wrong)
    if found is None:
        return _unknown(result)
    carried, size = found
    return carried.nan_to_num(math.inf, math.inf) + _rounded(size, call, perturbation)


def _size(call: Call, wrong: dict[str, Tensor | None]) -> Tensor:
    """Return the size of what rounds inside a step without errors of its own.

    Where terms are added up it is that of the terms: they may cancel.
    """
    op, result = call.step.op, call.result.abs()
    found = _exact(call, wrong)
    if found is not None:
        return found[1]
    if op in _SUMS:
        return _on_sizes(call)
    if op in _SHARES:
        # A score's rounding stands in an exponent.
        return result * (1 + 2 * float(call.arg(0).abs().max()))
    if op in _RELATIVE:
        return result
    known = curve_of(_moving(call)) is not None
    return result + 1.0 if known else torch.full_like(result, math.inf)


def _is_bag(op: Any) -> bool:
    return (op.op if isinstance(op, First) else op) in _BAGS


def _on_sizes(call: Call) -> Tensor:
    """Run a step that adds up its terms on their absolute numbers."""

    def lookup(name: str) -> Any:
        value = call.golden(name)
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.abs() if floating else value

    result: Tensor = call.step(lookup)
    return result


def _moving(call: Call) -> Call:
    """Return a call as if the first floating value that it reads could move."""
    names = [n for n in call.step.inputs if _floats(call.golden(n))]
    return Call(call.step, call.golden, set(call.step.inputs) - set(names[:1]))


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _reads_floats(call: Call) -> bool:
    return any(_floats(value) for value in map(call.golden, call.step.inputs))


def _unknown(result: Any) -> Any:
    if isinstance(result, list | tuple):
        return [_unknown(part) for part in result]
    return torch.full_like(result, math.inf, dtype=torch.float64)


def _rounded(size: Tensor, call: Call, perturbation: Perturbation) -> Tensor:
    inside = _terms(call) * max(perturbation.sums, 2.0**-52)
    inside = inside / (1 - inside) if inside < 1 else math.inf
    stored = perturbation.values / (1 - perturbation.values)
    wide = torch.maximum(size, call.result.abs())
    return wide * (inside + stored * (1 + inside)) * UP


def _terms(call: Call) -> int:
    """Return roundings in a row: of the longest sum, and of what stands around it."""
    values = [v for v in map(call.golden, call.step.inputs) if isinstance(v, Tensor)]
    if call.step.op in _PRODUCTS:
        return _TERMS + max(side for value in values for side in value.shape)
    if _is_bag(call.step.op):
        return _TERMS + int(call.arg(1).numel())
    most = max(value.numel() for value in values)
    # A result with fewer elements sums, at most all there are.
    sums = call.step.op in _SUMS or most > call.result.numel()
    return _TERMS + (most if sums else 0)


def _again(call: Call, wrong: dict[str, Tensor | None]) -> Any:
    """Run a move on errors; what has none has errors of 0."""

    def lookup(name: str) -> Any:
        error, value = wrong[name], call.golden(name)
        if error is not None:
            return error
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return torch.zeros_like(value) if floating else value

    return call.step(lookup)


def _exact(call: Call, wrong: dict[str, Tensor | None]) -> tuple[Tensor, Tensor] | None:
    """Return errors of the exact result, and the size of what rounds."""
    op = call.step.op
    if op in _PRODUCTS and not call.step.kwargs:
        return _bilinear(call, wrong)
    if op in (_ATEN.add.Tensor, _ATEN.sub.Tensor):
        alpha = abs(float(call.step.kwargs.get("alpha", 1)))
        (a, of_a), (b, of_b) = (_argument(call, i, wrong) for i in (0, 1))
        return of_a + alpha * of_b, (a.abs() + of_a) + alpha * (b.abs() + of_b)
    if op is _ATEN.div.Tensor:
        (a, of_a), (b, of_b) = (_argument(call, i, wrong) for i in (0, 1))
        least = (b.abs() - of_b).clamp(min=0.0)
        error = (of_a + (a / b).abs() * of_b) / least * UP
        return error, (a / b).abs() + error
    if op is _ATEN._weight_norm.default:
        return _weight_norm(call, wrong)
    if _is_bag(op):
        # Weights of the words in a bag would be wrong as well.
        if call.arg(6) is not None:
            return None
        error = _again(call, wrong)
        # The largest of a bag moves by no more than the largest error.
        return error * UP, _on_sizes(call) + error
    if op is _ATEN.linalg_vector_norm.default and call.arg(1, 2) >= 1:
        # A norm moves by no more than the norm of what is added.
        error = _again(call, wrong)
        return error * UP, call.result.abs() + error
    return _by_slopes(call, wrong)


def _argument(
    call: Call, position: int | None, wrong: dict[str, Tensor | None]
) -> tuple[Tensor, Tensor]:
    assert position is not None
    value = torch.as_tensor(call.arg(position)).double()
    name = call.name(position)
    error = None if name is None else wrong[name]
    return value, torch.zeros_like(value) if error is None else error


def _weight_norm(call: Call, wrong: dict[str, Tensor | None]) -> tuple[Tensor, Tensor]:
    """Bound a direction by the least length that it can have, then its scale."""
    (v, of_v), (g, of_g) = (_argument(call, i, wrong) for i in (0, 1))
    dim = call.arg(2, 0)
    length, of_length = (torch.norm_except_dim(each, 2, dim) for each in (v, of_v))
    least = (length - of_length).clamp(min=0.0)
    unit = v.abs() / length
    of_unit = (of_v + unit * of_length) / least * UP
    error = (of_g * (unit + of_unit) + g.abs() * of_unit) * UP
    return error, g.abs() * unit + error


def _bilinear(call: Call, wrong: dict[str, Tensor | None]) -> tuple[Tensor, Tensor]:
    left, right, bias = _PRODUCTS[call.step.op]
    a, of_a = _argument(call, left, wrong)
    b, of_b = _argument(call, right, wrong)
    c, of_c = _argument(call, bias, wrong) if _given(call, bias) else (None, None)

    def run(left_one: Tensor, right_one: Tensor, other: Any = None) -> Tensor:
        places = {left: left_one, right: right_one}
        if bias is not None and (other is not None or bias == 0):
            places[bias] = torch.zeros(1, dtype=a.dtype) if other is None else other
        result: Tensor = call.step.op(*(places[i] for i in sorted(places)))
        return result

    error = run(of_a, b.abs() + of_b, of_c) + run(a.abs(), of_b) * UP
    whole = None if c is None or of_c is None else c.abs() + of_c
    return error * UP, run(a.abs() + of_a, b.abs() + of_b, whole)


def _given(call: Call, position: int | None) -> bool:
    return position is not None and call.arg(position) is not None


def _by_slopes(
    call: Call, wrong: dict[str, Tensor | None]
) -> tuple[Tensor, Tensor] | None:
    names = [name for name, error in wrong.items() if error is not None]
    if len(names) != 1:
        return None
    error = wrong[names[0]]
    assert error is not None
    moving = Call(call.step, call.golden, set(call.step.inputs) - {names[0]})
    value = call.golden(names[0])
    slopes = derivative_range(moving, value - error, value + error)
    if slopes is None or value.shape != call.result.shape:
        return None
    steepest = torch.maximum(slopes[0].abs(), slopes[1].abs())
    moved = (steepest * error * UP).where(error > 0, 0.0)
    return moved, call.result.abs() + moved + 1.0


_EXACT = {*named_ops("relu abs neg clamp full zeros ones arange embedding")}
# Whose terms, on absolute numbers, are those of the sums.
_SUMS = {
    *named_ops("sum mean cumsum avg_pool1d avg_pool2d avg_pool3d conv1d conv2d conv3d"),
    *named_ops("conv_transpose1d einsum"),
    *named_ops("conv_transpose2d conv_transpose3d", "input"),
    _ATEN.sum.dim_IntList,
    _ATEN.mean.dim,
}
_SHARES = {_ATEN.softmax.int, _ATEN._softmax.default}
# Off by a share of the result, and not of 1.
_RELATIVE = {
    *named_ops("sin cos exp sqrt rsqrt reciprocal square"),
    _ATEN.rsub.Scalar,
    _ATEN.pow.Tensor_Scalar,
    _ATEN.pow.Scalar,
}
_BAGS = {_ATEN.embedding_bag.padding_idx, _ATEN._embedding_bag.default}
# Positions of both factors and of what is added.
_PRODUCTS: dict[Any, tuple[int, int, int | None]] = {
    **dict.fromkeys(named_ops("matmul mm bmm"), (0, 1, None)),
    _ATEN.mul.Tensor: (0, 1, None),
    _ATEN.linear.default: (0, 1, 2),
    _ATEN.addmm.default: (1, 2, 0),
}
_MOVES = {
    as_reshape,
    operator.getitem,
    *named_ops("reshape permute unsqueeze expand repeat roll flip t squeeze chunk"),
    *named_ops("clone alias detach contiguous _to_copy embedding split_with_sizes cat"),
    *named_ops("transpose select unflatten unbind", "int"),
    *named_ops("slice split index", "Tensor"),
    *named_ops("stack index_select"),
    _ATEN.flatten.using_ints,
    _ATEN.squeeze.dim,
    _ATEN.squeeze.dims,
}
