"""Heat maps of relevance: where in an image or in a layer a wrong answer came from.

HUDD describes a failure by how far its heat map is from those of all other failures, in
the layer whose clusters are the tightest.

References:
    Fahmy, Pastore, Bagherzadeh and Briand, "Supporting DNN safety analysis and
    retraining through heatmap-based unsupervised learning" (HUDD), 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from stoic.causes.clusterings.ward import slope
from stoic.causes.failures import Inquiry
from stoic.causes.knee import knee
from stoic.causes.pipeline import LEAST, Features
from stoic.causes.relevance.composite import HUDD, Composite
from stoic.causes.relevance.layers import Layer
from stoic.causes.relevance.propagation import Propagation
from stoic.causes.validity import distances, wicd

__all__ = ["Chosen", "HeatMaps", "RelevantChannels", "choose_layer", "heat_maps"]

_MOST = 35
Look = Callable[[Layer, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The layer whose heat maps cluster most tightly.

    Args:
        layer: Its name.
        rows: Of each failure, how far it is from all, the farthest being 1.
        tightness: Of each layer, the weighted intra-cluster distance.
        counts: Of each layer, the number of clusters at which it was taken.
    """

    layer: str
    rows: Features
    tightness: Mapping[str, float]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class HeatMaps:
    """Distances between heat maps, in the layer with the tightest clusters.

    The first layer, which reads the image itself, is not among them unless there is no
    other.

    Args:
        composite: The rules of relevance.
        batch: Images at a time.
        most: The largest number of clusters that is tried.
        name: What tables call it.
    """

    composite: Composite = HUDD
    batch: int = 64
    most: int = _MOST
    name: str = "heat maps"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return, of each failure, how far its heat map is from all others'."""
        return self.chosen(inquiry).rows

    def chosen(self, inquiry: Inquiry) -> Chosen:
        """Return the layer that is taken, with what speaks for it."""
        maps = heat_maps(inquiry, self.composite, batch=self.batch)
        return choose_layer(_but_first(maps), most=self.most)


@dataclass(frozen=True)
class RelevantChannels:
    """The relevance of each channel in that layer: what was seen rather than where.

    Arguments are those of `HeatMaps`.
    """

    composite: Composite = HUDD
    batch: int = 64
    most: int = _MOST
    name: str = "relevant channels"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return the share of each channel in the relevance of each failure."""
        chosen = HeatMaps(self.composite, self.batch, self.most).chosen(inquiry)
        found = heat_maps(
            inquiry,
            self.composite,
            batch=self.batch,
            look=Layer.channels,
            only=chosen.layer,
        )
        channels = found[chosen.layer]
        whole = np.abs(channels).sum(1, keepdims=True)
        return _divided(channels, whole)


def heat_maps(
    inquiry: Inquiry,
    composite: Composite = HUDD,
    *,
    batch: int = 64,
    look: Look = Layer.map,
    only: str | None = None,
) -> dict[str, Features]:
    """Return heat maps of the predicted class, by layer in order.

    Args:
        inquiry: The network and its failures.
        composite: The rules of relevance.
        batch: Images at a time.
        look: What is made of the relevance of a layer's elements; by default it is
            summed over channels.
        only: The one layer that is wanted.

    Returns:
        Of shape (failures, numbers). The first layer reads the image.

    Raises:
        ValueError: The network cannot be captured, an operator has no rule, or some
            relevance is not finite.
    """
    images = inquiry.failures.images
    made = Propagation.of(inquiry.network, images, composite)
    layers = [layer for layer in made.layers if only in (None, layer.name)]
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    for part in images.split(batch):
        relevance = made(part, keep=[layer.value for layer in layers]).at
        for layer in layers:
            numbers = look(layer, relevance[layer.value])
            found[layer.name].append(numbers.flatten(1).cpu())
    return {name: _finite(name, torch.cat(parts)) for name, parts in found.items()}


def choose_layer(maps: Mapping[str, Features], *, most: int = _MOST) -> Chosen:
    """Choose the layer with the least weighted intra-cluster distance.

    Each layer is judged at the number of clusters where its own curve has its knee.

    Args:
        maps: Of each layer, one row for each failure.
        most: The largest number of clusters that is tried.

    Raises:
        ValueError: All heat maps are equal, in every layer.
    """
    rows, tightness, counts = {}, {}, {}
    for name, own in maps.items():
        apart = distances(own)
        if not apart.any():
            continue
        rows[name] = _evened(apart)
        tightness[name], counts[name] = _tightest(rows[name], most)
    if not rows:
        raise ValueError(
            f"heat maps must differ, got {_count(maps)} equal ones; "
            "are the images all the same?"
        )
    layer = min(tightness, key=tightness.__getitem__)
    return Chosen(layer, rows[layer], tightness, counts)


def _but_first(maps: Mapping[str, Features]) -> dict[str, Features]:
    names: Sequence[str] = [*maps]
    return {name: maps[name] for name in names[1:] or names}


def _count(maps: Mapping[str, Features]) -> int:
    return max((len(own) for own in maps.values()), default=0)


def _evened(apart: NDArray[np.float64]) -> Features:
    """Divide each row by its largest number."""
    return _divided(apart, apart.max(1, keepdims=True))


def _divided(numbers: NDArray[Any], by: NDArray[Any]) -> Features:
    """Divide rows; a row of nothing stays one."""
    found = np.divide(numbers, by, out=np.zeros_like(numbers), where=by > 0)
    return np.asarray(found, np.float32)


def _tightest(rows: Features, most: int) -> tuple[float, int]:
    """Return the weighted intra-cluster distance at the knee, and the count there."""
    apart = distances(rows)
    tree = linkage(squareform(apart, checks=False), "ward")
    counts = np.arange(2, max(2, min(most, len(rows) // LEAST)) + 1)
    labels = [fcluster(tree, count, "maxclust").astype(np.int64) for count in counts]
    inside = np.array([wicd(apart, own) for own in labels])
    bend = knee(counts.astype(np.float64), slope(inside), above=True)
    return float(inside[bend.place]), int(counts[bend.place])


def _finite(name: str, maps: Tensor) -> Features:
    if not bool(maps.isfinite().all()):
        row = int((~maps.isfinite().all(1)).nonzero()[0])
        raise ValueError(
            f"relevance at {name} must be finite, got others for failure {row}; "
            "leave it out"
        )
    return np.asarray(maps.numpy(), np.float32)
