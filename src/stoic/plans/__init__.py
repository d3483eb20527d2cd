"""Plans: which faults of a space to try, and in which order.

A plan sees strata with sizes, and nothing of networks or faults. It is a pure function
of its seed and of what came of the trials so far: the same plan, strata and seed give
the same draws on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stoic.plans.adaptive import Adaptive
from stoic.plans.contract import Draw, Plan, Stratum
from stoic.plans.fixed import (
    Exhaustive,
    Stratified,
    Uniform,
    allotted,
    check_allocation,
    equal_shares,
)
from stoic.plans.nested import nested
from stoic.plans.preset import Design, Lot, Preset
from stoic.plans.search import Batch, Search
from stoic.plans.sizes import expected_shares, sample_sizes
from stoic.plans.steps import Known, Steps

__all__ = [
    "Adaptive",
    "Batch",
    "Design",
    "Draw",
    "Exhaustive",
    "Known",
    "Lot",
    "Plan",
    "Preset",
    "Search",
    "Steps",
    "Stratified",
    "Stratum",
    "Uniform",
    "allotted",
    "check_allocation",
    "equal_shares",
    "expected_shares",
    "nested",
    "read_plan",
    "sample_sizes",
]

_PLANS: dict[str, Callable[..., Plan | Adaptive | Preset]] = {
    "exhaustive": Exhaustive,
    "uniform": Uniform,
    "stratified": Stratified,
    "adaptive": Adaptive,
    "preset": Preset,
}


def read_plan(record: Mapping[str, Any]) -> Plan | Adaptive | Preset:
    """Return the plan that a record names.

    Raises:
        ValueError: There is no such plan.
    """
    settings = dict(record)
    name = settings.pop("name", None)
    if name not in _PLANS:
        raise ValueError(f"plan must be one of {', '.join(_PLANS)}, got {name}")
    return _PLANS[name](**settings)
