"""What a step is made of, where its parts have bounds and the whole has none."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import each_along
from stoic.network.program import Ref
from stoic.sensitivity.parts.making import Making, Recipe
from stoic.sensitivity.parts.masked import Masked
from stoic.sensitivity.parts.traced import traced

__all__ = ["RECIPES", "TRACED"]

_ATEN = torch.ops.aten
# What a mask adds where nothing is to be seen is below this.
_HIDDEN = -1e9


def attention(making: Making) -> bool:
    """Products, a scale, a mask, shares, and a product with the values."""
    making_few = making.option(6, "enable_gqa", False) or making.arg(4, 0.0)
    if making_few:
        return False
    query, key, value = (making.ref(position) for position in range(3))
    features = making.arg(0).shape[-1]
    given = making.step.kwargs.get("scale")
    scale = 1 / math.sqrt(features) if given is None else float(given)
    turned = making.make(_ATEN.transpose.int, key, -2, -1)
    scores = making.make(_ATEN.matmul.default, query, turned)
    scores = making.make(_ATEN.mul.Tensor, scores, scale)
    scores, *hidden = _masked(making, scores)
    shares = making.make(Masked(-1), scores, *hidden)
    making.make(_ATEN.matmul.default, shares, value, last=True)
    return True


def _masked(making: Making, scores: Ref) -> tuple[Ref, ...]:
    """Add what a mask adds, and return what it hides, and by which numbers."""
    mask = making.option(3, "attn_mask")
    ref = making.step.kwargs.get("attn_mask", making.ref(3))
    if making.option(5, "is_causal", False):
        rows, columns = (making.arg(position).shape[-2] for position in (0, 1))
        seen = torch.ones(rows, columns, dtype=torch.bool).tril()
        return scores, making.constant(~seen)
    if mask is None:
        return (scores,)
    if mask.dtype is torch.bool:
        return scores, making.constant(~mask)
    hidden = _hidden(mask)
    if ref.name not in making.fixed or not bool(hidden.any()):
        return (making.make(_ATEN.add.Tensor, scores, ref),)
    ours = making.constant(hidden)
    shown = making.make(_ATEN.masked_fill.Scalar, ref, ours, 0.0)
    return making.make(_ATEN.add.Tensor, scores, shown), ours, ref


def _hidden(mask: Tensor) -> Tensor:
    """Return which scores are hidden: beside others, or with no number at all.

    Where all of a row are far down, none is hidden by the others.
    """
    far = mask < _HIDDEN
    beside = (~far).any(-1, keepdim=True)
    return (far & beside) | (mask == -math.inf)


def layer_norm(making: Making) -> bool:
    """Over several dimensions: of one row of them all."""
    shape = making.arg(1)
    if len(shape) == 1:
        return False
    value = making.arg(0)
    before = value.shape[: value.dim() - len(shape)]
    rows = making.reshaped(making.ref(0), *before, math.prod(shape))
    scale, shift = (
        None if making.arg(i) is None else making.reshaped(making.ref(i), -1)
        for i in (2, 3)
    )
    eps = making.arg(4, 1e-5)
    normed = making.make(
        _ATEN.layer_norm.default, rows, [math.prod(shape)], scale, shift, eps
    )
    making.reshaped(normed, *value.shape, last=True)
    return True


def group_norm(making: Making) -> bool:
    """Rows of groups, normalised, and a scale and a shift for each channel."""
    return _grouped(making, making.arg(1), (2, 3), making.arg(4, 1e-5))


def instance_norm(making: Making) -> bool:
    """As many groups as channels; stored statistics are another matter."""
    if not making.arg(5):
        return False
    return _grouped(making, making.arg(0).shape[1], (1, 2), making.arg(7, 1e-5))


def _grouped(making: Making, groups: int, at: tuple[int, int], eps: float) -> bool:
    value = making.arg(0)
    length = value[0].numel() // groups
    rows = making.reshaped(making.ref(0), len(value), groups, length)
    normed = making.make(_ATEN.layer_norm.default, rows, [length], None, None, eps)
    found = making.reshaped(normed, *value.shape)
    for position, op in zip(at, (_ATEN.mul.Tensor, _ATEN.add.Tensor), strict=True):
        if making.arg(position) is not None:
            ours = making.reshaped(making.ref(position), -1, *[1] * (value.dim() - 2))
            found = making.make(op, found, ours)
    making.make(_ATEN.alias.default, found, last=True)
    return True


def stack(making: Making) -> bool:
    """A new dimension for each, and a concatenation."""
    dim, rank = making.arg(1, 0), making.arg(0)[0].dim() + 1
    if dim % rank == 0:
        behind = making.make(_ATEN.stack.default, making.ref(0), 1)
        making.make(_ATEN.transpose.int, behind, 0, 1, last=True)
        return True
    parts = [making.make(_ATEN.unsqueeze.default, r, dim) for r in making.ref(0)]
    making.make(_ATEN.cat.default, parts, dim % rank, last=True)
    return True


def bilinear(making: Making) -> bool:
    """A product with the first value, one with the second, and a sum."""
    if making.arg(0).dim() != 2:
        return False
    outputs, ours, theirs = making.arg(2).shape
    turned = making.make(_ATEN.transpose.int, making.ref(2), 1, 2)
    matrix = making.reshaped(turned, outputs * theirs, ours)
    rows = making.make(_ATEN.linear.default, making.ref(0), matrix)
    rows = making.reshaped(rows, len(making.arg(0)), outputs, theirs)
    other = making.make(_ATEN.unsqueeze.default, making.ref(1), 1)
    product = making.make(_ATEN.mul.Tensor, rows, other)
    total = making.make(_ATEN.sum.dim_IntList, product, [2])
    if making.arg(3) is not None:
        total = making.make(_ATEN.add.Tensor, total, making.ref(3))
    making.make(_ATEN.alias.default, total, last=True)
    return True


def quotient(making: Making) -> bool:
    """Multiply by the reciprocal, where it is not just a number that divides."""
    if making.step.kwargs or not isinstance(making.ref(1), Ref):
        return False
    inverse = making.make(_ATEN.reciprocal.default, making.ref(1))
    making.make(_ATEN.mul.Tensor, making.ref(0), inverse, last=True)
    return True


def least(op: Any) -> Recipe:
    """Return the recipe of a minimum by a maximum of the negative."""

    def recipe(making: Making) -> bool:
        turned = making.make(_ATEN.neg.default, making.ref(0))
        found = making.make(op, turned, *making.step.args[1:])
        making.make(_ATEN.neg.default, found, last=True)
        return True

    return recipe


def max_pool(dims: int) -> Recipe:
    """Return the recipe of a pool over one or three dimensions by ones over two."""

    def recipe(making: Making) -> bool:
        value, result = making.arg(0).shape, making.values.get(making.step.name)
        options = [
            each_along(making.arg(i, d), dims) for i, d in ((1, 0), (3, 0), (4, 1))
        ]
        kernel, padding, dilation = options
        stride = each_along(making.arg(2) or kernel, dims)
        ceil = bool(making.arg(5, False))
        if result is None or len(value) != dims + 2 or making.step.kwargs:
            return False
        pools = [(kernel, stride, padding, dilation)]
        if dims == 1:
            _one(making, pools[0], ceil, value, result.shape)
        else:
            _three(making, pools[0], ceil, value, result.shape)
        return True

    return recipe


_Options = tuple[tuple[int, ...], ...]


def _one(making: Making, pool: _Options, ceil: bool, value: Any, result: Any) -> None:
    wide = making.reshaped(making.ref(0), *value[:2], 1, value[2])
    options = [[first, *given] for first, given in zip((1, 1, 0, 1), pool, strict=True)]
    found = making.make(_ATEN.max_pool2d.default, wide, *options, ceil)
    making.reshaped(found, *result, last=True)


def _three(making: Making, pool: _Options, ceil: bool, value: Any, result: Any) -> None:
    rows, channels, depth = value[:3]
    flat = making.reshaped(making.ref(0), rows, channels * depth, *value[3:])
    found = making.make(
        _ATEN.max_pool2d.default, flat, *(given[1:] for given in pool), ceil
    )
    turned = making.reshaped(found, rows, channels, depth, math.prod(result[3:]))
    options = [[given[0], last] for given, last in zip(pool, (1, 1, 0, 1), strict=True)]
    found = making.make(_ATEN.max_pool2d.default, turned, *options, ceil)
    making.reshaped(found, *result, last=True)


def adaptive_max_pool(making: Making) -> bool:
    """Windows of one size, where the result's size divides the value's."""
    value, out = making.arg(0).shape[2:], each_along(making.arg(1), 2)
    if len(value) != 2 or any(n % m for n, m in zip(value, out, strict=True)):
        return False
    kernel = [n // m for n, m in zip(value, out, strict=True)]
    making.make(_ATEN.max_pool2d.default, making.ref(0), kernel, last=True)
    return True


def softmax(making: Making) -> bool:
    """Shares of which none is hidden."""
    dim = making.arg(1)
    making.make(Masked(dim), making.ref(0), last=True)
    return True


TRACED = {
    _ATEN.einsum.default,
    _ATEN.glu.default,
    _ATEN.lstm.input,
    _ATEN.gru.input,
    _ATEN.rnn_tanh.input,
    _ATEN.rnn_relu.input,
    _ATEN.baddbmm.default,
    _ATEN.addcmul.default,
}
"""Steps of which their own calls are written down, wherever inputs are."""

RECIPES: dict[Any, Recipe] = {
    _ATEN.scaled_dot_product_attention.default: attention,
    _ATEN.layer_norm.default: layer_norm,
    _ATEN.group_norm.default: group_norm,
    _ATEN.instance_norm.default: instance_norm,
    _ATEN.stack.default: stack,
    _ATEN.bilinear.default: bilinear,
    _ATEN.div.Tensor: quotient,
    _ATEN._safe_softmax.default: softmax,
    _ATEN.amin.default: least(_ATEN.amax.default),
    _ATEN.max_pool1d.default: max_pool(1),
    _ATEN.max_pool3d.default: max_pool(3),
    _ATEN.adaptive_max_pool2d.default: adaptive_max_pool,
    **dict.fromkeys(TRACED, traced),
}
