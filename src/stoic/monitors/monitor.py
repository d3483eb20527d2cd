"""A monitor: what is watched in a network, and what is concluded from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.campaign.checks import check_count
from stoic.monitors.alarm import Alarm
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import excess_of
from stoic.monitors.corruptions import Pixels
from stoic.monitors.points import Points
from stoic.monitors.rules import Rules
from stoic.monitors.saved import FORMAT, read_record, reading
from stoic.monitors.strengths import spoilt_of
from stoic.monitors.watches import Watch, features_of
from stoic.records.files import write_whole

__all__ = ["FORMAT", "NONFINITE", "Monitor", "Verdicts"]

# The class of an inference with a feature that is no number, before any rule is asked.
NONFINITE = "non-finite"


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a monitor says of inferences. One entry per row.

    Args:
        label: Index of the class in `Monitor.classes`.
        score: How sure it is that something is wrong, from 0 to 1, by the points; also
            of rows that are not finite, as some infinite numbers change nothing.
        rule: Number of the leaf that decided; -1 where features are not finite.
        unlike: Whether the calibrated alarm was raised.
    """

    label: NDArray[np.int64]
    score: Floats
    rule: NDArray[np.int64]
    unlike: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Monitor:
    """A fitted monitor.

    Args:
        fingerprint: Of the network that it belongs to.
        watches: What is looked at.
        rules: What is concluded from their features and then those of checksums.
        alarm: For conditions that no rule knows; over the same features.
        points: How sure it is; likewise.
        about: How it was fitted, for people.
        checksums: Tolerance of each layer whose checksum is looked at, by the name of
            its value. What the sums must be follows from the network's own weights.
    """

    fingerprint: str
    watches: tuple[Watch, ...]
    rules: Rules
    alarm: Alarm
    points: Points
    about: dict[str, Any] = field(default_factory=dict)
    checksums: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        watched = (*features_of(self.watches), *map(excess_of, self.checksums))
        twice = [name for name, count in Counter(watched).items() if count > 1]
        if twice:
            raise ValueError(
                f"each feature must be watched once, got {twice[0]!r} twice; "
                "watch each value once"
            )
        _check_features("rules", self.rules.features, watched)
        _check_features("points", self.points.features, watched)

    @property
    def classes(self) -> tuple[str, ...]:
        """What a verdict may be: those of the rules, and non-finite."""
        return (*self.rules.classes, NONFINITE)

    def verdicts(self, features: Floats) -> Verdicts:
        """Return what it says of features, of shape ``(rows, features)``."""
        finite = np.isfinite(features).all(1)
        leaf = self.rules.leaf_of(features)
        label = np.where(finite, self.rules.labels[leaf], len(self.rules.classes))
        rule = np.where(finite, leaf, -1)
        score = self.points.scores(features)
        return Verdicts(label, score, rule, self.alarm.raised(features))

    def save(self, path: Path) -> None:
        """Write it as a small JSON file that a person can read."""
        record = {
            "stoic monitor": FORMAT,
            "network": self.fingerprint,
            "about": self.about,
            "watches": [watch.as_record() for watch in self.watches],
            "checksums": dict(self.checksums),
            "rules": self.rules.as_record(),
            "alarm": self.alarm.as_record(self.rules.features),
            "points": self.points.as_record(),
        }
        write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None) -> Monitor:
        """Return a monitor that was saved.

        Args:
            path: Of the file.
            fingerprint: Of the network that it is for; not checked by default.

        Raises:
            ValueError: It cannot be read, is none, or of another format or network.
        """
        record = read_record(path)
        if fingerprint not in (None, record["network"]):
            raise ValueError(
                f"{path} must be a monitor of this network, got one of another "
                f"({record['network'][:12]}, not {str(fingerprint)[:12]}); fit it again"
            )
        return cls._of_record(record, path)

    @classmethod
    def _of_record(cls, record: dict[str, Any], path: Path) -> Monitor:
        with reading(path, "about"):
            _check_about(record["about"])
        with reading(path, "rules"):
            rules = Rules.of_record(record["rules"])
        with reading(path, "watches"):
            watches = tuple(map(Watch.of_record, record["watches"]))
        with reading(path, "alarm"):
            alarm = Alarm.of_record(record["alarm"], rules.features)
        with reading(path, "points"):
            points = Points.of_record(record["points"], rules.features)
        with reading(path, "checksums"):
            told = dict(record.get("checksums", {}))
            sums = {name: float(tolerance) for name, tolerance in told.items()}
        name, about = record["network"], record["about"]
        with reading(path, "rules and watches"):
            return cls(name, watches, rules, alarm, points, about, sums)


def _check_about(about: dict[str, Any]) -> None:
    """Refuse what a monitor could not be tried or run with."""
    check_count("inputs", about.get("inputs", 0), 0)
    if spoilt_of(about):
        Pixels.of_record(about["pixels"])


def _check_features(
    name: str, features: tuple[str, ...], watched: tuple[str, ...]
) -> None:
    """Refuse rules or points about other features than those that are watched."""
    if features == watched:
        return
    asked = [
        f"{each!r}, which nothing watches" for each in features if each not in watched
    ]
    unasked = [f"none about {each!r}" for each in watched if each not in features]
    got = (*asked, *unasked, "another order")[0]
    raise ValueError(
        f"{name} must be about the features that are watched, got {got}; "
        f"fit {name} to the watched features"
    )
