"""What is in the pictures: one shape before a backdrop, by attributes in words.

Every attribute of a scene is drawn from its seed, all values being equally likely.

References:
    Plumb, Johnson, Cabrera and Talwalkar, Towards a more rigorous science of blindspot
    discovery in image classification models, 2023: blind spots that are planted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases import chance

__all__ = ["ATTRIBUTES", "SHAPES", "Scenes", "draw"]

SHAPES = ("circle", "square", "triangle", "cross")
"""What the network names."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": ("red", "green", "blue", "yellow"),
    "texture": ("solid", "striped"),
    "size": ("small", "large"),
    "side": ("left", "right"),
    "height": ("top", "bottom"),
    "backdrop": ("light", "dark"),
    "pattern": ("plain", "checked"),
    "beside": ("nothing", "ball"),
}
"""What can be said of a scene; no word stands for two things."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """A table of scenes, one row each.

    Args:
        seed: Draws every attribute, and where exactly everything is.
        values: The place of its word, by attribute.
    """

    seed: Int64[Tensor, " scene"]
    values: Mapping[str, Int64[Tensor, " scene"]]

    def __len__(self) -> int:
        return len(self.seed)

    def rows(self, index: slice | Tensor) -> "Scenes":
        """Return the table of the rows that ``index`` picks."""
        values = {name: column[index] for name, column in self.values.items()}
        return Scenes(self.seed[index], values)

    def words(self) -> dict[str, NDArray[Any]]:
        """Return the words for each scene, by attribute."""
        return {
            name: np.array(ATTRIBUTES[name])[column.numpy()]
            for name, column in self.values.items()
        }


def draw(count: int, series: int) -> Scenes:
    """Draw the first ``count`` scenes of a series."""
    seed = chance.seeds(count, seed=series)
    values = {
        name: (len(words) * chance.uniform(seed, name)).long()
        for name, words in ATTRIBUTES.items()
    }
    return Scenes(seed, values)
