"""Watches: which values of a network are looked at, and by which marker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoic.monitors.markers import (
    ChannelQuantiles,
    ChannelSums,
    Extremes,
    Marker,
    Quantiles,
    as_record,
    marker_of,
)
from stoic.network.captured import CapturedSubject
from stoic.network.sites import Site

__all__ = [
    "Layer",
    "Watch",
    "as_watches",
    "every_layer",
    "every_marker",
    "features_of",
    "layers_of",
    "of_output",
    "reduced",
]

# What layers compute: products with weights, and attention.
_PAPER = ChannelQuantiles()
# Numbers of an output above which each is not worth looking at.
_MANY = 128
# Numbers of which raw quantiles are taken.
_SAMPLE = 1000
_LAYERS = ("conv", "linear", "addmm", "mm", "bmm", "attention")


@dataclass(frozen=True)
class Watch:
    """A value and a marker that looks at it.

    Args:
        value: Name of the site, such as ``layer4.1.conv2:out``.
        channels: Dimension of its channels.
        marker: What is computed of it.
    """

    value: str
    channels: int
    marker: Marker

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it tells, such as ``q90 of layer4.1.conv2:out``."""
        return tuple(f"{name} of {self.value}" for name in self.marker.names)

    def as_record(self) -> dict[str, Any]:
        """Return plain data from which `Watch.of_record` makes an equal watch."""
        marker = as_record(self.marker)
        return {"value": self.value, "channels": self.channels, "marker": marker}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Watch:
        """Return the watch that was recorded."""
        return cls(record["value"], record["channels"], marker_of(record["marker"]))


@dataclass(frozen=True)
class Layer:
    """A value that may be watched, and what that takes.

    Args:
        features: Names of what all its watches tell.
        numbers: That are to be read per input.
    """

    features: tuple[str, ...]
    numbers: int


def layers_of(
    subject: CapturedSubject, watches: Sequence[Watch], features: Sequence[str]
) -> tuple[Layer, ...]:
    """Return a layer for each value that tells any of some features."""
    numbers = {site.name: math.prod(site.shape) for site in subject.sites}
    found = []
    for value in dict.fromkeys(watch.value for watch in watches):
        told = features_of(watch for watch in watches if watch.value == value)
        own = tuple(name for name in told if name in set(features))
        found += [Layer(own, numbers[value])] if own else []
    return tuple(found)


def features_of(watches: Iterable[Watch]) -> tuple[str, ...]:
    """Return the names of all features, in order."""
    return tuple(name for watch in watches for name in watch.features)


def every_layer(subject: CapturedSubject, marker: Marker = _PAPER) -> tuple[Watch, ...]:
    """Watch what every convolution, linear layer and attention computes.

    Values with a single channel are left out: their quantiles are all one.
    """
    return tuple(
        watch
        for site in subject.sites
        if site.kind == "activation" and _is_layer(subject, site)
        for watch in [Watch(site.name, _channels(subject, site), marker)]
        if _problem(site, watch) is None
    )


def every_marker(subject: CapturedSubject) -> tuple[Watch, ...]:
    """Watch every layer by all markers that any baseline reads."""
    sites = {site.name: site for site in subject.sites}
    found = []
    for watch in every_layer(subject):
        site = sites[watch.value]
        sums = ChannelSums(_count(site, watch))
        # A sample of all numbers: to sort them all takes longer than the network.
        some = Quantiles(stride=max(8, math.prod(site.shape) // _SAMPLE))
        for marker in (watch.marker, Extremes(), sums, some):
            found.append(replace(watch, marker=marker))
    return tuple(found)


def of_output(subject: CapturedSubject) -> tuple[Watch, ...]:
    """Watch each number that the last layer computes, if these are not too many.

    They are there anyway: where the network decides, they say most about how surely.
    """
    sites = {site.name: site for site in subject.sites}
    last = every_layer(subject)[-1:]
    counted = [(watch, _count(sites[watch.value], watch)) for watch in last]
    return tuple(
        replace(watch, marker=ChannelSums(count))
        for watch, count in counted
        if count <= _MANY
    )


def as_watches(
    subject: CapturedSubject, values: Sequence[str], marker: Marker
) -> tuple[Watch, ...]:
    """Watch values by name.

    Raises:
        ValueError: A value does not exist, is named twice, has one channel, or no row
            per input.
    """
    sites = {site.name: site for site in subject.sites if site.kind == "activation"}
    watches: list[Watch] = []
    for name in values:
        if name not in sites:
            raise ValueError(
                f"values to watch must be computed by the network, got {name!r}; "
                "'stoic sites' lists them"
            )
        if name in {watch.value for watch in watches}:
            raise ValueError(
                f"values to watch must be named once each, got {name!r} twice; "
                "leave one out"
            )
        watch = Watch(name, _channels(subject, sites[name]), marker)
        if problem := _problem(sites[name], watch):
            raise ValueError(f"{name} cannot be watched: {problem}; choose another")
        watches.append(watch)
    return tuple(watches)


def reduced(watches: Iterable[Watch], features: Iterable[str]) -> tuple[Watch, ...]:
    """Return watches that tell some of the features only, and compute no others."""
    wanted, found = set(features), []
    for watch in watches:
        kept = [name in wanted for name in watch.features]
        if not any(kept):
            continue
        marker = watch.marker
        if isinstance(marker, ChannelQuantiles | Quantiles):
            levels = zip(marker.levels, kept, strict=True)
            some = tuple(level for level, keep in levels if keep)
            marker = replace(marker, levels=some)
        if isinstance(marker, ChannelSums):
            some_told = zip(marker.told, kept, strict=True)
            told = tuple(number for number, keep in some_told if keep)
            marker = replace(marker, kept=told)
        found.append(replace(watch, marker=marker))
    return tuple(found)


def _is_layer(subject: CapturedSubject, site: Site) -> bool:
    step = subject.program.by_name.get(site.value)
    return step is not None and any(name in step.operator for name in _LAYERS)


def _channels(subject: CapturedSubject, site: Site) -> int:
    step = subject.program.by_name[site.value]
    of_images = "conv" in step.operator or len(site.shape) == 3
    return 1 if of_images and len(site.shape) > 1 else len(site.shape)


def _problem(site: Site, watch: Watch) -> str | None:
    """Return why a value cannot be watched, if it cannot."""
    if site.rows != 0:
        return "it has no row per input in its first dimension"
    if not site.dtype.is_floating_point:
        return f"its numbers are {site.dtype}"
    if isinstance(watch.marker, ChannelQuantiles) and _count(site, watch) < 2:
        return "it has one channel, so that all quantiles are one"
    return None


def _count(site: Site, watch: Watch) -> int:
    """Return the number of channels; a site's shape is that of one row."""
    return site.shape[watch.channels - 1] if site.shape else 1
