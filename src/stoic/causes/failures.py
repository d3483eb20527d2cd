"""Failures: images that a network gets wrong, and what is known about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["UNKNOWN", "Examples", "Failures", "Inquiry"]

UNKNOWN = ""
"""The scenario of a failure whose cause is not known."""

Rows: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Failures:
    """Images that a network gets wrong, one row each.

    Args:
        images: As the network takes them, of shape (failures, channels, height, width).
        labels: What is right.
        scores: What the network says, of shape (failures, classes).
        names: Of each image, such as its file.
        recorded: Parameters of each image by name: numbers or words.
        scenarios: The known cause of each or ``UNKNOWN``; None if nothing is known.
        observed: Tables by name, a row of finite numbers for each: what was seen of an
            inference that the image alone does not tell, such as one under a fault.
    """

    images: Tensor
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    names: tuple[str, ...]
    recorded: Mapping[str, Rows]
    scenarios: NDArray[np.str_] | None = None
    observed: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns: dict[str, Sized] = {
            "images": self.images,
            "labels": self.labels,
            "names": self.names,
        }
        columns |= {f"recorded {name}": own for name, own in self.recorded.items()}
        columns |= {f"observed {name}": own for name, own in self.observed.items()}
        columns |= {} if self.scenarios is None else {"scenarios": self.scenarios}
        for name, column in columns.items():
            if len(column) != len(self.scores):
                raise ValueError(
                    f"{name} must have one row for each of the {len(self.scores)} "
                    f"failures, got {len(column)}"
                )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class that the network names."""
        return np.asarray(self.scores.argmax(1))

    def rows(self, picked: Rows | Sequence[int]) -> Failures:
        """Return some of them, by place or by a mask."""
        places = np.arange(len(self))[np.asarray(picked)]
        return replace(
            self,
            images=self.images[places],
            labels=self.labels[places],
            scores=self.scores[places],
            names=tuple(self.names[place] for place in places),
            recorded={name: own[places] for name, own in self.recorded.items()},
            scenarios=None if self.scenarios is None else self.scenarios[places],
            observed={name: own[places] for name, own in self.observed.items()},
        )


@dataclass(frozen=True, eq=False)
class Examples:
    """Images that a network was made for, to learn features from; no failures.

    Args:
        images: As the network takes them.
        labels: What is right.
    """

    images: Tensor
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Inquiry:
    """What is asked about: a network, its failures, and what it was made for.

    Args:
        network: In evaluation mode; never changed.
        failures: To be told apart.
        examples: Of the same network and kind of images.
        black: The number that means no light, by channel.
        white: The number that means most light, by channel.
        classes: Names of the classes; empty if they have none.
    """

    network: nn.Module
    failures: Failures
    examples: Examples
    black: Tensor
    white: Tensor
    classes: tuple[str, ...] = ()

    def pictures(self, images: Tensor) -> Tensor:
        """Return images as they are seen, between 0 (black) and 1 (white)."""
        black, white = (each.reshape(1, -1, 1, 1) for each in (self.black, self.white))
        return ((images - black) / (white - black)).clamp(0, 1)
