"""Convolutions and products: one output channel for a weight, a sum for an input.

A touched weight row reaches one output channel, which is computed alone. A touched
input channel reaches every output, but linearly: where last bits may differ (`fast`),
its deviation times its slice of the weight is added to the golden output.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.patch import Changed, Patch
from stoic.network.rules.contract import Call, Rule

__all__ = ["CONVOLUTIONS", "RULES"]

_ATEN = torch.ops.aten
CONVOLUTIONS = (
    _ATEN.conv1d.default,
    _ATEN.conv2d.default,
    _ATEN.conv3d.default,
)


def convolution(call: Call) -> Changed | None:
    """Compute the output channels of the touched filters, biases or channel groups."""
    value, weight = call.arg(0), call.arg(1)
    if value.dim() != weight.dim() or call.step.kwargs:
        return None
    if call.change(0) is None:
        return _filters(call, _rows_of_weight(call))
    patch = call.only(0)
    if patch is None or patch.dim != 1:
        return None
    if call.arg(6, 1) == 1:
        return _conv_sum(call, patch) if call.fast else None
    return _filters(call, _group_filters(call, patch))


def _rows_of_weight(call: Call) -> tuple[int, int] | None:
    """Return the run of output rows that weight and bias patches touch."""
    patches = call.among([1, 2]).values()
    places = {(patch.start, patch.length) for patch in patches}
    apart = all(patch.dim == 0 for patch in patches)
    return places.pop() if apart and len(places) == 1 else None


def _group_filters(call: Call, patch: Patch) -> tuple[int, int]:
    """Return the run of filters in whose groups the touched channels lie."""
    weight = call.arg(1)
    inside, outside = weight.shape[1], weight.shape[0] // call.arg(6)
    first, last = patch.start // inside, (patch.start + patch.length - 1) // inside
    return first * outside, (last + 1 - first) * outside


def _filters(call: Call, place: tuple[int, int] | None) -> Patch | None:
    """Run the convolution with a run of its filters on the groups that they read."""
    if place is None:
        return None
    start, length = place
    weight, groups = call.arg(1), call.arg(6, 1)
    inside, outside = weight.shape[1], weight.shape[0] // groups
    first, last = start // outside, (start + length - 1) // outside + 1
    if groups > 1 and (start % outside or length % outside) and last - first > 1:
        return None
    piece = call.step.op(
        _channels(call, first * inside, (last - first) * inside),
        _part(call, 1, start, length),
        _part(call, 2, start, length),
        *(call.arg(position) for position in range(3, min(len(call.step.args), 6))),
        **({} if groups == 1 else {"groups": last - first}),
    )
    return Patch(1, start, piece)


def _channels(call: Call, start: int, length: int) -> Tensor:
    """Return a run of input channels, with their patch if they have one."""
    channels: Tensor = call.arg(0).narrow(1, start, length)
    patch = call.patch(0)
    if patch is None:
        return channels
    channels = channels.clone(memory_format=torch.preserve_format)
    channels.narrow(1, patch.start - start, patch.length).copy_(patch.piece)
    return channels


def _part(call: Call, position: int, start: int, length: int) -> Tensor | None:
    """Return a run of rows of weight or bias, patched or golden."""
    patch = call.patch(position)
    if patch is not None:
        return patch.piece
    value = call.arg(position)
    return None if value is None else value.narrow(0, start, length)


def _conv_sum(call: Call, patch: Patch) -> Tensor:
    """Add what the deviation of some input channels contributes."""
    weight = call.arg(1).narrow(1, patch.start, patch.length)
    deviation = patch.piece - patch.of(call.arg(0))
    rest = [call.arg(position) for position in range(3, len(call.step.args))]
    added: Tensor = call.step.op(deviation, weight, None, *rest)
    return added.add_(call.result())


def linear(call: Call) -> Changed | None:
    """Compute the output features of the touched rows, or add a deviation's part."""
    if call.arg(1).dim() != 2:
        return None
    if call.change(0) is None:
        place = _rows_of_weight(call)
        if place is None:
            return None
        bias = _part(call, 2, *place)
        piece = F.linear(call.arg(0), _required(_part(call, 1, *place)), bias)
        return Patch(piece.dim() - 1, place[0], piece)
    patch = call.only(0)
    if patch is None:
        return None
    if patch.dim < patch.piece.dim() - 1:
        return patch.with_piece(call.again(0, patch.piece))
    if not call.fast:
        return None
    weight = call.arg(1).narrow(1, patch.start, patch.length)
    return call.result() + F.linear(patch.piece - patch.of(call.arg(0)), weight)


