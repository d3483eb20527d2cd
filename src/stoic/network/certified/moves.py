"""Operators that rearrange values: exact, and their bounds move in the same way."""

from __future__ import annotations

from typing import Any

import torch

from stoic.network.certified.contract import Absolute, Call, Rule
from stoic.network.program import as_reshape

__all__ = ["RULES"]

_ATEN = torch.ops.aten


def along(*dims_at: int) -> Rule:
    """Return the rule of an operator that works along the dimensions it names.

    Args:
        dims_at: Positions of the arguments that name them, which are 0 by default.
    """

    def rule(call: Call) -> Absolute | None:
        named = [call.arg(position, 0) for position in dims_at]
        dims = [d for n in named for d in (n if isinstance(n, list | tuple) else [n])]
        rank = max(call.result.dim(), call.golden(call.reads[0]).dim())
        return None if any(d % rank == 0 for d in dims) else moved(call)

    return rule


def cut(call: Call) -> Absolute | None:
    """Take a part along another dimension than the first, or the whole."""
    whole = call.result.shape == call.arg(0).shape
    return moved(call) if whole else along(1)(call)


def permute(call: Call) -> Absolute | None:
    """Reorder dimensions, of which the first stays."""
    rank = call.arg(0).dim()
    return moved(call) if call.arg(1)[0] % rank == 0 else None


def expand(call: Call) -> Absolute | None:
    """Repeat along dimensions of size 1, without new ones."""
    return moved(call) if call.arg(0).dim() == call.result.dim() else None


def moved(call: Call) -> Absolute:
    """Move deviations as the values."""
    return Absolute(call.again, growth=1.0)


def same(call: Call) -> Absolute:
    """Pass on what nothing flows back through: the bound has a way back."""
    return Absolute(lambda deviation: deviation, growth=1.0)


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        (
            as_reshape,
            _ATEN.reshape.default,
            _ATEN.flatten.using_ints,
            _ATEN.unflatten.int,
            _ATEN.clone.default,
            _ATEN.alias.default,
            _ATEN.contiguous.default,
        ),
        moved,
    ),
    _ATEN.detach.default: same,
    _ATEN.permute.default: permute,
    _ATEN.expand.default: expand,
    _ATEN.transpose.int: along(1, 2),
    _ATEN.unsqueeze.default: along(1),
    _ATEN.squeeze.dim: along(1),
    _ATEN.squeeze.dims: along(1),
    _ATEN.select.int: along(1),
    _ATEN.slice.Tensor: cut,
    _ATEN.cat.default: along(1),
}
