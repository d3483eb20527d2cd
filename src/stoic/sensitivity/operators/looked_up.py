"""Rows of a stored table, as ids choose them: they move with its words alone."""

from __future__ import annotations

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import Adjoint, Crossing, Turn

__all__ = ["embedding"]


def embedding(crossing: Crossing) -> Turn | None:
    """Look up the errors of words."""
    call = crossing.call
    name = call.name(0)
    if call.reads or name is None:
        return None
    error, ids = crossing.errors(name), call.arg(1)
    zeros = torch.zeros_like(call.result)
    still = torch.zeros(len(call.result), dtype=torch.float64)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return ()

    return Turn(
        most=zeros,
        stretch=lambda *norms: still,
        adjoint=Adjoint(back, back),
        # Stored words are rounded as such.
        errors=zeros if error is None else error.expand_as(call.arg(0))[ids],
    )
