"""One rule per kind of operator: how it hands relevance back."""

from __future__ import annotations

from stoic.causes.relevance.operators.contract import (
    Handed,
    OpRule,
    Passage,
    proportional,
)
from stoic.causes.relevance.operators.gated import gated
from stoic.causes.relevance.operators.moving import moving
from stoic.causes.relevance.operators.passing import passing
from stoic.causes.relevance.operators.scaled import scaled
from stoic.causes.relevance.operators.summing import summing
from stoic.causes.relevance.operators.weighing import weighing

__all__ = ["by_gradient", "handed"]

_RULES: tuple[OpRule, ...] = (weighing, gated, passing, moving, summing, scaled)


def handed(passage: Passage) -> Handed | None:
    """Return what a step hands on; nothing if no rule is known."""
    return next((h for rule in _RULES if (h := rule(passage)) is not None), None)


def by_gradient(passage: Passage) -> Handed:
    """Share out by gradient times value: by the straight line that touches the step."""
    return proportional(passage, constants=True)
