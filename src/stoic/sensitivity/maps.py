"""Steps of a program that are linear in the one value that deviates, as maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, each_along, named_ops
from stoic.network.program import First, as_reshape, filled, refs
from stoic.sensitivity.curves import curve_of
from stoic.sensitivity.linear import (
    LinearMap,
    Moves,
    Zeros,
    dense,
    scaled,
    sparse,
    stencilled,
)
from stoic.sensitivity.stencil import Stencil

__all__ = ["linear_map"]

_ATEN = torch.ops.aten
_Rule: TypeAlias = Callable[[Call], LinearMap | None]


def linear_map(call: Call) -> LinearMap | None:
    """Return the linear part of a step, as a map of one row of its deviating value.

    It is that of the exact function, in float64.

    Returns:
        Nothing where the step is not linear in one value alone, is not known, or does
        not keep rows, dimension 0, apart.
    """
    op = call.step.op
    rule = _RULES.get(op.op if isinstance(op, First) else op)
    if rule is None or not _one_by_one(call):
        return None
    with torch.no_grad():
        return rule(call)


def _one_by_one(call: Call) -> bool:
    """Say whether one value deviates, in one place, and has the result's rows."""
    places = list(refs((call.step.args, dict(call.step.kwargs))))
    if len(call.reads) != 1 or places.count(call.reads[0]) != 1:
        return False
    value, result = call.golden(call.reads[0]), call.golden(call.step.name)
    ours = all(
        isinstance(each, Tensor) and each.is_floating_point() and each.dim() > 1
        for each in (value, result)
    )
    return ours and len(value) == len(result)


def _row(call: Call) -> tuple[int, ...]:
    """Return the shape of a row of what deviates."""
    return tuple(call.golden(call.reads[0]).shape[1:])


