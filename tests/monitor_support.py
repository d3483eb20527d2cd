"""Monitors of tiny networks, made up or truly fitted, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from networks import Builder, subject_of
from stoic.campaign.fingerprint import network_fingerprint
from stoic.monitors.alarm import Alarm
from stoic.monitors.bounds import Floats
from stoic.monitors.distance import distance_of
from stoic.monitors.markers import ChannelQuantiles, Marker
from stoic.monitors.monitor import Monitor
from stoic.monitors.points import Condition, Points, Step
from stoic.monitors.rules import Fork, Leaf, Node, Rules
from stoic.monitors.watches import Watch, as_watches, every_layer, features_of
from stoic.network.captured import CapturedSubject
from stoic.network.subject import Inputs

__all__ = [
    "captured",
    "features_by_hand",
    "many_rows",
    "monitor_of",
    "monitor_on",
    "random_points",
    "random_rules",
]

CLASSES = ("regular", "memory", "noise")
HIGH = ChannelQuantiles((0.5, 0.9, 1.0))


def captured(build: Builder) -> CapturedSubject:
    subject = subject_of(build)
    assert isinstance(subject, CapturedSubject)
    return subject


def monitor_of(
    build: Builder,
    values: Sequence[str] = (),
    marker: Marker = HIGH,
    *,
    on_values: bool = False,
) -> Monitor:
    """Return a made-up monitor whose questions part the inputs of a specimen.

    Args:
        values: To watch; by default the first layer and the last.
        on_values: Whether spans end on values of features, or between two of them,
            so that the rounding of other kernels changes no answer.
    """
    subject, specimen = captured(build), build()
    if values:
        watches = as_watches(subject, values, marker)
    else:
        layers = every_layer(subject, marker)
        # A network may have but one.
        watches = tuple(dict.fromkeys((layers[0], layers[-1])))
    rows = many_rows(specimen.inputs, 40)
    features = features_by_hand(subject, watches, rows)
    fingerprint = network_fingerprint(specimen.network)
    return monitor_on(watches, features, fingerprint, on_values=on_values)


def monitor_on(
    watches: tuple[Watch, ...],
    features: Floats,
    fingerprint: str,
    *,
    on_values: bool = False,
) -> Monitor:
    """Return a made-up monitor whose questions part some finite features."""
    chance, ordered = np.random.default_rng(0), np.sort(features, 0)
    between = np.asarray((ordered[1:] + ordered[:-1]) / 2, np.float32)
    ends = ordered if on_values else between
    rules = random_rules(ends, features_of(watches), chance)
    tenth = len(ends) // 10
    alarm = Alarm(ends[tenth], ends[-tenth - 1], 0.2, len(features))
    points = random_points(ends, features_of(watches), chance)
    return Monitor(fingerprint, watches, rules, alarm, points)


def random_rules(
    ends: Floats, names: tuple[str, ...], chance: np.random.Generator, depth: int = 4
) -> Rules:
    """Return rules about spans with some ends, or none.

    Args:
        ends: Sorted ends for each feature, of shape ``(ends, features)``.
    """

    def grown(left: int) -> Node:
        if not left or (left < depth - 1 and chance.random() < 0.25):
            shares = chance.dirichlet(np.ones(len(CLASSES)))
            return Leaf(tuple(shares.tolist()), int(chance.integers(1, 99)))
        feature = int(chance.integers(len(names)))
        places = chance.uniform((0, 0.5), (0.5, 1)) * len(ends)
        low, high = ends[places.astype(int), feature].tolist()
        kind = chance.integers(4)
        low = -np.inf if kind == 0 else low
        high = np.inf if kind == 1 else high
        return Fork(feature, low, high, grown(left - 1), grown(left - 1))

    return Rules(CLASSES, names, grown(depth))


def random_points(
    ends: Floats, names: tuple[str, ...], chance: np.random.Generator, count: int = 30
) -> Points:
    """Return steps with limits among some ends, of one condition or two.

    The last half of all features has a distance, which some conditions are about.
    """
    half = len(names) // 2
    distance = distance_of("them", names[half:], ends[:, half:], names[half:][-3:])
    asked = np.concatenate([ends, distance.told(ends[:, half:]) + 0.25], 1)

    def condition() -> Condition:
        feature = int(chance.integers(asked.shape[1]))
        limit = float(chance.choice(asked[:, feature]))
        return Condition(feature, limit, bool(chance.integers(2)))

    def step() -> Step:
        conditions = tuple(condition() for _ in range(chance.integers(1, 3)))
        return Step(conditions, int(chance.integers(-40, 41)))

    steps = tuple(step() for _ in range(count))
    return Points(names, steps, base=-7, distance=distance)


def many_rows(inputs: Inputs, count: int, seed: int = 5) -> Inputs:
    """Return more inputs like some, each unlike the others."""
    chance = torch.Generator().manual_seed(seed)
    rows = torch.randint(inputs.count, (count,), generator=chance)

    def more(leaf: object) -> object:
        if not isinstance(leaf, torch.Tensor) or not leaf.dim():
            return leaf
        found = leaf[rows]
        if not leaf.is_floating_point():
            return found
        noise = torch.randn(found.shape, generator=chance).to(leaf.dtype)
        return (found + noise).to(leaf.dtype)

    return inputs.with_leaves([more(leaf) for leaf in inputs.leaves])


@torch.inference_mode()
def features_by_hand(
    subject: CapturedSubject, watches: tuple[Watch, ...], inputs: Inputs
) -> NDArray[np.float32]:
    """Return the features of watches from a plain run of the program."""
    values = subject.program.run(inputs.leaves)
    sites = {site.name: site.value for site in subject.sites}
    rows = [w.marker(values[sites[w.value]], w.channels) for w in watches]
    return torch.cat(rows, 1).numpy()
