"""A known reason for failing."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from stoic.cases import chance

__all__ = ["Cause"]


@dataclass(frozen=True)
class Cause:
    """A known reason for failing: one parameter far outside its nominal range.

    Args:
        name: What an engineer would call it.
        column: The parameter.
        low: Its mildest value.
        high: Its severest value.
        signed: Whether it goes either way from zero.
    """

    name: str
    column: str
    low: float
    high: float
    signed: bool = False

    def severity(self, seeds: Int64[Tensor, " scene"]) -> Float64[Tensor, " scene"]:
        """Return the parameter's value for each image, as severe as its seed says."""
        size = chance.between(seeds, f"severity of {self.name}", self.low, self.high)
        if not self.signed:
            return size
        left = chance.uniform(seeds, f"side of {self.name}") < 0.5
        return torch.where(left, -size, size)
