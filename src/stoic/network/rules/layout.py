"""Operators that rearrange, or reduce along other dimensions than the patch's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stoic.network.patch import Changed, Patch
from stoic.network.program import as_reshape
from stoic.network.rules.contract import Call, Rule

__all__ = ["MOVES", "RULES"]

_ATEN = torch.ops.aten


def permute(call: Call) -> Patch | None:
    """Carry a patch to where its dimension goes."""
    patch = call.only(0)
    if patch is None:
        return None
    dims = [d % patch.piece.dim() for d in call.arg(1)]
    return Patch(dims.index(patch.dim), patch.start, patch.piece.permute(dims))


def transpose(call: Call) -> Patch | None:
    """Swap two dimensions."""
    patch = call.only(0)
    if patch is None:
        return None
    dims = patch.piece.dim()
    a, b = (call.arg(i) % dims for i in (1, 2))
    moved = {a: b, b: a}.get(patch.dim, patch.dim)
    return Patch(moved, patch.start, patch.piece.transpose(a, b))


def matrix_transpose(call: Call) -> Patch | None:
    """Swap the two dimensions of a matrix."""
    patch = call.only(0)
    if patch is None or patch.piece.dim() != 2:
        return None
    return Patch(1 - patch.dim, patch.start, patch.piece.t())


def reshape(call: Call) -> Patch | None:
    """Carry a patch whose dimension is kept, merged with later ones, or cut up.

    Elements of the slice stay one run within each index of the leading dimensions; the
    result is a patch if such runs fill whole indices of one dimension, else the
    smallest slice of golden blocks around them.
    """
    patch = call.only(0)
    if patch is None:
        return None
    old, new = call.golden(_first_name(call)).shape, call.result().shape
    lead = math.prod(old[: patch.dim])
    tail = math.prod(old[patch.dim + 1 :])
    dim, done = 0, 1
    while dim < len(new) and done < lead:
        done *= new[dim]
        dim += 1
    while dim < len(new) - 1 and new[dim] == 1:
        dim += 1
    if done != lead or dim == len(new):
        return None
    block = math.prod(new[dim + 1 :])
    first, last = patch.start * tail, (patch.start + patch.length) * tail
    if block == 0:
        return None
    start, end = first // block, -(-last // block)
    golden = call.result().narrow(dim, start, end - start)
    runs = golden.reshape(lead, -1).clone()
    inside = patch.piece.reshape(lead, -1)
    runs[:, first - start * block : last - start * block] = inside
    return Patch(dim, start, runs.reshape(golden.shape))


def _first_name(call: Call) -> str:
    return str(call.step.args[0].name)


def unsqueeze(call: Call) -> Patch | None:
    """Insert a dimension."""
    patch = call.only(0)
    if patch is None:
        return None
    dim = call.arg(1) % (patch.piece.dim() + 1)
    return Patch(
        patch.dim + (dim <= patch.dim), patch.start, patch.piece.unsqueeze(dim)
    )


def squeeze(call: Call) -> Patch | None:
    """Drop those of the named dimensions that have size 1."""
    patch = call.only(0)
    if patch is None:
        return None
    named = call.arg(1)
    dims = patch.piece.dim()
    dropped = {d % dims for d in (named if isinstance(named, list) else [named])}
    if patch.dim in dropped:
        return None
    before = sum(d < patch.dim and patch.piece.shape[d] == 1 for d in dropped)
    return Patch(patch.dim - before, patch.start, call.again(0, patch.piece))


def cat(call: Call) -> Patch | None:
    """Place the patch of one part at its offset, or patch all parts alike."""
    if len(call.changes) != 1:
        return None
    parts, names = call.arg(0), [ref.name for ref in call.step.args[0]]
    ((name, patch),) = call.changes.items()
    if not isinstance(patch, Patch) or names.count(name) != 1:
        return None
    # An empty vector may stand among parts of any shape.
    if any(part.dim() != patch.piece.dim() for part in parts):
        return None
    dim = call.arg(1, 0) % patch.piece.dim()
    if dim == patch.dim:
        offset = sum(part.shape[dim] for part in parts[: names.index(name)])
        return Patch(dim, offset + patch.start, patch.piece)
    pieces = [
        patch.piece if own == name else patch.of(part)
        for own, part in zip(names, parts, strict=True)
    ]
    return patch.with_piece(torch.cat(pieces, dim))


def along(*dims_at: int) -> Rule:
    """Return the rule of an operator that treats every index of other dims alike.

    Args:
        dims_at: Positions of the arguments that name the dimensions it works along.
    """

    def rule(call: Call) -> Changed | None:
        patch = call.only(0)
        if patch is None:
            return None
        dims = patch.piece.dim()
        named = [call.arg(position) for position in dims_at]
        flat = [d for n in named for d in (n if isinstance(n, list | tuple) else [n])]
        if not flat or any(d is None for d in flat):
            return None
        if patch.dim in {d % dims for d in flat}:
            return None
        piece = call.again(0, patch.piece)
        return _refitted(call, patch, piece, {d % dims for d in flat})

    return rule


def _refitted(call: Call, patch: Patch, piece: Any, dims: set[int]) -> Changed | None:
    """Return the patch of a result that may have lost the dimensions worked along."""
    if not isinstance(piece, Tensor):
        return None
    lost = patch.piece.dim() - piece.dim()
    before = sum(d < patch.dim for d in dims) if lost else 0
    return Patch(patch.dim - before, patch.start, piece)


def expand(call: Call) -> Patch | None:
    """Repeat a patch along other dimensions than its own."""
    patch = call.only(0)
    if patch is None:
        return None
    golden = call.result()
    dim = patch.dim + golden.dim() - patch.piece.dim()
    if golden.shape[dim] != call.golden(_first_name(call)).shape[patch.dim]:
        return None
    shape = list(golden.shape)
    shape[dim] = patch.length
    return Patch(dim, patch.start, patch.piece.expand(shape))


MOVES: dict[Any, Rule] = {
    _ATEN.permute.default: permute,
    _ATEN.transpose.int: transpose,
    _ATEN.t.default: matrix_transpose,
    _ATEN.numpy_T.default: matrix_transpose,
    as_reshape: reshape,
    _ATEN.reshape.default: reshape,
    _ATEN.flatten.using_ints: reshape,
    _ATEN.unflatten.int: reshape,
    _ATEN.unsqueeze.default: unsqueeze,
    _ATEN.cat.default: cat,
    _ATEN.expand.default: expand,
    _ATEN.select.int: along(1),
    _ATEN.slice.Tensor: along(1),
    _ATEN.squeeze.dim: squeeze,
    _ATEN.squeeze.dims: squeeze,
}

RULES: dict[Any, Rule] = {
    **MOVES,
    _ATEN.mean.dim: along(1),
    _ATEN.sum.dim_IntList: along(1),
    _ATEN.amax.default: along(1),
    _ATEN.softmax.int: along(1),
    _ATEN._softmax.default: along(1),
    _ATEN.log_softmax.int: along(1),
}
