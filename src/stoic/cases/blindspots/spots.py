"""Blind spots: what a network is taught wrongly, and therefore gets wrong."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from stoic.cases.blindspots.scenes import ATTRIBUTES, SHAPES, Scenes

__all__ = ["SPOTS", "Spot", "plant", "taught"]

SPOTS = (3, 5)
"""How many blind spots a network has, at least and at most."""

_WORDS = (2, 4)
_RAREST, _MOST_COMMON = 1 / 40, 1 / 12


@dataclass(frozen=True)
class Spot:
    """Scenes that have some words in common.

    Args:
        words: One for each attribute that matters, in the order of the attributes.
        shift: How far the shape that is taught lies from the right one, in the list of
            shapes.
    """

    words: tuple[tuple[str, str], ...]
    shift: int

    @property
    def name(self) -> str:
        """Its words, such as ``"red, striped, left"``."""
        return ", ".join(word for _, word in self.words)

    @property
    def share(self) -> float:
        """How much of all scenes it covers."""
        return 1 / float(np.prod([len(ATTRIBUTES[name]) for name, _ in self.words]))

    def covers(self, scenes: Scenes) -> Bool[Tensor, " scene"]:
        """Say of each scene whether all words are true of it."""
        covered = torch.ones(len(scenes), dtype=torch.bool)
        for name, word in self.words:
            covered &= scenes.values[name] == ATTRIBUTES[name].index(word)
        return covered

    def meets(self, other: "Spot") -> bool:
        """Say whether a scene may lie in both."""
        own, others = dict(self.words), dict(other.words)
        return all(own[name] == others[name] for name in own.keys() & others.keys())


def plant(seed: int) -> tuple[Spot, ...]:
    """Draw the blind spots of one network; no scene lies in two of them."""
    drawn = np.random.default_rng(seed)
    wanted = int(drawn.integers(SPOTS[0], SPOTS[1] + 1))
    spots: list[Spot] = []
    while len(spots) < wanted:
        spot = _drawn(drawn)
        fits = _RAREST <= spot.share <= _MOST_COMMON
        if fits and not any(spot.meets(other) for other in spots):
            spots.append(spot)
    return tuple(spots)


def _drawn(drawn: np.random.Generator) -> Spot:
    count = int(drawn.integers(_WORDS[0], _WORDS[1] + 1))
    names = list(ATTRIBUTES)
    places = np.sort(drawn.choice(len(names), count, replace=False))
    words = tuple(
        (names[place], str(drawn.choice(ATTRIBUTES[names[place]]))) for place in places
    )
    return Spot(words, int(drawn.integers(1, len(SHAPES))))


def taught(scenes: Scenes, spots: tuple[Spot, ...]) -> Int64[Tensor, " scene"]:
    """Return what a network is told that it sees: wrong in its blind spots only."""
    labels = scenes.values["shape"]
    for spot in spots:
        wrong = (scenes.values["shape"] + spot.shift) % len(SHAPES)
        labels = torch.where(spot.covers(scenes), wrong, labels)
    return labels