def _convolution(call: Call) -> LinearMap | None:
    """Read the options of ``conv2d`` and its like."""
    weight = call.arg(1)
    if not call.deviates(0) or call.arg(0).dim() != weight.dim():
        return None
    dims = weight.dim() - 2
    stride, dilation = (
        each_along(call.arg(3, 1), dims),
        each_along(call.arg(5, 1), dims),
    )
    padding = call.arg(4, 0)
    if padding == "same":
        # What is odd comes behind.
        sizes = zip(weight.shape[2:], dilation, strict=True)
        before = tuple((size - 1) * apart // 2 for size, apart in sizes)
    else:
        before = each_along(0 if padding == "valid" else padding, dims)
    return stencilled(
        Stencil(
            *(weight.detach().double(), call.arg(6, 1)),
            *(_row(call)[1:], tuple(call.result.shape[2:])),
            *(stride, before, dilation),
        )
    )


def _turned_convolution(call: Call) -> LinearMap | None:
    """Read the options of ``conv_transpose2d`` and its like."""
    dims = call.arg(1).dim() - 2
    if not call.deviates(0) or call.arg(0).dim() != dims + 2:
        return None
    stride, padding, dilation = (
        each_along(call.arg(*at), dims) for at in ((3, 1), (4, 0), (7, 1))
    )
    stencil = Stencil(
        *(call.arg(1).detach().double(), call.arg(6, 1)),
        *(tuple(call.result.shape[2:]), _row(call)[1:]),
        *(stride, padding, dilation),
    )
    return stencilled(stencil, turned=True)


def _matrix(value: int, weight: int, *, turned: bool) -> _Rule:
    """Return the rule of ``value @ matrix``, whose weight may be the matrix turned."""

    def rule(call: Call) -> LinearMap | None:
        if not call.deviates(value) or call.arg(weight).dim() != 2:
            return None
        matrix = call.arg(weight) if turned else call.arg(weight).t()
        return dense(_row(call), matrix)

    return rule


def _batch_norm(call: Call) -> LinearMap | None:
    """Scale every channel."""
    if not call.deviates(0):
        return None
    gain = torch.rsqrt(call.arg(4).double() + call.arg(6))
    gain = gain if call.arg(1) is None else gain * call.arg(1).double()
    return scaled(_row(call), gain.reshape(-1, *[1] * (len(_row(call)) - 1)))


def _line(call: Call) -> LinearMap | None:
    """Multiply every element with a constant, as its curve says."""
    curve = curve_of(call)
    if curve is None or len(curve.pieces) != 1:
        return None
    slopes = curve.pieces[0].derivative(torch.zeros((), dtype=torch.float64))
    dims = len(_row(call)) + 1
    if slopes.dim() == dims:
        # One for each input of the batch is no map that all rows share.
        if len(slopes) != 1:
            return None
        slopes = slopes[0]
    return scaled(_row(call), slopes)


def _same(call: Call) -> LinearMap | None:
    """Pass on what is read, whatever its format."""
    return scaled(_row(call), torch.ones((), dtype=torch.float64))


def _reshaped(call: Call) -> LinearMap | None:
    """Read rows in another shape: the batch size is not asked for."""
    shape = call.result.shape[1:]
    return sparse(
        _row(call), lambda rows: rows.reshape(len(rows), *shape), shape, Moves()
    )


def _expanded(call: Call) -> LinearMap | None:
    shape = call.result.shape[1:]
    if len(shape) != len(_row(call)):
        return None
    return sparse(
        _row(call), lambda rows: rows.expand(-1, *shape), ("expanded", tuple(shape))
    )


def _moved(call: Call) -> LinearMap | None:
    """Run an operator that sums and moves elements, on rows alone."""
    return _checked(call, _key(call), call.step.op, None)


def _padded(call: Call) -> LinearMap | None:
    """Put zeros, or copies of elements, around a map."""
    sides, mode = call.arg(1), call.arg(2, "constant")
    spatial = len(_row(call)) - 1
    zeros = mode == "constant" and len(sides) <= 2 * spatial and min(sides) >= 0
    befores = [*sides[::2], *[0] * spatial][:spatial]
    form = Zeros(tuple(reversed(befores))) if zeros and spatial else None
    options = (sides, mode) if mode != "constant" else (sides,)
    return _checked(call, _key(call), lambda rows, *_: _ATEN.pad(rows, *options), form)


def _pooled(call: Call) -> LinearMap | None:
    return None if call.arg(6) is not None else _moved(call)


def _checked(
    call: Call, key: str, op: Callable[..., Any], form: Zeros | None
) -> LinearMap | None:
    """Return the map of an operator, once it is seen to keep rows apart."""
    name = call.reads[0]

    def run(rows: Tensor) -> Tensor:
        def lookup(other: str) -> Any:
            return rows if other == name else call.golden(other)

        args = [filled(arg, lookup) for arg in call.step.args]
        kwargs = {k: filled(arg, lookup) for k, arg in call.step.kwargs.items()}
        result: Tensor = op(*args, **kwargs)
        return result

    chance = torch.Generator().manual_seed(0)
    some = torch.rand(2, *_row(call), generator=chance, dtype=torch.float64)
    try:
        both, each = run(some), [run(row[None]) for row in some]
    except RuntimeError:
        return None
    apart = both.shape == (2, *call.result.shape[1:]) and all(
        torch.equal(one, row[None]) for one, row in zip(each, both, strict=True)
    )
    return sparse(_row(call), run, key, form) if apart else None


def _key(call: Call) -> str:
    """Return a name of an operator and its options."""

    def told(name: str) -> Any:
        return "rows" if name == call.reads[0] else call.golden(name)

    options = filled((call.step.args, dict(call.step.kwargs)), told)
    return f"{call.step.op} {options!r}"


_RULES: dict[Any, _Rule] = {
    **dict.fromkeys(named_ops("conv1d conv2d conv3d"), _convolution),
    **dict.fromkeys(named_ops("conv1d conv2d conv3d", "padding"), _convolution),
    _ATEN.conv_transpose1d.default: _turned_convolution,
    _ATEN.conv_transpose2d.input: _turned_convolution,
    _ATEN.conv_transpose3d.input: _turned_convolution,
    _ATEN.linear.default: _matrix(0, 1, turned=True),
    _ATEN.addmm.default: _matrix(1, 2, turned=False),
    _ATEN.mm.default: _matrix(0, 1, turned=False),
    _ATEN.matmul.default: _matrix(0, 1, turned=False),
    _ATEN._native_batch_norm_legit_no_training.default: _batch_norm,
    **dict.fromkeys(named_ops("mul div add sub", "Tensor"), _line),
    **dict.fromkeys(named_ops("rsub masked_fill", "Scalar"), _line),
    **dict.fromkeys(named_ops("neg dropout feature_dropout alpha_dropout"), _line),
    _ATEN.where.self: _line,
    **dict.fromkeys(named_ops("clone alias detach contiguous _to_copy"), _same),
    as_reshape: _reshaped,
    _ATEN.reshape.default: _reshaped,
    _ATEN.flatten.using_ints: _reshaped,
    _ATEN.unflatten.int: _reshaped,
    _ATEN.expand.default: _expanded,
    _ATEN.pad.default: _padded,
    **dict.fromkeys(named_ops("avg_pool2d avg_pool3d"), _pooled),
    **dict.fromkeys(
        named_ops(
            "permute unsqueeze flip roll repeat im2col pixel_shuffle pixel_unshuffle "
            "channel_shuffle avg_pool1d adaptive_avg_pool1d adaptive_avg_pool2d "
            "adaptive_avg_pool3d cumsum reflection_pad1d reflection_pad2d "
            "replication_pad1d replication_pad2d"
        ),
        _moved,
    ),
    **dict.fromkeys(named_ops("transpose select", "int"), _moved),
    **dict.fromkeys(named_ops("squeeze mean", "dim"), _moved),
    **dict.fromkeys(named_ops("slice split", "Tensor"), _moved),
    **dict.fromkeys(
        named_ops(
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
            "upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
            "vec",
        ),
        _moved,
    ),
    _ATEN.squeeze.dims: _moved,
    _ATEN.sum.dim_IntList: _moved,
}
