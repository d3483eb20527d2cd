"""Monitors from a network and its inputs: fitted here, and tried on other inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from stoic.campaign.checks import check_inputs, check_network, check_runs
from stoic.campaign.fingerprint import network_fingerprint
from stoic.campaign.scores import scores_of
from stoic.campaign.untouched import untouched
from stoic.monitors.alarm import check_enough
from stoic.monitors.collecting import Watched, check_flips, collected
from stoic.monitors.corruptions import Pixels
from stoic.monitors.division import Division
from stoic.monitors.fitting import fit_monitor, lesson_of
from stoic.monitors.gathering import Gathered, Progress, Ticker, gathered
from stoic.monitors.markers import ChannelSums
from stoic.monitors.monitor import Monitor
from stoic.monitors.reduction import Choice, by_way, pruning
from stoic.monitors.settings import MonitorSettings, check_settings
from stoic.monitors.sound import check_inputs_finite, check_masked_finite
from stoic.monitors.sources import points_of
from stoic.monitors.summed import fit_sums, summed
from stoic.monitors.traces import MEMORY, Traces
from stoic.monitors.trying import Trying, check_trying, searched
from stoic.monitors.watches import (
    Watch,
    as_watches,
    every_layer,
    features_of,
    layers_of,
    of_output,
)
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.study import as_inputs

__all__ = ["Fitted", "MonitorSettings", "Trying", "fit", "fit_checksums", "seen_by"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A monitor, and how it came to be.

    Args:
        monitor: With the chosen features.
        choice: What was tried.
        lesson: Traces that it was learnt from.
    """

    monitor: Monitor
    choice: Choice | None
    lesson: Traces


def fit(
    network: nn.Module,
    inputs: Any,
    settings: MonitorSettings | None = None,
    *,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    **changes: Any,
) -> Fitted:
    """Fit a monitor to a network.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: Fault-free, a few thousand, in any order; as `stoic.pvf` takes them.
        settings: How.
        progress: Told how many inputs are done, of how many.
        notice: Told what a user should know.
        **changes: Fields of the settings.

    Raises:
        ValueError: The network cannot be watched, or there is too little to learn from;
            one line says what to do.
    """
    chosen = _chosen(settings, changes)
    _check_listeners(progress=progress, notice=notice)
    given = _sound(inputs)
    _check_calibration(given.count, chosen)
    say = notice or _silent
    with untouched(network):
        watched = _watched(network, given, chosen)
        say(f"watching {len(watched.watches)} values")
        found = gathered(watched, given, chosen, say, progress)
    say("choosing features, rules and points")
    about = _about(network, given.count, found, chosen)
    fingerprint = network_fingerprint(network)
    return _concluded(found, watched, chosen, fingerprint, about)


def _concluded(
    gathered: Gathered,
    watched: Watched,
    chosen: MonitorSettings,
    fingerprint: str,
    about: dict[str, Any],
) -> Fitted:
    """Choose features, and learn from traces what is concluded from them."""
    lesson, choice = lesson_of(gathered.learning, clean=chosen.clean), None
    watches = watched.watches
    # Single numbers of the output are for points: a rule about them tells nobody much.
    features = features_of(w for w in watches if not isinstance(w.marker, ChannelSums))
    if chosen.features:
        choosing = lesson.on(features), gathered.choosing
        layers = layers_of(watched.subject, watches, features)
        most, values = chosen.features, chosen.most or len(watches)
        how = chosen.choose
        choice = by_way(how, *choosing, most=most, layers=layers, values=values)
        features = choice.best.features
    kept = gathered.choosing.columns(features)
    alpha = chosen.alpha
    alpha = pruning(lesson.on(features), kept) if alpha is None else alpha
    several = (chosen.most or None) if chosen.features else None
    traces = gathered.learning, gathered.choosing
    points = points_of(*traces, watches, features, several)
    monitor = fit_monitor(
        lesson,
        features,
        points,
        gathered.calibration,
        watches,
        fingerprint,
        alpha=alpha,
        rate=chosen.rate,
        seed=chosen.seed,
        about=about | {"alpha": alpha},
    )
    return Fitted(monitor, choice, gathered.learning)


def fit_checksums(
    network: nn.Module,
    inputs: Any,
    settings: MonitorSettings | None = None,
    **changes: Any,
) -> Monitor:
    """Fit a monitor of checksums: do the sums of layers agree with their weights?

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: Fault-free ones, a few hundred.
        settings: Of these, values, rate and batch count.
        **changes: Fields of the settings.

    Raises:
        ValueError: The network has no such layer, or there are too few inputs.
    """
    chosen = _chosen(settings, changes)
    given = _sound(inputs)
    _check_calibration(given.count, chosen)
    parts = Division(given.count, chosen.seed)
    learning, others = parts.before_calibration(given), parts.calibration(given)
    with untouched(network):
        subject = _captured(network, given, chosen)
        return fit_sums(
            subject,
            list(learning.inputs.batches(chosen.batch)),
            list(others.inputs.batches(chosen.batch)),
            network_fingerprint(network),
            layers=chosen.values,
            rate=chosen.rate,
            about=_about(network, given.count, None, chosen),
        )


