"""Fashion-MNIST: pictures of clothes, 28×28 grey pixels, in ten classes.

References:
    Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms, 2017.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from stoic.cases.fashion.files import FILES, opened

__all__ = ["CLASSES", "HELD_OUT", "VALIDATION", "Clothes", "held_out", "learned"]

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
HELD_OUT = 10_000
"""How many pictures the networks never learn from."""

VALIDATION = 5_000
"""How many of the 60,000 pictures to learn from are left for choices on the way."""

_SIDE = 28
_PICTURES_START, _LABELS_START = 16, 8


class Clothes(NamedTuple):
    """Pictures in 0..1 and the classes they show."""

    pictures: Float32[Tensor, "piece 1 28 28"]
    labels: Int64[Tensor, " piece"]

    def part(self, start: int | None, stop: int | None) -> "Clothes":
        """Return some of them."""
        return Clothes(self.pictures[start:stop], self.labels[start:stop])


def learned() -> Clothes:
    """Return the pictures to learn from; the last 5,000 serve for validation.

    Raises:
        CaseError: The data has not been fetched, or is not the pinned one.
    """
    return _clothes("learned")


def held_out() -> Clothes:
    """Return the pictures that no network has learned from or was chosen by.

    Raises:
        CaseError: The data has not been fetched, or is not the pinned one.
    """
    return _clothes("held-out")


def _clothes(which: str) -> Clothes:
    pictures = _bytes(f"{which} pictures", _PICTURES_START).view(-1, 1, _SIDE, _SIDE)
    labels = _bytes(f"{which} labels", _LABELS_START)
    return Clothes(pictures.float() / 255, labels.long())


def _bytes(name: str, start: int) -> Tensor:
    """Return what follows the header of a file."""
    content = np.frombuffer(opened(FILES[name]), np.uint8, offset=start)
    return torch.from_numpy(content.copy())
