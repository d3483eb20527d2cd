"""Lipschitz constants of operators that are not linear, over all values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.certified.contract import Call, each_along
from stoic.network.program import First
from stoic.network.unstated import spread_eps
from stoic.sensitivity.bracket import Bracket, outward, rounding
from stoic.sensitivity.derivatives import steepest
from stoic.sensitivity.maps import linear_map
from stoic.sensitivity.norms import Order, Store, norm

__all__ = ["constant"]

_ATEN = torch.ops.aten
_Rule: TypeAlias = Callable[[Call, Order], Bracket | None]
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def constant(call: Call, order: Order, store: Store | None = None) -> Bracket | None:
    """Return the Lipschitz constant of a step between the same norms of its rows.

    It holds for any two values, however far apart: what comes out differs by at most
    the upper bound times what goes in.

    Args:
        call: A step that reads one deviating value.
        order: 1, 2 or ``math.inf``.
        store: Norms of linear steps that are known already.

    Returns:
        Nothing where the step has no such constant or is not known. A lower bound of 0
        says that none was looked for.
    """
    linear = linear_map(call)
    if linear is not None:
        return norm(linear, order, store)
    slope = steepest(call)
    if slope is not None:
        return Bracket(0.0, slope) if math.isfinite(slope) else None
    op = call.step.op
    rule = _RULES.get(op.op if isinstance(op, First) else op)
    return None if rule is None else rule(call, order)


def _max_pool(dims: int) -> _Rule:
    """Return the rule of a maximum over windows.

    Two results differ by at most the largest difference in their window, which each
    element adds to as often as windows hold it.
    """

    def rule(call: Call, order: Order) -> Bracket | None:
        if not call.only(0) or call.arg(0).dim() != dims + 2:
            return None
        kernel = each_along(call.arg(1), dims)
        stride = each_along(call.arg(2) or kernel, dims)
        padding, dilation = (each_along(call.arg(*at), dims) for at in ((3, 0), (4, 1)))
        sizes, outs = call.arg(0).shape[2:], call.result.shape[2:]
        spans = zip(sizes, outs, kernel, stride, padding, dilation, strict=True)
        return _overlap(math.prod(_most_windows(*span) for span in spans), order)

    return rule


def _most_windows(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Count the windows that hold one element, at most, along one dimension."""
    starts = torch.arange(out)[:, None] * stride - padding
    places = (starts + torch.arange(kernel) * dilation).flatten()
    inside = places[(places >= 0) & (places < size)]
    return int(torch.bincount(inside, minlength=1).max())


def _adaptive_max_pool(dims: int) -> _Rule:
    def rule(call: Call, order: Order) -> Bracket | None:
        if not call.only(0) or call.arg(0).dim() != dims + 2:
            return None
        spans = zip(call.arg(0).shape[2:], call.result.shape[2:], strict=True)
        return _overlap(math.prod(_most_uneven(*span) for span in spans), order)

    return rule


