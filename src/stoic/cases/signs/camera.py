"""The pinhole camera: where a flat sign appears, and what each pixel sees of it.

Lengths in a picture are in halves of its width, from -1 to 1; those on a sign are in
halves of the sign's width.
"""

from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

__all__ = ["Posed", "appearing", "pose", "seen"]

_FOCUS = 2.5


class Posed(Protocol):
    """A table of signs before the camera, one row each; angles are in degrees."""

    @property
    def roll(self) -> Float64[Tensor, " sign"]:
        """Turn of the sign in its own plane."""
        ...

    @property
    def yaw(self) -> Float64[Tensor, " sign"]:
        """Turn about the vertical axis."""
        ...

    @property
    def pitch(self) -> Float64[Tensor, " sign"]:
        """Turn about the horizontal axis."""
        ...

    @property
    def scale(self) -> Float64[Tensor, " sign"]:
        """Half the width of the sign, facing the camera."""
        ...

    @property
    def shift_x(self) -> Float64[Tensor, " sign"]:
        """Centre of the sign, to the right."""
        ...

    @property
    def shift_y(self) -> Float64[Tensor, " sign"]:
        """Centre of the sign, downwards."""
        ...


def pose(signs: Posed) -> Float64[Tensor, "sign 3 3"]:
    """Map a place (u, v, 1) of each sign to where it is before the camera."""
    turn = _turn(signs.yaw, (2, 0)) @ _turn(signs.pitch, (1, 2))
    turn = turn @ _turn(signs.roll, (0, 1))
    # The farther away, the farther from the axis is what is seen at one place.
    right, down = signs.shift_x / signs.scale, signs.shift_y / signs.scale
    centre = torch.stack([right, down, _FOCUS / signs.scale], dim=1)
    return torch.stack([turn[..., 0], turn[..., 1], centre], dim=2)


def seen(
    pose: Float64[Tensor, "sign 3 3"],
    x: Float64[Tensor, "rays place"],
    y: Float64[Tensor, "rays place"],
) -> Float64[Tensor, "sign place 2"]:
    """Say which place of its sign is seen at each place of the picture.

    Args:
        pose: Of each sign.
        x: To the right in the picture; one row for all signs or one for each.
        y: Downwards.
    """
    rays = torch.stack([x / _FOCUS, y / _FOCUS, torch.ones_like(x)], dim=-1)
    hit = rays @ torch.linalg.inv(pose).transpose(1, 2)
    # Beyond the sign's horizon a ray never meets it: send it far away.
    places: Tensor = hit[..., :2] / hit[..., 2:].clamp(min=1e-4)
    return places


def appearing(
    pose: Float64[Tensor, "sign 3 3"], places: Float64[Tensor, "sign place 2"]
) -> Float64[Tensor, "sign place 2"]:
    """Say where in the picture places of each sign appear: the reverse of `seen`."""
    ones = torch.ones_like(places[..., :1])
    there = torch.cat([places, ones], dim=-1) @ pose.transpose(1, 2)
    return there[..., :2] * _FOCUS / there[..., 2:]


def _turn(
    degrees: Float64[Tensor, " sign"], plane: tuple[int, int]
) -> Float64[Tensor, "sign 3 3"]:
    """Make rotations by ``degrees`` from the first axis of ``plane`` to the second."""
    first, second = plane
    angle = degrees.deg2rad()
    turn = torch.eye(3, dtype=torch.float64).repeat(len(degrees), 1, 1)
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, second, first] = angle.sin()
    turn[:, first, second] = -angle.sin()
    return turn
