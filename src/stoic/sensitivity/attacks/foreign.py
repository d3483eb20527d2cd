"""Attacks of other packages, by the one call that makes their perturbed inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.sensitivity.ball import Ball
from stoic.sensitivity.jacobian import Function

__all__ = ["Foreign"]


@dataclass(frozen=True)
class Foreign:
    """Any attack, such as the method ``generate`` of one of ART.

    Its result is brought into the ball: what is too large is cut back to it. It knows
    its own network, so the function given here is not used.

    Args:
        name: What figures call it.
        perturb: From inputs to perturbed ones, as tensors or as NumPy arrays.
        arrays: Whether it takes arrays.
        stretched: Take its direction to the edge of the ball, where it found less.
    """

    name: str
    perturb: Callable[[Any], Any]
    arrays: bool = True
    stretched: bool = True

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return perturbed inputs inside the ball.

        Raises:
            ValueError: The attack gave inputs of another shape, or not finite ones.
        """
        # A copy: nobody knows what a foreign attack writes to.
        ours = x.detach().clone()
        given = ours.cpu().float().numpy() if self.arrays else ours
        found = torch.as_tensor(self.perturb(given)).detach().to(x)
        if found.shape != x.shape or not bool(found.isfinite().all()):
            raise ValueError(
                f"{self.name} must give finite inputs of shape {tuple(x.shape)}, "
                f"got shape {tuple(found.shape)}"
                + ("" if found.shape != x.shape else " with others")
                + "; wrap the attack in a function that does"
            )
        # In the format that the attack saw: what rounding alone did is no direction.
        base = x.float().to(x) if self.arrays else x
        d = found - base
        return ball.edge(x, d) if self.stretched else ball.kept(x, x + d)