def _most_uneven(size: int, out: int) -> int:
    """Count as `_most_windows`, for as many windows as asked for."""
    held = [0] * size
    for i in range(out):
        for place in range(i * size // out, -(-(i + 1) * size // out)):
            held[place] += 1
    return max(held)


def _overlap(windows: int, order: Order) -> Bracket:
    """Return the norm of copying elements so often; one window may show it."""
    known: dict[float, float] = {1: float(windows), 2: math.sqrt(windows)}
    return Bracket(0.0, outward(known.get(order, 1.0)))


def _largest(call: Call, order: Order) -> Bracket | None:
    """Bound a maximum along dimensions: every element lies in one window."""
    return Bracket(0.0, 1.0) if call.only(0) and not _over_rows(call) else None


def _over_rows(call: Call) -> bool:
    """Say whether a step works along the rows of a batch."""
    named = call.arg(1)
    dims = list(named) if isinstance(named, Sequence) else [named]
    rank = call.arg(0).dim()
    return not dims or any(dim is None or dim % rank == 0 for dim in dims)


def _softmax(call: Call, order: Order) -> Bracket | None:
    """Bound the Jacobian ``diag(p) - p p'``: its rows sum to ``2 p (1 - p)``."""
    return Bracket(0.0, 0.5) if call.only(0) and not _over_rows(call) else None


def _log_softmax(call: Call, order: Order) -> Bracket | None:
    """Bound the Jacobian ``I - 1 p'``.

    Rows sum to ``2 (1 - p)``, columns to ``1 + (n - 2) p`` at most, and the square of
    the 2-norm is ``n |p|^2``, or 1, at most ``n``.
    """
    if not call.only(0) or _over_rows(call):
        return None
    count = call.arg(0).shape[call.arg(1)]
    known: dict[float, float] = {1: max(count - 1.0, 1.0), 2: math.sqrt(count)}
    return Bracket(0.0, outward(known.get(order, 2.0)))


def _log_sum(call: Call, order: Order) -> Bracket | None:
    """Bound a gradient of probabilities, which sum to 1."""
    return Bracket(0.0, 1.0) if call.only(0) and not _over_rows(call) else None


def _layer_norm(call: Call, order: Order) -> Bracket | None:
    """Bound a normalisation over the last dimensions."""
    shape = call.arg(1)
    if not call.only(0) or len(shape) >= call.arg(0).dim():
        return None
    return _normalised(call.arg(2), call.arg(4, 1e-5), math.prod(shape), order)


def _rms_norm(call: Call, order: Order) -> Bracket | None:
    """Bound the same without centring."""
    value, shape = call.arg(0), call.arg(1)
    if not call.only(0) or len(shape) >= value.dim():
        return None
    given = call.arg(3)
    eps = spread_eps(value.dtype) if given is None else given
    return _normalised(call.arg(2), eps, math.prod(shape), order)


def _group_norm(call: Call, order: Order) -> Bracket | None:
    """Bound a normalisation over groups of channels."""
    if not call.only(0):
        return None
    count = call.arg(0)[0].numel() // call.arg(1)
    return _normalised(call.arg(2), call.arg(4, 1e-5), count, order)


def _instance_norm(call: Call, order: Order) -> Bracket | None:
    """Bound a normalisation over every channel by itself."""
    if not call.only(0) or not call.arg(5):
        return None
    count = call.arg(0)[0, 0].numel()
    return _normalised(call.arg(1), call.arg(7), count, order)


def _normalised(scale: Any, eps: float, count: int, order: Order) -> Bracket | None:
    """Bound ``scale * (x - mean) / sqrt(variance + eps)`` over so many elements.

    With ``z`` the result before scaling, the Jacobian is ``(C - z z' / count) / s``: a
    projection that centres, or the identity, less one along ``z``, over the deviation
    ``s >= sqrt(eps)``. As ``|z|^2 < count`` its 2-norm is at most ``1 / s``, and the
    sum of a row or column at most ``sqrt(count)`` times its 2-norm.
    """
    if eps <= 0:
        return None
    largest = 1.0 if scale is None else float(scale.detach().double().abs().max())
    spread = 1.0 if order == 2 else math.sqrt(count)
    return Bracket(0.0, outward(largest * spread / math.sqrt(eps), rounding(8)))


def _embedding(call: Call, order: Order) -> Bracket | None:
    """Bound a deviation of the table: each of its rows is copied as often as met."""
    if not call.only(0):
        return None
    ids: Tensor = call.arg(1)
    rows = ids.reshape(len(ids), -1) if ids.dim() > 1 else ids[:, None]
    return _overlap(max(int(row.bincount().max()) for row in rows), order)


_RULES: dict[Any, _Rule] = {
    _ATEN.max_pool1d.default: _max_pool(1),
    _ATEN.max_pool2d.default: _max_pool(2),
    _ATEN.max_pool3d.default: _max_pool(3),
    _ATEN.adaptive_max_pool1d.default: _adaptive_max_pool(1),
    _ATEN.adaptive_max_pool2d.default: _adaptive_max_pool(2),
    _ATEN.adaptive_max_pool3d.default: _adaptive_max_pool(3),
    _ATEN.amax.default: _largest,
    _ATEN.amin.default: _largest,
    _ATEN.max.dim: _largest,
    _ATEN.min.dim: _largest,
    _ATEN.softmax.int: _softmax,
    _ATEN.log_softmax.int: _log_softmax,
    _ATEN.logsumexp.default: _log_sum,
    _ATEN.layer_norm.default: _layer_norm,
    _ATEN.rms_norm.default: _rms_norm,
    _ATEN.group_norm.default: _group_norm,
    _ATEN.instance_norm.default: _instance_norm,
    _ATEN.embedding.default: _embedding,
}
