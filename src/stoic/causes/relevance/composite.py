"""Composites: which rule holds for which kind of step."""

from __future__ import annotations

from dataclasses import dataclass

from stoic.causes.relevance.rules import STEADY, Epsilon, Flat, Rule, ZPlus

__all__ = ["EPSILON_PLUS", "EPSILON_PLUS_FLAT", "HUDD", "Composite"]


@dataclass(frozen=True)
class Composite:
    """A rule for each kind of step that weighs.

    Args:
        convolution: Of convolutions.
        linear: Of matrices.
        first: Of what weighs the image itself; as the others if nothing.
        stabiliser: Of sums without weights: pools, means, residual sums.
        onwards: Whether a batch norm that follows no convolution or matrix is folded
            into the one that alone reads it. Other norms pass relevance on as it is.
        by_gradient: Whether an operator without a rule is taken as the straight line
            that its gradient is; an error otherwise.
    """

    convolution: Rule
    linear: Rule
    first: Rule | None = None
    stabiliser: float = STEADY
    onwards: bool = True
    by_gradient: bool = False


HUDD = Composite(
    convolution=Epsilon(1e-9), linear=ZPlus(1e-9, bias=False), stabiliser=1e-9
)
"""As the tool of HUDD has it: z+ without bias for matrices, epsilon for the others."""

EPSILON_PLUS = Composite(convolution=ZPlus(), linear=Epsilon())
"""z+ for convolutions, epsilon for matrices: what most explanations are made with."""

EPSILON_PLUS_FLAT = Composite(convolution=ZPlus(), linear=Epsilon(), first=Flat())
"""The same, where all that a first sum reads gets alike."""
