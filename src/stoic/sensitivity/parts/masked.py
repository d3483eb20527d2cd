"""Shares of scores of which some are hidden."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Masked"]


@dataclass(frozen=True)
class Masked:
    """Softmax of the scores that are not hidden; all 0 where none is left.

    Args:
        dim: Along which shares add up to 1.
    """

    dim: int
    __name__ = "softmax"

    def __call__(self, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the shares."""
        if hidden is None:
            return torch.softmax(scores, self.dim)
        seen = scores.masked_fill(hidden, -torch.inf)
        return torch.softmax(seen, self.dim).nan_to_num(0.0)
