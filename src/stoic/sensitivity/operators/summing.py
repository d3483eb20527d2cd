"""Operators that add up elements with fixed shares, none negative: pads, resizing."""

from __future__ import annotations

from typing import Any

import torch

from stoic.network.certified.contract import Absolute, Call, named_ops
from stoic.sensitivity.parts.layouts import Rows

__all__ = ["summing"]

_ATEN = torch.ops.aten


def summing(call: Call, inputs: int) -> Absolute | None:
    """Return an operator on absolute numbers as itself, if it keeps inputs apart.

    Args:
        call: A step that reads one deviating value.
        inputs: How many there are.
    """
    op = call.step.op
    terms = 0 if isinstance(op, Rows) else _TERMS.get(op)
    if terms is None or not call.only(0) or call.result.dim() < 2:
        return None
    if op is _ATEN.pad.default and (call.arg(3) or 0) < 0:
        return None
    if op is _ATEN.cumsum.default:
        terms = call.arg(0).shape[call.arg(1)]
    return Absolute(call.again, 1.0, terms) if _apart(call, inputs) else None


def _apart(call: Call, inputs: int) -> bool:
    """Say whether no row of the result hangs on another row than its own.

    Two rows differ in a binary digit of their numbers: none of those with a 1 there may
    reach one with a 0, nor the other way round. Shares are not negative: none cancel.
    """
    value, result = call.arg(0), call.result
    if len(value) != inputs or len(result) != inputs:
        return False
    rows = torch.arange(inputs)
    for digit in range((inputs - 1).bit_length()):
        ones = (rows >> digit) % 2 == 1
        for given in (ones, ~ones):
            owners = given.to(value).reshape(-1, *[1] * (value.dim() - 1))
            found = call.again(owners.expand_as(value))
            if bool((found[~given] != 0).any()):
                return False
    return True


_TERMS: dict[Any, int] = {
    **dict.fromkeys(
        named_ops(
            "pad reflection_pad1d reflection_pad2d replication_pad1d "
            "replication_pad2d _to_copy"
        ),
        0,
    ),
    **dict.fromkeys(
        named_ops(
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
            "upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
            "vec",
        ),
        32,
    ),
    _ATEN.cumsum.default: 0,
}
