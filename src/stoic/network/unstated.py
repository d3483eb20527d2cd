"""Arguments that an operator takes from the format of what it reads, if none is given.

A captured program states them: it says the same in whatever format it is run.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["spread_eps", "stated"]

_RMS_NORM = torch.ops.aten.rms_norm.default
_EPS = 3


def spread_eps(dtype: torch.dtype) -> float:
    """Return what ``rms_norm`` adds to a mean square if it is told nothing.

    Half-precision formats are computed in float32, and so take its number.
    """
    return torch.finfo(torch.promote_types(dtype, torch.float32)).eps


def stated(op: Any, args: tuple[Any, ...], dtype: torch.dtype) -> tuple[Any, ...]:
    """Return the arguments of an operator with those that hang on the format.

    Args:
        op: The operator.
        args: As given.
        dtype: Of the first argument.
    """
    if op is not _RMS_NORM or (len(args) > _EPS and args[_EPS] is not None):
        return args
    return (*args[:_EPS], *[None] * (_EPS - len(args)), spread_eps(dtype))
