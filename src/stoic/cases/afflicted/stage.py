"""A kind of scenes: how they are drawn, afflicted, healed, taken and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.cases.afflicted.cause import Cause

__all__ = ["BATCH", "Change", "Scenes", "Stage", "scores_of"]

BATCH = 64
"""Images that a network is given at once, at most."""


class Scenes(Protocol):
    """A table of scenes, one row each, that its seeds are the whole truth about."""

    @property
    def seed(self) -> Tensor:
        """What everything in a scene is drawn from."""
        ...

    def __len__(self) -> int: ...

    def rows(self, index: Any) -> Any:
        """Return the table of the rows that ``index`` picks."""
        ...


S = TypeVar("S", bound=Scenes)
Change = Callable[[S, Cause, Tensor], S]
"""Gives a cause to the scenes of a mask, or takes it away from them."""


@dataclass(frozen=True, eq=False)
class Stage(Generic[S]):
    """A kind of scenes, and the network that reads them.

    Args:
        name: Of the case.
        network: In evaluation mode.
        classes: Their names.
        causes: Known reasons for failing.
        nominal: Draw so many scenes of a series in which nothing is out of range.
        afflict: Give a cause to some of them.
        reset: Take it away again: its parameter gets what the scene's seed says.
        pictures: Take them as the network reads them, between 0 and 1.
        labels: What is right.
        recorded: What is known of each but its seed, by name.
        learned: The series that the network has learned from.
        failing: The first series in which failures are looked for.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...]
    causes: tuple[Cause, ...]
    nominal: Callable[[int, int], S]
    afflict: Change[S]
    reset: Change[S]
    pictures: Callable[[S], Tensor]
    labels: Callable[[S], Tensor]
    recorded: Callable[[S], Mapping[str, NDArray[Any]]]
    learned: int = 0
    failing: int = 1_000_000

    def right(self, scenes: S) -> Tensor:
        """Say of each scene whether the network reads it right."""
        scores = scores_of(self.network, self.pictures(scenes))
        return scores.argmax(1) == self.labels(scenes)


@torch.inference_mode()
def scores_of(
    network: nn.Module, inputs: Tensor, tail: Callable[[Any], Any] | None = None
) -> Tensor:
    """Return what a network says of inputs, a few at a time."""
    outputs = [network(part) for part in inputs.split(BATCH)]
    return torch.cat([tail(each) if tail else each for each in outputs])
