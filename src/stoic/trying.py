"""Trying a monitor: on inputs that it never saw, and beside other detectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from stoic.campaign.scores import scores_of
from stoic.campaign.untouched import untouched
from stoic.monitoring import MonitorSettings, fit_checksums, seen_by
from stoic.monitors.baselines import Detector, fit_excess, fit_trivial
from stoic.monitors.beside import fit_others
from stoic.monitors.collecting import Recipe, Watched, collected
from stoic.monitors.corruptions import Pixels
from stoic.monitors.markers import Extremes
from stoic.monitors.monitor import Monitor
from stoic.monitors.traces import Traces
from stoic.monitors.trying import Trying, learnt_recipe
from stoic.monitors.watches import (
    Watch,
    every_layer,
    every_marker,
    features_of,
    reduced,
)
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs, Subject
from stoic.study import as_inputs

__all__ = ["Tried", "tried"]


@dataclass(frozen=True, eq=False)
class Tried:
    """What a monitor is judged by.

    Args:
        traces: Of inputs that it was not fitted with; with all that detectors read.
        others: Detectors to compare it with, the trivial one first.
    """

    traces: Traces
    others: tuple[Detector, ...]


def tried(
    monitor: Monitor,
    network: nn.Module,
    inputs: Any,
    settings: MonitorSettings | None = None,
    *,
    trying: Trying | None = None,
    baselines: bool = False,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Tried:
    """Return traces to try a monitor on, and detectors fitted with what it was.

    Others learn from the inputs that the monitor was fitted with: the trivial one from
    fault-free runs, the rest also from the same corruptions, and from flips in the
    half of all words that nothing is tried on.

    Args:
        monitor: That was fitted to the network.
        network: In evaluation mode; left bit for bit as it was.
        inputs: Those that it was fitted with, first, then others to try it on.
        settings: As it was fitted with.
        trying: What it is tried on; by default all kinds, single flips and others.
        baselines: Whether all detectors are fitted, which takes as long as to fit the
            monitor did; by default only the trivial one is.
        progress: Told how many inputs to try it on are done, of how many.
        notice: Told what a user should know.

    Raises:
        ValueError: The monitor is one of another network, or knows all of the inputs.
    """
    chosen, say = settings or MonitorSettings(), notice or (lambda line: None)
    used = int(monitor.about.get("inputs", 0))
    known, new = _halves(as_inputs(inputs), used)
    with untouched(network):
        subject = prepare(network, new.rows(0, min(new.count, chosen.batch)))
    watches = _watches(subject, baselines)
    sums = _sums(monitor, network, known, chosen, say) if used and baselines else None
    how: dict[str, Any] = {"first": used, "settings": chosen, "trying": trying}
    how |= {"progress": progress, "notice": notice}
    every = _also(monitor, watches)
    traces = seen_by(sums or monitor, network, new, watches=every, **how)
    if not used:
        say("nothing to compare with: the file does not say what it was fitted with")
        return Tried(traces, ())
    assert isinstance(subject, CapturedSubject)
    watched = _watched(subject, watches, chosen)
    with untouched(network):
        if baselines:
            say(f"fitting other detectors to {used:,} inputs")
        recipe = learnt_recipe(monitor) if baselines else Recipe((), ())
        learning = _learning(monitor, watched, known, chosen, recipe)
    if not baselines:
        return Tried(traces, (fit_trivial(learning),))
    others = fit_others(learning, say, scored=chosen.tail is None)
    return Tried(traces, (*others, *([fit_excess(traces)] if sums else ())))


def _halves(given: Inputs, used: int) -> tuple[Inputs, Inputs]:
    """Return the inputs that a monitor was fitted with, and the others."""
    if used >= given.count:
        raise ValueError(
            f"inputs must be more than the {used:,} that the monitor was fitted with, "
            f"got {given.count:,}; give those first, then others to try it on"
        )
    return given.rows(0, used), given.rows(used, given.count)


def _watches(subject: Subject, every: bool) -> tuple[Watch, ...]:
    """Return what others look at: the ends of each layer, or all markers of them."""
    if not isinstance(subject, CapturedSubject):
        # It cannot be watched at all, which is said where a monitor is tried.
        return ()
    more = every_marker(subject) if every else ()
    rest = (watch for watch in more if not isinstance(watch.marker, Extremes))
    return (*every_layer(subject, Extremes()), *rest)


def _also(monitor: Monitor, watches: tuple[Watch, ...]) -> tuple[Watch, ...]:
    """Return watches, and those of a monitor's own of which none tells the same."""
    missing = set(features_of(monitor.watches)) - set(features_of(watches))
    return (*watches, *reduced(monitor.watches, missing))


def _watched(
    subject: CapturedSubject, watches: tuple[Watch, ...], chosen: MonitorSettings
) -> Watched:
    """Return the network as others look at it; faults hit every layer."""
    scores = chosen.tail or scores_of
    layers = Watched(subject, every_layer(subject), chosen.criterion, scores)
    return layers.looking_at(watches)


def _learning(
    monitor: Monitor,
    watched: Watched,
    known: Inputs,
    chosen: MonitorSettings,
    recipe: Recipe,
) -> Traces:
    """Return traces of known inputs, in the half of all words that a fit hits."""
    about = monitor.about
    return collected(
        watched,
        known,
        recipe,
        batch=chosen.batch,
        seed=int(about.get("seed", 0)),
        half=0,
        pixels=Pixels.of_record(about["pixels"]) if recipe.spoilt else None,
    )


def _sums(
    monitor: Monitor,
    network: nn.Module,
    known: Inputs,
    chosen: MonitorSettings,
    say: Callable[[str], None],
) -> Monitor | None:
    """Return a monitor of checksums that is to be tried like another; None if none."""
    if monitor.checksums:
        return monitor
    try:
        # Its sums are asked, never its alarm, which takes more inputs the rarer it is.
        sums = fit_checksums(network, known, chosen, rate=0.5)
    except ValueError as error:
        say(f"checksums are left out: {error}")
        return None
    return replace(sums, about=monitor.about, fingerprint=monitor.fingerprint)
