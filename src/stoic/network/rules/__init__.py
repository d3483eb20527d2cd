"""How operators carry patches: one contract, one file per family of operators."""

from __future__ import annotations

from typing import Any

from stoic.network.program import First, Step
from stoic.network.rules import channels, contraction, layout, pointwise
from stoic.network.rules.contract import Call, Rule

__all__ = ["Call", "Rule", "rule_for"]

_RULES: dict[Any, Rule] = {
    **pointwise.RULES,
    **layout.RULES,
    **channels.RULES,
    **contraction.RULES,
}


def rule_for(step: Step) -> Rule | None:
    """Return the rule of a step's operator, if there is one."""
    return _RULES.get(step.op.op if isinstance(step.op, First) else step.op)
