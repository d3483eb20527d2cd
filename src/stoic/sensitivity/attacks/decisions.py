"""Attacks on the decision: what changes the winner soonest, not what moves most.

References:
    Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, 2015.
    Moosavi-Dezfooli, Fawzi, Frossard: DeepFool, 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stoic.sensitivity.ball import Ball, lengths, sized
from stoic.sensitivity.jacobian import Function, outputs

__all__ = ["FGSM", "DeepFool"]


@dataclass(frozen=True)
class FGSM:
    """One step along the gradient of the cross-entropy of the golden winner."""

    @property
    def name(self) -> str:
        """What figures call it."""
        return "FGSM"

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return perturbed inputs; an input without a gradient stays as it is."""
        with torch.inference_mode(False), torch.enable_grad():
            y = _own(x).requires_grad_()
            scores = f(y)
            loss = cross_entropy(scores, scores.argmax(1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, y, materialize_grads=True)
        return ball.edge(x, ball.steepest(gradient))


@dataclass(frozen=True)
class DeepFool:
    """Steps to the nearest boundary of the linearised decision, until it is crossed.

    `smallest` gives the small perturbation itself. As an attack its direction is taken
    to the edge of the ball, so that it can be compared at equal size.

    Args:
        steps: At most.
        overshoot: How far beyond the boundary, as a share of all steps together.
        candidates: Classes that are tried: those with the highest golden scores.
    """

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10

    @property
    def name(self) -> str:
        """What figures call it."""
        return "DeepFool"

    def __call__(self, f: Function, x: Tensor, ball: Ball, seed: int) -> Tensor:
        """Return perturbed inputs at the edge of the ball."""
        return ball.edge(x, self.smallest(f, x, ball.lo, ball.hi) - x)

    def smallest(
        self, f: Function, x: Tensor, lo: float | None = None, hi: float | None = None
    ) -> Tensor:
        """Return inputs beyond the nearest boundary, in the 2-norm, that was found.

        Args:
            f: The function; its largest output is the decision.
            x: Inputs, [inputs, ...].
            lo: The least number that an input may hold, if there is one.
            hi: The largest.

        Raises:
            ValueError: There is one output only, so that there is no decision.
        """
        golden = outputs(f, x)
        if golden.shape[1] < 2:
            raise ValueError(
                "outputs must be at least 2 for a decision, got 1; choose other attacks"
            )
        ranked = golden.argsort(1, descending=True)[:, : self.candidates]
        moved, walked = _own(x).clone(), torch.zeros_like(x)
        for _ in range(self.steps):
            step, still = _step(f, moved, ranked)
            if not bool(still.any()):
                break
            walked = walked + torch.where(sized(still, x), step, 0.0)
            there = x + (1 + self.overshoot) * walked
            there = there if lo is hi is None else there.clamp(lo, hi)
            moved = torch.where(sized(still, x), there, moved)
        return moved


def _step(f: Function, y: Tensor, ranked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step to the nearest linearised boundary, and who has to go on."""
    with torch.inference_mode(False), torch.enable_grad():
        y = y.detach().requires_grad_()
        scores = f(y)
        leads = scores.gather(1, ranked)
        leads = leads[:, 1:] - leads[:, :1]
        # One way back per rival; inputs do not mix, so a sum keeps them apart.
        gradients = [
            torch.autograd.grad(each.sum(), y, retain_graph=True)[0]
            for each in leads.unbind(1)
        ]
    still = scores.detach().argmax(1) == ranked[:, 0]
    sizes = torch.stack([lengths(g) for g in gradients], 1)
    gaps = torch.where(sizes > 0, leads.detach().abs() / sizes, math.inf)
    nearest = gaps.argmin(1)
    rows = torch.arange(len(y), device=y.device)
    along = torch.stack(gradients, 1)[rows, nearest]
    reach = (gaps / sizes)[rows, nearest]
    return along * sized(reach.nan_to_num(0.0, 0.0), y), still


def _own(x: Tensor) -> Tensor:
    return x.clone() if x.is_inference() else x.detach()
