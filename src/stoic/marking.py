"""Markers of the monitor as features of failures: what it sees of an inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.campaign.scores import scores_of
from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Features
from stoic.monitors.collecting import Watched
from stoic.monitors.watches import every_layer
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs

__all__ = ["MARKERS", "SITE", "Markers", "Observed", "logarithmic", "watching"]

MARKERS, SITE = "markers", "site"
"""Names of what was seen of an inference under a fault."""

_BATCH = 64


def watching(
    network: nn.Module,
    images: Tensor,
    scores: Callable[[Any], Tensor] = scores_of,
) -> Watched:
    """Return a network whose layers are all watched by quantiles over channels.

    Args:
        network: In evaluation mode.
        images: As it takes them.
        scores: From the network's output to a row of scores for each image.

    Raises:
        ValueError: It cannot be captured, or no layer has channels.
    """
    subject = prepare(network, Inputs((images[:_BATCH],), {}))
    if not isinstance(subject, CapturedSubject):
        raise ValueError(
            f"markers need the graph of a network, got {subject.reason}; "
            "choose other features"
        )
    watches = every_layer(subject)
    if not watches:
        raise ValueError(
            "markers need a layer with several channels, got none; "
            "choose other features"
        )
    return Watched(subject, watches, scores=scores)


def logarithmic(values: NDArray[Any], clean: NDArray[Any]) -> Features:
    """Return markers as signed logarithms of how unlike fault-free ones they are.

    A fault moves a marker by a thousandth of what is usual or by 10³⁸ times that: both
    are to be told apart from others like them. What is no number is as far as can be.

    Args:
        values: Of shape (inferences, markers).
        clean: Of fault-free inferences: the middle is their median, the unit their
            spread.
    """
    sane = np.where(np.isfinite(clean), clean, np.nan).astype(np.float64)
    middle, unit = np.nanmedian(sane, 0), np.nanstd(sane, 0)
    largest = float(np.finfo(np.float32).max)
    own = np.nan_to_num(
        values.astype(np.float64), nan=largest, posinf=largest, neginf=-largest
    )
    apart = (own - middle) / np.where(unit > 0, unit, 1.0)
    return np.asarray(np.sign(apart) * np.log1p(np.abs(apart)), np.float32)


@dataclass(frozen=True)
class Markers:
    """Quantiles over channels of what every layer computes, as a monitor sees them.

    Those of the inference that failed: where a fault made it fail, under that fault.
    """

    name: str = MARKERS

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return eleven quantiles of each layer, as signed logarithms."""
        seen = inquiry.failures.observed.get(MARKERS)
        if seen is not None:
            return seen
        watched = watching(inquiry.network, inquiry.failures.images)
        clean = _seen(watched, inquiry.examples.images)
        return logarithmic(_seen(watched, inquiry.failures.images), clean)


@dataclass(frozen=True)
class Observed:
    """What was seen of inferences under faults: tables side by side, equally heavy.

    Args:
        tables: Names of them.
    """

    tables: tuple[str, ...]

    @property
    def name(self) -> str:
        """What tables call it."""
        return " and ".join(self.tables)

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return the tables.

        Raises:
            ValueError: Nothing of the kind was seen.
        """
        seen = inquiry.failures.observed
        missing = [name for name in self.tables if name not in seen]
        if missing:
            raise ValueError(
                f"features {self.name} must be of failures under faults, got others "
                f"without {missing[0]}; ask about faults, or choose other features"
            )
        return np.concatenate([_even(seen[name]) for name in self.tables], 1)


def _seen(watched: Watched, images: Tensor) -> Features:
    parts: Sequence[Tensor] = images.split(_BATCH)
    benches = (watched.bench(Inputs((part,), {})) for part in parts)
    with torch.inference_mode():
        return np.concatenate([watched.seen(bench)[0] for bench in benches])


def _even(table: Features) -> Features:
    """Return a table whose columns vary as much in sum as those of any other."""
    apart = table - table.mean(0)
    whole = float(np.sqrt(apart.var(0).sum()))
    return np.asarray(apart / whole if whole > 0 else apart, np.float32)
