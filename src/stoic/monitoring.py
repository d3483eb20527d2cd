"""Monitors from a network and its inputs: fitted here, and tried on other inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from stoic.campaign.checks import check_inputs, check_network, check_runs
from stoic.campaign.fingerprint import network_fingerprint
from stoic.campaign.scores import scores_of
from stoic.campaign.untouched import untouched
from stoic.monitors.alarm import check_enough
from stoic.monitors.collecting import Recipe, Spoilt, Watched, collected
from stoic.monitors.corruptions import CORRUPTIONS, UNSEEN, Pixels, is_image, pixels_of
from stoic.monitors.division import Division, Part
from stoic.monitors.fitting import (
    check_clean_finite,
    fit_monitor,
    lesson_of,
    unlearnable,
)
from stoic.monitors.markers import ChannelSums
from stoic.monitors.monitor import Monitor
from stoic.monitors.reduction import Choice, by_way, pruning
from stoic.monitors.settings import (
    MonitorSettings,
    check_inputs_finite,
    check_settings,
)
from stoic.monitors.sources import points_of
from stoic.monitors.strengths import spoilt_of, strengths
from stoic.monitors.summed import fit_sums, summed
from stoic.monitors.traces import Traces
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

__all__ = ["Fitted", "MonitorSettings", "fit", "fit_checksums", "seen_by"]


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
    progress: Callable[[int, int], None] | None = None,
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
    chosen = replace(settings or MonitorSettings(), **changes)
    check_settings(chosen)
    given = _sound(inputs)
    check_enough(chosen.rate, Division(given.count, chosen.seed).calibration_count)
    say = notice or (lambda line: None)
    with untouched(network):
        watched = _watched(network, given, chosen)
        say(f"watching {len(watched.watches)} values")
        gathered = _gathered(watched, given, chosen, say, progress)
    say("choosing features, rules and points")
    about = _about(network, given.count, gathered, chosen)
    fingerprint = network_fingerprint(network)
    return _concluded(gathered, watched, chosen, fingerprint, about)


def _concluded(
    gathered: _Gathered,
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
        most, values = chosen.features, chosen.most
        how = chosen.choose
        choice = by_way(how, *choosing, most=most, layers=layers, values=values)
        features = choice.best.features
    kept = gathered.choosing.columns(features)
    alpha = chosen.alpha
    alpha = pruning(lesson.on(features), kept) if alpha is None else alpha
    several = chosen.most if chosen.features else None
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
    chosen = replace(settings or MonitorSettings(), **changes)
    check_settings(chosen)
    given = _sound(inputs)
    parts = Division(given.count, chosen.seed)
    learning, others = parts.before_calibration(given), parts.calibration(given)
    with untouched(network):
        return fit_sums(
            _captured(network, given, chosen),
            list(learning.inputs.batches(chosen.batch)),
            list(others.inputs.batches(chosen.batch)),
            network_fingerprint(network),
            layers=chosen.values,
            rate=chosen.rate,
            about=_about(network, given.count, None, chosen),
        )


@dataclass(frozen=True, eq=False)
class _Gathered:
    """Traces for each purpose, and the corruptions that were found."""

    learning: Traces
    choosing: Traces
    calibration: Traces
    spoilt: tuple[Spoilt, ...]
    pixels: Pixels | None


def _gathered(
    watched: Watched,
    inputs: Inputs,
    chosen: MonitorSettings,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> _Gathered:
    parts = Division(inputs.count, chosen.seed)
    # Inputs to calibrate with tell nothing of what is learnt, not even their range.
    others = parts.before_calibration(inputs).inputs
    pixels = _pixels(others) if chosen.corruptions else None
    spoilt = _spoilt(watched, parts.strengths(inputs).inputs, pixels, chosen)
    for each in spoilt:
        say(f"{each.corruption.name} {each.strength:.3g}: {each.share:.0%} fail")
    known = Recipe(tuple(s for s in spoilt if s.corruption not in UNSEEN))
    ticker = _Ticker(progress, inputs.count - parts.strengths_count)

    def traces(part: Part, recipe: Recipe) -> Traces:
        found = collected(
            watched,
            part.inputs,
            recipe,
            batch=chosen.batch,
            seed=chosen.seed,
            half=0,
            pixels=pixels,
            first=part.first,
            tick=ticker.tick,
        )
        check_clean_finite(found, parts.order)
        return found

    learning = traces(parts.learning(inputs), known)
    choosing = traces(parts.choosing(inputs), known)
    seldom = unlearnable(learning, choosing)
    for kind in seldom:
        say(f"{kind} hardly makes the network fail: it is left out of the lesson")
    return _Gathered(
        learning.rows(~np.isin(learning.origin.kind, seldom)),
        choosing.rows(~np.isin(choosing.origin.kind, seldom)),
        traces(parts.calibration(inputs), Recipe((), ())),
        spoilt,
        pixels,
    )


def seen_by(
    monitor: Monitor,
    network: nn.Module,
    inputs: Any,
    *,
    first: int = 0,
    settings: MonitorSettings | None = None,
    watches: Sequence[Watch] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Traces:
    """Return traces to try a monitor on: other inputs, other sites, kinds unseen.

    Args:
        monitor: That was fitted to the network.
        network: In evaluation mode; left bit for bit as it was.
        inputs: None of those that it was fitted with.
        first: Number of the first, to tell them from others.
        settings: As it was fitted with.
        watches: Others than the monitor's own.
        progress: Told how many inputs are done, of how many.

    Raises:
        ValueError: The monitor is one of another network.
    """
    chosen = settings or MonitorSettings()
    given = _sound(inputs, first)
    with untouched(network):
        own = network_fingerprint(network)
        if monitor.fingerprint != own:
            raise ValueError(
                "the monitor must be one of this network, got one of another "
                f"({monitor.fingerprint[:12]}, not {own[:12]}); fit it again"
            )
        watched = _watched(network, given, chosen)
        watched = replace(
            watched,
            watches=tuple(watches) or monitor.watches,
            checksums=summed(monitor, watched.subject) if monitor.checksums else None,
        )
        spoilt = spoilt_of(monitor.about)
        pixels = Pixels.of_record(monitor.about["pixels"]) if spoilt else None
        ticker = _Ticker(progress, given.count)
        return collected(
            watched,
            given,
            Recipe(spoilt),
            batch=chosen.batch,
            seed=chosen.seed + 1,
            half=1,
            pixels=pixels,
            first=first,
            tick=ticker.tick,
        )


def _sound(inputs: Any, first: int = 0) -> Inputs:
    given = as_inputs(inputs)
    check_inputs(given, None)
    check_inputs_finite(given, first)
    return given


def _captured(
    network: nn.Module, inputs: Inputs, chosen: MonitorSettings
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
    return subject


def _watched(network: nn.Module, inputs: Inputs, chosen: MonitorSettings) -> Watched:
    subject = _captured(network, inputs, chosen)
    layers = every_layer(subject, chosen.marker)
    if chosen.values:
        watches = as_watches(subject, chosen.values, chosen.marker)
    else:
        watches = (*layers, *of_output(subject))
    every, scores = (*layers, *watches), chosen.tail or scores_of
    # Faults hit every layer, however few of them are looked at in the end.
    return Watched(subject, every, chosen.criterion, scores).looking_at(watches)


def _pixels(inputs: Inputs) -> Pixels | None:
    """Return the range of the images among the inputs, if there are any."""
    images = [leaf for leaf in inputs.leaves if is_image(leaf)]
    return pixels_of(images[0]) if images else None


def _spoilt(
    watched: Watched,
    inputs: Inputs,
    pixels: Pixels | None,
    chosen: MonitorSettings,
) -> tuple[Spoilt, ...]:
    if pixels is None:
        return ()
    kinds = (*CORRUPTIONS, *UNSEEN)
    return strengths(watched, inputs, kinds, pixels, seed=chosen.seed)


def _about(
    network: nn.Module,
    inputs: int,
    gathered: _Gathered | None,
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
        "seed": chosen.seed,
        "clean": chosen.clean,
        "criterion": chosen.criterion.as_record(),
        "versions": {"stoic": __version__, "torch": torch.__version__},
    }


class _Ticker:
    """Progress in inputs."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def tick(self, inputs: int) -> None:
        self._done += inputs
        if self._progress:
            self._progress(self._done, self._total)
