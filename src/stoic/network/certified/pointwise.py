"""Operators that work element by element: bounds of their slopes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Absolute, Call, Rule

__all__ = ["RULES"]

_ATEN = torch.ops.aten


def slope(limit: float, *, terms: int = 0, offset: float = 0.0) -> Rule:
    """Return the rule of a function that is nowhere steeper than a limit.

    Args:
        limit: Largest slope; with ``offset`` the result is no larger than
            ``limit * |x| + offset``.
        terms: Roundings that its kernels may be off by, relative to that.
        offset: The result's size at 0 or at the ends.
    """

    def rule(call: Call) -> Absolute | None:
        if not call.only(0):
            return None
        return Absolute(lambda d: d * limit, max(limit, 1.0), terms, offset, apart=True)

    return rule


def leaky_relu(call: Call) -> Absolute | None:
    """Keep what is positive and scale the rest."""
    limit = max(1.0, abs(float(call.arg(1, 0.01))))
    return slope(limit, terms=2)(call)


def gelu(call: Call) -> Absolute | None:
    """Bound both forms; vector kernels of the error function lose some bits."""
    return slope(1.13, terms=24)(call)


def dropout(call: Call) -> Absolute | None:
    """Pass on everything, as in evaluation."""
    return None if call.arg(2) else slope(1.0)(call)


def sums(call: Call) -> Absolute | None:
    """Add or subtract two values, or a value and a constant."""
    alpha = call.step.kwargs.get("alpha", 1)
    moving = [i for i in (0, 1) if call.deviates(i)]
    if call.step.kwargs.keys() - {"alpha"} or not isinstance(alpha, int | float):
        return None
    if not all(_fits(call, position) for position in moving):
        return None
    scales, shape = (1.0, abs(float(alpha))), call.result.shape
    offset = sum(scales[i] * call.size(i) for i in (0, 1) if i not in moving)

    def carry(*deviations: Tensor) -> Tensor:
        found = dict(zip(call.reads, deviations, strict=True))
        parts = [found[str(call.name(i))].expand(shape) * scales[i] for i in moving]
        return torch.stack(parts).sum(0)

    apart = len(moving) == 1 and call.arg(moving[0]).shape == shape
    return Absolute(carry, sum(scales), terms=3, offset=offset, apart=apart)


def product(call: Call) -> Absolute | None:
    """Scale a value by constants."""
    moving = 0 if call.deviates(0) else 1
    if call.step.kwargs or not call.only(moving):
        return None
    return _scaled(call, moving, call.size(1 - moving))


def quotient(call: Call) -> Absolute | None:
    """Divide a value by constants."""
    if call.step.kwargs or not call.only(0):
        return None
    return _scaled(call, 0, 1 / call.size(1))


def _scaled(call: Call, moving: int, factors: Tensor) -> Absolute | None:
    if not _fits(call, moving):
        return None
    shape = call.result.shape
    growth = max(float(factors.max()), 1.0)
    apart = call.arg(moving).shape == shape
    return Absolute(lambda d: d.expand(shape) * factors, growth, terms=4, apart=apart)


def _fits(call: Call, position: int) -> bool:
    """Say whether a value has the inputs where the result has them."""
    dims: int = call.arg(position).dim()
    return dims == call.result.dim()


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        (
            _ATEN.relu.default,
            _ATEN.relu6.default,
            _ATEN.hardtanh.default,
            _ATEN.clamp.default,
            _ATEN.clamp_min.default,
            _ATEN.clamp_max.default,
            _ATEN.abs.default,
            _ATEN.neg.default,
        ),
        slope(1.0),
    ),
    _ATEN.leaky_relu.default: leaky_relu,
    _ATEN.sigmoid.default: slope(0.25, terms=16, offset=1.0),
    _ATEN.tanh.default: slope(1.0, terms=16),
    _ATEN.silu.default: slope(1.1, terms=16),
    _ATEN.gelu.default: gelu,
    _ATEN.hardswish.default: slope(1.5, terms=16),
    _ATEN.hardsigmoid.default: slope(1 / 6, terms=16, offset=1.0),
    _ATEN.dropout.default: dropout,
    _ATEN.add.Tensor: sums,
    _ATEN.sub.Tensor: sums,
    _ATEN.mul.Tensor: product,
    _ATEN.div.Tensor: quotient,
}
