"""How a monitor is fitted, and what is refused before any work is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stoic.criteria import Criterion, Top1Changed, Top1Wrong
from stoic.monitors.alarm import check_enough
from stoic.monitors.kinds import LEARNT, check_faults, check_kinds, check_names
from stoic.monitors.markers import ChannelQuantiles, Marker, NonFinite
from stoic.monitors.reduction import WAYS
from stoic.monitors.traces import MEMORY

__all__ = ["MonitorSettings", "check_settings"]

# The largest seed that scikit-learn takes.
_SEEDS = 2**32 - 1
# Inputs that any rate below 1 can be calibrated with.
_ANY = 10**9


@dataclass(frozen=True)
class MonitorSettings:
    """How a monitor is fitted.

    Args:
        values: To watch, by name; every layer by default.
        marker: What is computed of each.
        features: How many rules may be about at most, if not whole layers; 0 for all.
        most: Values to look at in all, if rules are not about more; 0 for all. The
            score finds more of faint corruptions with more, and costs more.
        choose: How: ``steps``, one after the other; ``importance``, in its order;
            ``pairs``, the best of them; or ``layers``, cheap ones with all that is told
            of them.
        kinds: Of faults to learn: ``memory``, and names of corruptions.
        faults: In memory to learn, as `stoic.faults.models.named_model` takes them.
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
    kinds: tuple[str, ...] = LEARNT
    faults: tuple[str, ...] = ("flip",)
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
    check_names("values", settings.values, "leave it out to watch every layer")
    _check_marker(settings.marker)
    _check_whole("features", settings.features, 0, "give 0 to keep all")
    _check_whole("most", settings.most, 0, "give 3, or 0 to look at all")
    _check_choose(settings.choose, settings.features)
    _check_learnt(settings)
    _check_number("clean", settings.clean, "give 0 to weigh all regular ones alike")
    if settings.alpha is not None:
        _check_number("alpha", settings.alpha, "leave it out to have it chosen")
    _check_number("rate", settings.rate, "give a share such as 0.01")
    check_enough(settings.rate, _ANY)
    _check_whole("batch", settings.batch, 1, "give 50, or fewer to save memory")
    _check_seed(settings.seed)
    _check_criterion(settings.criterion)
    if settings.tail is not None and not callable(settings.tail):
        raise ValueError(
            f"tail must be a function of the network's output, got {settings.tail!r}; "
            "leave it out to judge the output itself"
        )


def _check_criterion(criterion: Any) -> None:
    if not callable(getattr(criterion, "failed", None)):
        raise ValueError(
            f"criterion must be one of stoic.criteria, got {criterion!r}; "
            "give Top1Changed(), what named_criterion makes of a name, or Custom(...)"
        )
    if isinstance(criterion, Top1Wrong):
        raise ValueError(
            "criterion must do without labels, which no network at work has, got "
            "top1-wrong; give top1-changed"
        )


def _check_learnt(settings: MonitorSettings) -> None:
    """Refuse kinds and faults of which one rules out the other."""
    check_kinds(settings.kinds)
    check_faults(settings.faults)
    if not isinstance(settings.corruptions, bool):
        raise ValueError(
            f"corruptions must be True or False, got {settings.corruptions!r}; "
            "give False for inputs that are not to be corrupted"
        )
    if MEMORY not in settings.kinds and settings.faults != MonitorSettings.faults:
        raise ValueError(
            "faults must be left out where kinds have no memory, got "
            f"{','.join(settings.faults)}; add memory to kinds, or leave faults out"
        )
    if not settings.corruptions and MEMORY not in settings.kinds:
        raise ValueError(
            "corruptions must be True where kinds have no memory, got False; "
            "add memory to kinds"
        )


def _check_choose(choose: Any, features: int) -> None:
    if choose not in WAYS:
        raise ValueError(
            f"choose must be one of {', '.join(WAYS)}, got {choose!r}; "
            "leave it out for steps"
        )
    if choose == "pairs" and features == 1:
        raise ValueError("features must be 2 or more for pairs, got 1; give 2")


def _check_marker(marker: Any) -> None:
    if isinstance(marker, NonFinite):
        raise ValueError(
            "marker must be one that differs between finite values, got non-finite, "
            "which rules learn nothing from; every verdict says non-finite by itself"
        )
    if not callable(marker) or not hasattr(marker, "names"):
        raise ValueError(
            f"marker must be one of stoic.monitors.markers, got {marker!r}; "
            "give ChannelQuantiles(), or MARKERS['moments'] and such"
        )


def _check_whole(name: str, value: Any, least: int, todo: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"{name} must be a whole number of {least} or more, got {value!r}; {todo}"
        )


def _check_seed(seed: Any) -> None:
    _check_whole("seed", seed, 0, "give 0, or any other number for other chance")
    if seed > _SEEDS:
        raise ValueError(
            f"seed must be at most {_SEEDS}, got {seed}; give a smaller one"
        )


def _check_number(name: str, value: Any, todo: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(
            f"{name} must be a finite number of 0 or more, got {value!r}; {todo}"
        )
