"""Failures in blind spots: scenes in turn, and which blind spot each lies in."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.cases.afflicted.search import EXAMPLES, TRIES
from stoic.cases.afflicted.stage import scores_of
from stoic.cases.blindspots.network import load_network, series
from stoic.cases.blindspots.render import render
from stoic.cases.blindspots.scenes import SHAPES, Scenes, draw
from stoic.cases.blindspots.spots import Spot, plant
from stoic.cases.errors import CaseError
from stoic.causes.failures import UNKNOWN, Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST

__all__ = ["blindspots_failing"]

_CHUNK = 500


@dataclass(frozen=True, eq=False)
class _Seen:
    """Scenes with what a network says of them."""

    scenes: Scenes
    images: Tensor
    scores: Tensor

    def wrong(self) -> Tensor:
        return self.scores.argmax(1) != self.scenes.values["shape"]


def blindspots_failing(count: int, seed: int) -> Inquiry:
    """Find failures of the network of a seed, its blind spots being their scenarios.

    Scenes come as they are drawn, so blind spots have the shares that they cover. A
    failure outside of all of them has no known cause. The network of any seed but 0 is
    trained first.

    Args:
        count: How many.
        seed: Of the data set: its blind spots, network and scenes.

    Raises:
        CaseError: ``count`` is too small.
    """
    if count < 2 * LEAST or seed < 0:
        raise CaseError(
            f"failures must be at least {2 * LEAST}, from a seed of at least 0, to be "
            f"clustered, got {count} and seed {seed}; ask for more"
        )
    network = load_network(seed)
    seen = _first(network, seed, count)
    failed = seen.wrong().nonzero()[:count, 0]
    return Inquiry(
        network=network,
        failures=_failures(seen, failed, plant(seed)),
        examples=_examples(network, seed),
        black=torch.zeros(3),
        white=torch.ones(3),
        classes=SHAPES,
    )


def _first(network: nn.Module, seed: int, count: int) -> _Seen:
    """Look at scenes from the first on until so many have failed."""
    scenes = draw(TRIES * count, series(seed)[1])
    images, scores, found, looked = [], [], 0, 0
    while found < count and looked < len(scenes):
        part = scenes.rows(slice(looked, looked + _CHUNK))
        images.append(render(part))
        scores.append(scores_of(network, images[-1]))
        looked += len(part)
        found += int((scores[-1].argmax(1) != part.values["shape"]).sum())
    return _Seen(scenes.rows(slice(0, looked)), torch.cat(images), torch.cat(scores))


def _failures(seen: _Seen, failed: Tensor, spots: tuple[Spot, ...]) -> Failures:
    scenes = seen.scenes.rows(failed)
    return Failures(
        images=seen.images[failed],
        labels=scenes.values["shape"].numpy(),
        scores=seen.scores[failed].numpy(),
        names=tuple(f"blindspots {each}" for each in scenes.seed.tolist()),
        recorded=scenes.words(),
        scenarios=_scenarios(scenes, spots),
    )


def _scenarios(scenes: Scenes, spots: tuple[Spot, ...]) -> NDArray[Any]:
    names = [UNKNOWN] * len(scenes)
    for spot in spots:
        for row in spot.covers(scenes).nonzero()[:, 0].tolist():
            names[row] = spot.name
    return np.array(names, dtype=np.str_)


def _examples(network: nn.Module, seed: int) -> Examples:
    """Return what the network has learned and names rightly."""
    scenes = draw(2 * EXAMPLES, series(seed)[0])
    images = render(scenes)
    right = ~_Seen(scenes, images, scores_of(network, images)).wrong()
    places = right.nonzero()[:EXAMPLES, 0]
    labels = scenes.values["shape"][places]
    return Examples(images[places], labels.numpy())
