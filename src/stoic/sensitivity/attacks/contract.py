"""What an attack is, and the best of several perturbations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from stoic.sensitivity.ball import Ball, lengths, sized
from stoic.sensitivity.jacobian import Function, outputs

__all__ = ["Attack", "Best"]


class Attack(Protocol):
    """A frozen value that perturbs inputs."""

    @property
    def name(self) -> str:
        """What figures call it."""

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return perturbed inputs inside the ball.

        Args:
            f: The function that is to move.
            x: Inputs, [inputs, ...].
            ball: What is allowed.
            seed: Of all chance.
        """


class Best:
    """The perturbed inputs that moved the outputs most so far.

    Args:
        f: The function.
        x: Inputs.
        golden: Outputs without a perturbation.
    """

    def __init__(self, f: Function, x: Tensor, golden: Tensor | None = None) -> None:
        self._f = f
        self.golden = outputs(f, x) if golden is None else golden
        self.moved = x.detach().clone()
        self.change = torch.full_like(self.golden[:, 0], -1.0)

    def offer(self, moved: Tensor, output: Tensor | None = None) -> Tensor:
        """Keep what is better, and return for which inputs it is.

        What moves the outputs to where they are not finite is not kept.
        """
        if output is None:
            with torch.no_grad():
                output = self._f(moved)
        change = lengths(output.detach() - self.golden).nan_to_num(-1.0, -1.0)
        better = change > self.change
        self.moved = torch.where(sized(better, moved), moved.detach(), self.moved)
        self.change = torch.where(better, change, self.change)
        return better

    def offer_all(self, several: Iterable[Tensor]) -> None:
        """Keep the best of several."""
        for moved in several:
            self.offer(moved)
