"""Projected gradient ascent on how far the outputs move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.attacks.contract import Attack, Best
from stoic.sensitivity.attacks.directions import PowerDirection, RandomDirections
from stoic.sensitivity.ball import Ball, sized
from stoic.sensitivity.jacobian import Function

__all__ = ["PGD"]


@dataclass(frozen=True)
class PGD:
    """Steps along the gradient of ``|f(y) - f(x)|^2``, kept in the ball.

    It climbs from each of its starts. A step goes a share of the radius along the
    steepest direction, from the best place so far; where that does not get further, the
    share is halved. So the result is never weaker than any start.

    Args:
        steps: From each start; each is one run and one way back.
        share: Of the radius, of the first steps. With 2 a step leads from any place of
            the ball to the opposite edge.
        starts: Where it begins.

    Raises:
        ValueError: There is no start.
    """

    steps: int = 20
    share: float = 2.0
    starts: tuple[Attack, ...] = (RandomDirections(), PowerDirection())

    def __post_init__(self) -> None:
        if not self.starts:
            raise ValueError(
                "starts must be at least 1 attack, got none; choose RandomDirections()"
            )

    @property
    def name(self) -> str:
        """What figures call it."""
        return "PGD"

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return the best perturbed inputs."""
        best = Best(f, x)
        for start in self.starts:
            best.offer(self._climbed(f, x, ball, start(f, x, ball, seed), best.golden))
        return best.moved

    def _climbed(
        self, f: Function, x: Tensor, ball: Ball, start: Tensor, golden: Tensor
    ) -> Tensor:
        """Return the highest place reached from a start."""
        best = Best(f, x, golden)
        output, gradient = _rise(f, start, golden)
        best.offer(start, output)
        share = torch.full_like(ball.radius, self.share)
        for _ in range(self.steps):
            step = ball.steepest(gradient) * sized(share * ball.radius, x)
            there = ball.kept(x, best.moved + step)
            output, found = _rise(f, there, golden)
            better = best.offer(there, output)
            gradient = torch.where(sized(better, x), found, gradient)
            share = torch.where(better, share, share / 2)
        return best.moved


def _rise(f: Function, y: Tensor, golden: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs, and the gradient of half their squared distance from golden."""
    with torch.inference_mode(False), torch.enable_grad():
        y = y.detach().requires_grad_()
        output = f(y)
        (gradient,) = torch.autograd.grad(
            output, y, (output - golden).detach(), materialize_grads=True
        )
    return output.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)
