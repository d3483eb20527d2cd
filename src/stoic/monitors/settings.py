"""How a monitor is fitted, and what is refused before any work is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.campaign.checks import check_count, check_name
from stoic.criteria import Criterion, Top1Changed
from stoic.monitors.markers import ChannelQuantiles, Marker, NonFinite
from stoic.monitors.reduction import WAYS
from stoic.network.subject import Inputs

__all__ = ["MonitorSettings", "check_inputs_finite", "check_settings"]

# The largest seed that scikit-learn takes.
_SEEDS = 2**32 - 1


@dataclass(frozen=True)
class MonitorSettings:
    """How a monitor is fitted.

    Args:
        values: To watch, by name; every layer by default.
        marker: What is computed of each.
        features: How many rules may be about at most; 0 for all.
        most: Values to look at in all, if rules are not about more.
        choose: How: ``steps``, one after the other; ``importance``, in its order, as
            many as it takes; ``pairs``, the best of them; or ``layers``, cheap ones
            with all that is told of them.
        corruptions: Whether inputs are corrupted; only images can be.
        alpha: Of the pruning of the tree; by default the most that costs little.
        rate: Of false alarms of the calibrated alarm.
        clean: As how many classes more fault-free inputs weigh in the rules: with more,
            rules raise fewer false alarms, and find fewer faults.
        batch: Inputs per run.
        seed: Of all randomness, that by which inputs are divided among it.
        criterion: What counts as a failure.
        tail: What turns the network's output into what is judged, outside of the graph.
    """

    values: tuple[str, ...] = ()
    marker: Marker = ChannelQuantiles()
    features: int = 4
    most: int = 3
    choose: str = "steps"
    corruptions: bool = True
    alpha: float | None = None
    rate: float = 0.01
    clean: float = 0.0
    batch: int = 50
    seed: int = 0
    criterion: Criterion = Top1Changed()
    tail: Callable[[Any], Any] | None = None


def check_settings(settings: MonitorSettings) -> None:
    """Refuse settings that nothing can be fitted with.

    Raises:
        ValueError: Naming the setting.
    """
    check_name("choose", settings.choose, WAYS)
    check_count("features", settings.features, least=0)
    check_count("most", settings.most)
    check_count("batch", settings.batch)
    check_count("seed", settings.seed, least=0)
    if settings.seed > _SEEDS:
        raise ValueError(f"seed must be at most {_SEEDS}, got {settings.seed}")
    if isinstance(settings.marker, NonFinite):
        raise ValueError(
            "marker must be one that differs between finite values, got non-finite, "
            "which rules learn nothing from; every verdict says non-finite by itself"
        )
    if not 0 <= settings.clean < math.inf:
        raise ValueError(
            f"clean must be a finite number of 0 or more, got {settings.clean:g}; "
            "give 0 to weigh fault-free inputs as other regular ones"
        )
    if settings.alpha is not None and not 0 <= settings.alpha < math.inf:
        raise ValueError(
            f"alpha must be a finite number of 0 or more, got {settings.alpha:g}; "
            "leave it out to have it chosen"
        )


def check_inputs_finite(inputs: Inputs, first: int = 0) -> None:
    """Refuse inputs with NaN or infinity in them.

    Args:
        inputs: That `stoic.campaign.checks.check_inputs` accepts.
        first: Number of the first of them.

    Raises:
        ValueError: Naming the first such input, and how many there are.
    """
    lost = torch.zeros(inputs.count, dtype=torch.bool)
    for leaf in inputs.leaves:
        if isinstance(leaf, Tensor) and leaf.dim() and leaf.is_floating_point():
            lost |= ~leaf.reshape(len(leaf), -1).isfinite().all(1).cpu()
    if bool(lost.any()):
        raise ValueError(
            "inputs must be finite, got NaN or infinity in input "
            f"{first + int(lost.nonzero()[0])}, the first of {int(lost.sum())} such "
            f"of {inputs.count} (counted from 0); leave them out, or mend them"
        )
