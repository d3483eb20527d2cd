"""From a table of scenes to pictures: flat colours with smooth edges."""

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.blindspots.scenes import Scenes

__all__ = ["SIZE", "render"]

SIZE = 32
"""Width and height of a picture, in pixels."""

Plane = Float64[Tensor, "scene size size"]
Column = Float64[Tensor, "scene 1 1"]

_CHUNK = 256
_COLOURS = (
    (0.85, 0.15, 0.15),
    (0.15, 0.65, 0.25),
    (0.20, 0.35, 0.90),
    (0.90, 0.80, 0.15),
)
_LIGHT, _DARK = 0.75, 0.22
_NOISE = 0.02


def render(scenes: Scenes) -> Float32[Tensor, "scene 3 size size"]:
    """Render one picture in 0..1 for each row; the rows do not affect each other."""
    starts = range(0, len(scenes), _CHUNK)
    parts = [_painted(scenes.rows(slice(at, at + _CHUNK))) for at in starts]
    return torch.cat(parts)


def _painted(scenes: Scenes) -> Float32[Tensor, "scene 3 size size"]:
    pixel = (2 * torch.arange(SIZE, dtype=torch.float64) + 1) / SIZE - 1
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    middle_x, middle_y, radius = _places(scenes)
    view = _backdrop(scenes, x, y)[:, None].expand(-1, 3, -1, -1)
    ball = _inside(0.14 - torch.hypot(x + middle_x, y + 0.6 * middle_y))
    there = ball * (scenes.values["beside"] == 1)[:, None, None]
    view = view + there[:, None] * (0.95 - view)
    shape = _shape(scenes.values["shape"], x - middle_x, y - middle_y, radius)
    view = view + shape[:, None] * (_surface(scenes, x, y) - view)
    noise = _NOISE * chance.bell(scenes.seed, "noise of pixels", 3, SIZE, SIZE)
    return ((view + noise).clamp(0, 1) * 255).round().float() / 255


def _places(scenes: Scenes) -> tuple[Column, Column, Column]:
    """Return the middle and the radius of each shape."""

    def varied(name: str, middle: Tensor, by: float) -> Column:
        off = chance.between(scenes.seed, f"exact {name}", -by, by)
        return (middle + off)[:, None, None]

    side, height = scenes.values["side"] - 0.5, scenes.values["height"] - 0.5
    return (
        varied("side", 0.9 * side.double(), 0.1),
        varied("height", 0.9 * height.double(), 0.1),
        varied("size", 0.26 + 0.16 * scenes.values["size"].double(), 0.03),
    )


def _backdrop(scenes: Scenes, x: Tensor, y: Tensor) -> Plane:
    dark = (scenes.values["backdrop"] == 1)[:, None, None]
    level = torch.where(dark, _DARK, _LIGHT)
    level = (
        level
        + chance.between(scenes.seed, "exact backdrop", -0.08, 0.08)[:, None, None]
    )
    fields = ((x * 4).floor() + (y * 4).floor()) % 2 - 0.5
    return level + 0.2 * fields * (scenes.values["pattern"] == 1)[:, None, None]


def _surface(scenes: Scenes, x: Tensor, y: Tensor) -> Float64[Tensor, "scene 3 s s"]:
    """Return the colour of a shape, everywhere."""
    colour = torch.tensor(_COLOURS, dtype=torch.float64)[scenes.values["colour"]]
    colour = colour + 0.1 * (chance.uniform(scenes.seed, "exact colour", 3) - 0.5)
    stripes = ((x + y) * 6).floor() % 2 * (scenes.values["texture"] == 1)[:, None, None]
    return colour[:, :, None, None] * (1 - 0.6 * stripes)[:, None]


def _shape(which: Int64[Tensor, " scene"], x: Plane, y: Plane, radius: Column) -> Plane:
    """Return how much of each pixel is covered by its shape."""
    across, along = x.abs(), y.abs()
    bars = torch.minimum(across, along) - 0.3 * radius
    distances = (
        radius - torch.hypot(x, y),
        0.85 * radius - torch.maximum(across, along),
        torch.minimum(0.8 * radius - y, (radius + y - 1.8 * across) / 2.06),
        -torch.maximum(torch.maximum(across, along) - radius, bars),
    )
    stacked = torch.stack(distances)
    return _inside(stacked[which, torch.arange(len(which))])


def _inside(distance: Plane) -> Plane:
    return (0.5 + distance * SIZE / 2).clamp(0, 1)
