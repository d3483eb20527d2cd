"""Measured growth: how far outputs move under perturbations that were really tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.attacks.ascent import PGD
from stoic.sensitivity.attacks.contract import Attack
from stoic.sensitivity.attacks.decisions import FGSM, DeepFool
from stoic.sensitivity.attacks.directions import PowerDirection, RandomDirections
from stoic.sensitivity.ball import Ball, lengths
from stoic.sensitivity.jacobian import Function, outputs

__all__ = ["ATTACKS", "Growth", "measured_growth"]

ATTACKS: tuple[Attack, ...] = (
    RandomDirections(1),
    RandomDirections(16),
    FGSM(),
    DeepFool(),
    PowerDirection(),
    PGD(),
)
"""What is tried unless something else is wanted, from weak to strong."""

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Growth:
    """What one attack did at one radius.

    Args:
        attack: Its name.
        radius: Relative to each input's 2-norm.
        norm: Of the ball: 2, or infinity.
        change: 2-norm of the outputs' change, [inputs].
        size: 2-norm of the perturbation.
        inputs: 2-norm of each input.
        outputs: 2-norm of its outputs; not a number where that is zero or denormal, so
            that nothing relative is defined.
        turned: Whether another output is the largest now.
    """

    attack: str
    radius: float
    norm: float
    change: Tensor
    size: Tensor
    inputs: Tensor
    outputs: Tensor
    turned: Tensor

    @property
    def growth(self) -> Tensor:
        """Change per size; not a number where nothing was perturbed."""
        return torch.where(self.size > 0, self.change / self.size, torch.nan)

    @property
    def relative(self) -> Tensor:
        """Growth of relative deviations."""
        return self.growth * self.inputs / self.outputs

    @property
    def reached(self) -> Tensor:
        """Change per size that was allowed: what a bound for the ball is held against.

        In a box that is less than the growth of what is not in a corner.
        """
        return self.change / (self.radius * self.inputs)

    @property
    def number(self) -> Tensor:
        """The same of relative deviations: what a condition number is held against."""
        return self.change / self.outputs / self.radius

    @property
    def undefined(self) -> tuple[int, ...]:
        """Inputs without a relative growth."""
        return tuple(self.relative.isnan().nonzero().flatten().tolist())


def measured_growth(
    f: Function,
    x: Tensor,
    radii: Sequence[float],
    norm: float = 2,
    attacks: Sequence[Attack] = ATTACKS,
    seed: int = 0,
    box: tuple[float, float] | None = None,
    batch: int = 32,
) -> list[Growth]:
    """Perturb inputs by each attack at each radius, and measure.

    Give float64 inputs and a float64 function (`function_of`, or a network's copy after
    ``double()``): at a radius of 2^-24 an output moves by about a rounding of float32,
    so that float32 would measure its own rounding.

    Args:
        f: The function.
        x: Inputs, [inputs, ...].
        radii: Relative to each input's 2-norm.
        norm: 2, or infinity: then the same in every element, with corners that have the
            2-norm of the radius.
        attacks: Each with a name of its own.
        seed: Of all chance.
        box: The numbers that inputs may hold; by default any, as for proofs.
        batch: Inputs that are perturbed at once.

    Returns:
        One entry per radius and attack, in that order.

    Raises:
        ValueError: An output is not finite, an input is zero, a radius is too small for
            the format, or two attacks have one name.
    """
    names = [attack.name for attack in attacks]
    if len({*names}) < len(names):
        raise ValueError(
            f"attacks must have different names, got {', '.join(names)}; rename one"
        )
    found = []
    for radius in radii:
        for attack in attacks:
            parts = [
                _measured(f, part, Ball.about(part, radius, norm, box), attack, seed)
                for part in x.split(batch)
            ]
            columns = [torch.cat(column) for column in zip(*parts, strict=True)]
            found.append(Growth(attack.name, radius, norm, *columns))
    return found


def _measured(
    f: Function, x: Tensor, ball: Ball, attack: Attack, seed: int
) -> tuple[Tensor, ...]:
    """Return the columns of `Growth`."""
    golden = outputs(f, x)
    moved = attack(f, x, ball, seed)
    output = outputs(f, moved)
    turned = golden.argmax(1) != output.argmax(1)
    norms = lengths(golden)
    known = torch.where(norms >= _TINY, norms, torch.nan)
    # Of what was really added: the sum of input and perturbation is rounded.
    size = lengths(moved - x)
    return lengths(output - golden), size, lengths(x), known, turned
