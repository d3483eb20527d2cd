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

    def __call__(
        self, scores: Tensor, hidden: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the shares.

        Args:
            scores: Without what a mask adds to the hidden ones.
            hidden: Which are.
            mask: What it adds to them, far below all others; without it they are hidden
                however far scores move.
        """
        if hidden is None:
            return torch.softmax(scores, self.dim)
        if mask is None:
            seen = scores.masked_fill(hidden, -torch.inf)
        else:
            seen = scores + mask.where(hidden, 0.0)
        return torch.softmax(seen, self.dim).nan_to_num(0.0)