def _required(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def product(left: int, bias: int | None) -> Rule:
    """Return the rule of a matrix product ``[bias +] left @ right``.

    Args:
        left: Position of the left matrix; the right one follows.
        bias: Position of the bias, if there is one.
    """

    def rule(call: Call) -> Changed | None:
        a, b = call.arg(left), call.arg(left + 1)
        if a.dim() < 2 or b.dim() < 2 or len(call.changes) != 1 or call.step.kwargs:
            return None
        columns, rows = call.only(left + 1), call.only(left)
        if columns is not None and columns.dim == b.dim() - 1:
            return _columns(call, columns, a, bias)
        if rows is not None and rows.dim == a.dim() - 1:
            return _product_sum(call, rows, a, b)
        alike = rows is not None and a.dim() == b.dim() == 2 and bias is None
        return rows.with_piece(call.again(left, rows.piece)) if alike and rows else None

    return rule


def _columns(call: Call, patch: Patch, a: Tensor, bias: int | None) -> Patch | None:
    dim = call.result().dim() - 1
    if bias is None:
        return Patch(dim, patch.start, call.step.op(a, patch.piece))
    shift = call.arg(bias)
    if shift.dim() and shift.shape[-1] != 1:
        shift = shift.narrow(shift.dim() - 1, patch.start, patch.length)
    return Patch(dim, patch.start, call.step.op(shift, a, patch.piece))


def _product_sum(call: Call, patch: Patch, a: Tensor, b: Tensor) -> Tensor | None:
    if not call.fast or call.result().dim() != a.dim():
        return None
    part = b.narrow(b.dim() - 2, patch.start, patch.length)
    return call.result() + torch.matmul(patch.piece - patch.of(a), part)


def embedding(call: Call) -> Changed | None:
    """Overwrite the places that look up a touched row."""
    patch = call.only(0)
    if patch is None or patch.dim != 0:
        return None
    ids = call.arg(1)
    looked_up = (ids >= patch.start) & (ids < patch.start + patch.length)
    full = call.result().clone()
    full[looked_up] = patch.piece[ids[looked_up] - patch.start]
    return full


def attention(call: Call) -> Changed | None:
    """Attend in the touched heads alone."""
    patches = call.among(range(3))
    places = {(patch.dim, patch.start, patch.length) for patch in patches.values()}
    if len(places) != 1:
        return None
    ((dim, start, length),) = places
    shapes = {tuple(call.arg(position).shape[:-2]) for position in range(3)}
    mask = call.arg(3)
    if dim != 1 or call.result().dim() != 4 or len(shapes) != 1:
        return None
    if mask is not None and mask.dim() > 2 and mask.shape[-3] != 1:
        return None
    parts = [
        patches[position].piece
        if position in patches
        else call.arg(position).narrow(1, start, length)
        for position in range(3)
    ]
    rest = [call.arg(position) for position in range(3, len(call.step.args))]
    return Patch(1, start, call.step.op(*parts, *rest, **dict(call.step.kwargs)))


RULES: dict[Any, Rule] = {
    _ATEN.conv1d.default: convolution,
    _ATEN.conv2d.default: convolution,
    _ATEN.conv3d.default: convolution,
    _ATEN.linear.default: linear,
    _ATEN.mm.default: product(0, None),
    _ATEN.bmm.default: product(0, None),
    _ATEN.matmul.default: product(0, None),
    _ATEN.addmm.default: product(1, 0),
    _ATEN.embedding.default: embedding,
    _ATEN.scaled_dot_product_attention.default: attention,
}