def seen_by(
    monitor: Monitor,
    network: nn.Module,
    inputs: Any,
    *,
    first: int = 0,
    settings: MonitorSettings | None = None,
    watches: Sequence[Watch] = (),
    trying: Trying | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Traces:
    """Return traces to try a monitor on: other inputs, other sites, kinds unseen.

    Args:
        monitor: That was fitted to the network.
        network: In evaluation mode; left bit for bit as it was.
        inputs: None of those that it was fitted with.
        first: Number of the first, to tell them from others.
        settings: As it was fitted with.
        watches: Others than the monitor's own.
        trying: What it is tried on; by default all kinds, single flips and others.
        progress: Told how many inputs are done, of how many.
        notice: Told what a user should know.

    Raises:
        ValueError: The monitor is one of another network, or cannot be tried so.
    """
    chosen, trying = _chosen(settings, {}), trying or Trying()
    _check_listeners(progress=progress, notice=notice)
    given = _sound(inputs, first)
    check_trying(trying, monitor, given.count)
    with untouched(network):
        _check_own(monitor, network)
        _check_criterion(monitor, chosen)
        watched = _watched(network, given, chosen, first)
        watched = replace(
            watched,
            watches=tuple(watches) or monitor.watches,
            checksums=summed(monitor, watched.subject) if monitor.checksums else None,
        )
        seed = chosen.seed + 1
        check_flips(watched, trying.flips(monitor))
        spoilt, part = searched(
            trying, monitor, watched, given, seed, notice or _silent
        )
        pixels = Pixels.of_record(monitor.about["pixels"]) if spoilt else None
        return collected(
            watched,
            part.inputs,
            trying.recipe(monitor, spoilt),
            batch=chosen.batch,
            seed=seed,
            half=1,
            pixels=pixels,
            first=first + part.first,
            tick=Ticker(progress, part.inputs.count).tick,
        )


def _check_own(monitor: Monitor, network: nn.Module) -> None:
    """Refuse a monitor of another network."""
    own = network_fingerprint(network)
    if monitor.fingerprint != own:
        raise ValueError(
            "the monitor must be one of this network, got one of another "
            f"({monitor.fingerprint[:12]}, not {own[:12]}); fit it again"
        )


def _check_criterion(monitor: Monitor, chosen: MonitorSettings) -> None:
    """Refuse another criterion than the one that the monitor has learnt by."""
    own, given = monitor.about.get("criterion"), chosen.criterion.as_record()
    if own and own != given:
        raise ValueError(
            f"criterion must be the monitor's own, {_terse(own)}, got "
            f"{_terse(given)}; give the settings that it was fitted with"
        )


def _terse(record: dict[str, Any]) -> str:
    """Return the record of a criterion as a word, such as ``top-k:5``."""
    name, *more = record.values()
    return ":".join([str(name), *map(str, more)])


def _silent(line: str) -> None:
    """Tell nobody."""


def _chosen(settings: Any, changes: dict[str, Any]) -> MonitorSettings:
    """Return settings that are sound."""
    if settings is not None and not isinstance(settings, MonitorSettings):
        raise ValueError(
            f"settings must be MonitorSettings, got {settings!r}; give its fields by "
            "name instead, such as features=2"
        )
    chosen = replace(settings or MonitorSettings(), **changes)
    check_settings(chosen)
    return chosen


def _check_calibration(count: int, chosen: MonitorSettings) -> None:
    """Refuse fewer inputs than the alarm must be calibrated with."""
    check_enough(chosen.rate, Division(count, chosen.seed).calibration_count, count)


def _check_listeners(**listeners: Any) -> None:
    for name, listener in listeners.items():
        if listener is not None and not callable(listener):
            raise ValueError(
                f"{name} must be a function, got {listener!r}; leave it out to be told "
                "nothing"
            )


def _sound(inputs: Any, first: int = 0) -> Inputs:
    given = as_inputs(inputs)
    check_inputs(given, None)
    check_inputs_finite(given, first)
    return given


def _captured(
    network: nn.Module, inputs: Inputs, chosen: MonitorSettings, first: int = 0
) -> CapturedSubject:
    check_network(network)
    some = inputs.rows(0, min(inputs.count, chosen.batch))
    check_runs(network, some)
    subject = prepare(network, some)
    if not isinstance(subject, CapturedSubject):
        raise ValueError(
            f"a network to be watched must be captured, got {subject.reason}; "
            "see 'torch.export' for what it asks of a network"
        )
    scores, batch = chosen.tail or scores_of, chosen.batch
    check_masked_finite(subject, scores, inputs, batch=batch, first=first)
    return subject


def _watched(
    network: nn.Module, inputs: Inputs, chosen: MonitorSettings, first: int = 0
) -> Watched:
    subject = _captured(network, inputs, chosen, first)
    layers = every_layer(subject, chosen.marker)
    if chosen.values:
        watches = as_watches(subject, chosen.values, chosen.marker)
    else:
        watches = (*layers, *of_output(subject))
    every, scores = (*layers, *watches), chosen.tail or scores_of
    # Faults hit every layer, however few of them are looked at in the end.
    return Watched(subject, every, chosen.criterion, scores).looking_at(watches)


def _about(
    network: nn.Module,
    inputs: int,
    gathered: Gathered | None,
    chosen: MonitorSettings,
) -> dict[str, Any]:
    import torch

    from stoic import __version__

    pixels = gathered.pixels if gathered else None
    return {
        "network": type(network).__name__,
        "inputs": inputs,
        "corruptions": [
            [each.corruption.name, each.strength, each.share]
            for each in (gathered.spoilt if gathered else ())
        ],
        "pixels": pixels.as_record() if pixels else None,
        "kinds": list(chosen.kinds) if gathered else [MEMORY],
        "faults": list(chosen.faults),
        "seed": chosen.seed,
        "clean": chosen.clean,
        "criterion": chosen.criterion.as_record(),
        "versions": {"stoic": __version__, "torch": torch.__version__},
    }
