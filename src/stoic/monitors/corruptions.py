"""Corruptions of images: what a lens, the light or a cable does to an input.

Each takes images between 0 and 1 and keeps them there, and has one strength, from 0
for none. Chance comes from a seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stoic.network.subject import Inputs

__all__ = [
    "BY_NAME",
    "CORRUPTIONS",
    "UNSEEN",
    "Corruption",
    "Pixels",
    "has_flat",
    "is_image",
    "pixels_of",
]


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image.

    Args:
        name: What it is called.
        most: Largest strength that makes sense.
        apply: From images of shape ``(inputs, channels, height, width)`` between 0 and
            1, a strength and a seed to images between 0 and 1.
    """

    name: str
    most: float
    apply: Callable[[Tensor, float, int], Tensor]

    def check(self, strength: float) -> None:
        """Refuse a strength that makes no sense.

        Raises:
            ValueError: It is below 0, above the most, or no number.
        """
        if not 0 <= strength <= self.most:
            raise ValueError(
                f"strength of {self.name} must be in 0..{self.most:g}, got "
                f"{strength:g}; give one of these"
            )


def _noise(images: Tensor, strength: float, seed: int) -> Tensor:
    """Add Gaussian noise of such a standard deviation."""
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=chance).to(images)
    return images + strength * noise


def _blur(images: Tensor, strength: float, seed: int) -> Tensor:
    """Blur by a Gaussian of such a standard deviation, in pixels."""
    if strength <= 0:
        return images
    reach = min(math.ceil(3 * strength), min(images.shape[-2:]) - 1)
    spots = torch.arange(-reach, reach + 1).to(images)
    kernel = torch.softmax(-(spots**2) / (2 * strength**2), 0)
    channels = images.shape[1]
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    for shape in ((1, 1, 1, -1), (1, 1, -1, 1)):
        weight = kernel.reshape(shape).expand(channels, -1, -1, -1)
        padded = functional.conv2d(padded, weight, groups=channels)
    return padded


def _contrast(images: Tensor, strength: float, seed: int) -> Tensor:
    """Draw all numbers of an image towards its mean."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (1 - strength) * (images - mean)


def _darkness(images: Tensor, strength: float, seed: int) -> Tensor:
    """Take light away."""
    return images * (1 - strength)


def _pixelation(images: Tensor, strength: float, seed: int) -> Tensor:
    """Average over squares of such a side, in pixels."""
    height, width = images.shape[-2:]
    side = 1 + strength
    size = (max(round(height / side), 1), max(round(width / side), 1))
    small = functional.interpolate(images, size, mode="area")
    return functional.interpolate(small, (height, width), mode="nearest")


def _specks(images: Tensor, strength: float, seed: int) -> Tensor:
    """Turn such a part of all pixels black or white."""
    chance = torch.Generator().manual_seed(seed)
    draws = torch.rand((len(images), 1, *images.shape[2:]), generator=chance)
    draws = draws.to(images)
    black, white = draws < strength / 2, draws > 1 - strength / 2
    return images.masked_fill(black, 0.0).masked_fill(white, 1.0)


CORRUPTIONS = (
    Corruption("noise", 4.0, _noise),
    Corruption("blur", 32.0, _blur),
    Corruption("contrast", 1.0, _contrast),
)
UNSEEN = (
    Corruption("darkness", 1.0, _darkness),
    Corruption("pixelation", 63.0, _pixelation),
    Corruption("specks", 1.0, _specks),
)
"""Kinds that monitors are tried on, but do not learn from unless they are told to."""

BY_NAME = {kind.name: kind for kind in (*CORRUPTIONS, *UNSEEN)}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Which numbers of a network's input mean black and white.

    Args:
        black: By channel.
        white: By channel.
    """

    black: Tensor
    white: Tensor

    def as_record(self) -> dict[str, list[float]]:
        """Return plain data that a person can read, and `Pixels.of_record`."""
        return {"black": self.black.tolist(), "white": self.white.tolist()}

    @classmethod
    def of_record(cls, record: dict[str, list[float]]) -> Pixels:
        """Return the range that was recorded."""
        return cls(torch.tensor(record["black"]), torch.tensor(record["white"]))

    def on(
        self, inputs: Inputs, corruption: Corruption, strength: float, seed: int
    ) -> Inputs:
        """Return inputs of which the first that is an image is corrupted."""
        leaves = inputs.leaves
        place = next(i for i, leaf in enumerate(leaves) if is_image(leaf))
        leaves[place] = self.corrupted(leaves[place], corruption, strength, seed)
        return inputs.with_leaves(leaves)

    def corrupted(
        self, inputs: Tensor, corruption: Corruption, strength: float, seed: int
    ) -> Tensor:
        """Return corrupted inputs, within the range of pixels.

        Raises:
            ValueError: The strength is none of this corruption.
        """
        corruption.check(strength)
        black, span = self._shaped(self.black), self._shaped(self.white - self.black)
        images = ((inputs - black) / span).clamp(0, 1)
        spoilt = corruption.apply(images, strength, seed).clamp(0, 1)
        return (black + span * spoilt).to(inputs.dtype)

    @staticmethod
    def _shaped(each: Tensor) -> Tensor:
        return each.reshape(1, -1, 1, 1)


def is_image(leaf: Any) -> bool:
    """Say whether an input has the shape of images."""
    return isinstance(leaf, Tensor) and leaf.dim() == 4


def has_flat(images: Tensor) -> bool:
    """Say whether a channel of images never changes."""
    return bool((images.amin((0, 2, 3)) == images.amax((0, 2, 3))).any())


def pixels_of(inputs: Tensor) -> Pixels:
    """Return the range of each channel over all inputs.

    Raises:
        ValueError: The inputs are no images, or a channel never changes.
    """
    if inputs.dim() != 4 or not inputs.is_floating_point():
        raise ValueError(
            "inputs to corrupt must be images of shape (inputs, channels, height, "
            f"width), got {tuple(inputs.shape)} of {inputs.dtype}"
        )
    black, white = inputs.amin((0, 2, 3)), inputs.amax((0, 2, 3))
    if has_flat(inputs):
        raise ValueError(
            "every channel of the images must have more than one value, got a channel "
            f"of {float(black[black == white][0]):g} only; leave it out, or have "
            "nothing corrupted: --kinds memory"
        )
    return Pixels(black, white)
