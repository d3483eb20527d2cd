"""Normalisation by stored statistics, pooling, means and sums."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.certified.contract import (
    Absolute,
    Call,
    Rule,
    each_along,
    per_channel,
)
from stoic.network.certified.rounding import relative

__all__ = ["RULES"]

_ATEN = torch.ops.aten
_NORM_TERMS = 12
# A division, and a start at zero.
_EXTRA = 2
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def batch_norm(call: Call) -> Absolute | None:
    """Scale and shift every channel, in either order of the two."""
    if call.step.kwargs or not call.only(0) or call.arg(0).dim() < 2:
        return None
    shape = (-1, *[1] * (call.arg(0).dim() - 2))
    gain, mean = (call.size(position).reshape(shape) for position in (1, 3))
    centre, variance = call.arg(3).double(), call.arg(4).double()
    inverse = torch.rsqrt(variance + call.arg(6)).reshape(shape)
    if call.arg(1) is None:
        gain = torch.ones_like(inverse)
    factor = gain * inverse

    def scale(weights: Tensor) -> Tensor:
        value = call.arg(0).double()
        off = relative(_NORM_TERMS, call.arg(0).dtype)
        # The small part is for rounding; with the 1 the factor itself stays in bounds.
        spread = (value - centre.reshape(shape)).abs() + off * (value.abs() + mean + 1)
        return per_channel(weights * spread * inverse)

    return Absolute(
        lambda d: d * factor,
        growth=max(float((inverse * (1 + mean)).max()), float(factor.max()), 1.0),
        terms=_NORM_TERMS,
        offset=factor * mean + call.size(2).reshape(shape),
        apart=True,
        stored=call.spreads({1: scale, 2: per_channel}),
        narrow=True,
    )


def max_pool(dims: int) -> Rule:
    """Return the rule of a maximum: no larger than the sum over its window."""

    def rule(call: Call) -> Absolute | None:
        if call.step.kwargs or not call.only(0) or call.arg(0).dim() != dims + 2:
            return None
        kernel = each_along(call.arg(1), dims)
        stride = each_along(call.arg(2) or kernel, dims)
        padding, dilation = (each_along(call.arg(*at), dims) for at in ((3, 0), (4, 1)))
        shape = call.result.shape[2:]
        ones = torch.ones(1, 1, *kernel, dtype=torch.float64)

        def carry(deviation: Tensor) -> Tensor:
            """Sum over windows; those that reach over the end find zeros there."""
            sides = []
            for i in reversed(range(dims)):
                reach = (shape[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
                after = reach - padding[i] - deviation.shape[2 + i]
                sides += [padding[i], max(after, 0)]
            planes = F.pad(deviation, sides).flatten(0, 1)[:, None]
            sums = _CONVOLUTIONS[dims](planes, ones, None, stride, 0, dilation)
            for i in range(dims):
                sums = sums.narrow(2 + i, 0, shape[i])
            return sums.reshape(*deviation.shape[:2], *shape)

        return Absolute(carry, growth=1.0, apart=True)

    return rule


def average_pool(dims: int) -> Rule:
    """Return the rule of a mean over windows."""

    def rule(call: Call) -> Absolute | None:
        known = len(call.step.args) < 7 and not call.step.kwargs
        if not known or not call.only(0) or call.arg(0).dim() != dims + 2:
            return None
        window = math.prod(each_along(call.arg(1), dims))
        return Absolute(call.again, 1.0, terms=window + _EXTRA, apart=True)

    return rule


def adaptive_pool(dims: int) -> Rule:
    """Return the rule of a mean over as many windows as asked for."""

    def rule(call: Call) -> Absolute | None:
        value = call.arg(0)
        if call.step.kwargs or not call.only(0) or value.dim() != dims + 2:
            return None
        sizes = zip(value.shape[2:], call.result.shape[2:], strict=True)
        window = math.prod(size // windows + 2 for size, windows in sizes)
        return Absolute(call.again, 1.0, terms=window + _EXTRA, apart=True)

    return rule


def mean(call: Call) -> Absolute | None:
    """Average over dimensions."""
    return _reduction(call, divided=True)


def total(call: Call) -> Absolute | None:
    """Sum over dimensions."""
    return _reduction(call, divided=False)


def _reduction(call: Call, *, divided: bool) -> Absolute | None:
    shape, dims = call.arg(0).shape, call.arg(1)
    if call.step.kwargs or not call.only(0) or not dims:
        return None
    named = {dim % len(shape) for dim in dims}
    if 0 in named:
        return None
    count = math.prod(shape[dim] for dim in named)
    growth = 1.0 if divided else float(count)
    apart = 1 not in named
    return Absolute(call.again, growth, terms=count + _EXTRA, apart=apart)


RULES: dict[Any, Rule] = {
    _ATEN._native_batch_norm_legit_no_training.default: batch_norm,
    _ATEN.max_pool1d.default: max_pool(1),
    _ATEN.max_pool2d.default: max_pool(2),
    _ATEN.max_pool3d.default: max_pool(3),
    _ATEN.avg_pool1d.default: average_pool(1),
    _ATEN.avg_pool2d.default: average_pool(2),
    _ATEN.avg_pool3d.default: average_pool(3),
    _ATEN.adaptive_avg_pool1d.default: adaptive_pool(1),
    _ATEN.adaptive_avg_pool2d.default: adaptive_pool(2),
    _ATEN.adaptive_avg_pool3d.default: adaptive_pool(3),
    _ATEN.mean.dim: mean,
    _ATEN.sum.dim_IntList: total,
}
