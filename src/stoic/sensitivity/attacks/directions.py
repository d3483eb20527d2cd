"""Attacks by a direction alone: random ones, and the strongest of the derivative."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.attacks.contract import Best
from stoic.sensitivity.ball import Ball
from stoic.sensitivity.jacobian import Function, Jacobian
from stoic.sensitivity.local import strongest

__all__ = ["PowerDirection", "RandomDirections"]


@dataclass(frozen=True)
class RandomDirections:
    """The best of some random directions, to the edge.

    They are uniform on the sphere, or corners of the box for norm infinity.

    Args:
        tries: How many, at least 1.

    Raises:
        ValueError: There is none.
    """

    tries: int = 16

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(
                f"tries must be >= 1, got {self.tries}; choose one such as 16"
            )

    @property
    def name(self) -> str:
        """What figures call it."""
        return "random" if self.tries == 1 else f"best of {self.tries} random"

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return the best perturbed inputs."""
        best = Best(f, x)
        best.offer_all(self.each(x, ball, seed))
        return best.moved

    def each(self, x: Tensor, ball: Ball, seed: int) -> Iterator[Tensor]:
        """Yield all perturbed inputs."""
        chance = torch.Generator().manual_seed(seed)
        for _ in range(self.tries):
            drawn = torch.randn(x.shape, generator=chance, dtype=torch.float64)
            yield ball.edge(x, ball.steepest(drawn.to(x)))


@dataclass(frozen=True)
class PowerDirection:
    """The direction that the derivative stretches most, to the edge, either way.

    It is found by power iteration. For norm infinity each step goes to the corner that
    is best for the last step's outcome, which never makes it worse.

    Args:
        steps: Of the iteration.
    """

    steps: int = 20

    @property
    def name(self) -> str:
        """What figures call it."""
        return "power iteration"

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return the better of the two perturbed inputs."""
        jacobian = Jacobian(f, x)
        v = strongest(jacobian, ball.steepest, self.steps, seed)
        best = Best(f, x, jacobian.y)
        best.offer_all((ball.edge(x, v), ball.edge(x, -v)))
        return best.moved
