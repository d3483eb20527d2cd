"""What is behind the signs: soft, cloudy walls and skies made from a seed."""

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from stoic.cases import chance

__all__ = ["backdrops", "clouds"]

_OCTAVES = (3, 6, 12, 24)
_WALLS = 4


def backdrops(
    seeds: Int64[Tensor, " scene"], size: int
) -> Float64[Tensor, "scene 3 size size"]:
    """Make one background for each seed."""
    view = _blend(clouds(seeds, "clouds", size), *_colours(seeds, "clouds", 2))
    walls = _colours(seeds, "walls", _WALLS)
    for wall, place in zip(walls, _rectangles(seeds, size), strict=True):
        view = _blend(place, wall, view)
    return view * (0.6 + 0.6 * clouds(seeds, "shades", size))


def _blend(
    share: Float64[Tensor, "scene 1 size size"],
    front: Float64[Tensor, "scene 3 _ _"],
    back: Float64[Tensor, "scene 3 _ _"],
) -> Float64[Tensor, "scene 3 size size"]:
    return share * front + (1 - share) * back


def clouds(
    seeds: Int64[Tensor, " scene"], name: str, size: int
) -> Float64[Tensor, "scene 1 size size"]:
    """Add up ever finer random grids, each half as strong as the one before: 0..1."""
    total = torch.zeros(len(seeds), 1, size, size, dtype=torch.float64)
    for octave, cells in enumerate(_OCTAVES):
        grid = chance.uniform(seeds, f"{name} {cells}", 1, cells, cells)
        smooth = F.interpolate(grid, (size, size), mode="bilinear", align_corners=True)
        total += smooth / 2 ** (octave + 1)
    # The sum stays near its middle: stretch it, and let the ends saturate.
    return (2 * total - 0.5).clamp(0, 1)


def _colours(
    seeds: Int64[Tensor, " scene"], name: str, count: int
) -> tuple[Float64[Tensor, "scene 3 1 1"], ...]:
    """Draw muted colours: a lightness, with a little of a random hue."""
    lightness = 0.05 + 0.8 * chance.uniform(seeds, f"{name} lightness", count, 1)
    hue = chance.uniform(seeds, f"{name} hue", count, 3) - 0.5
    colour = (lightness + 0.5 * hue).clamp(0, 1)
    return colour[..., None, None].unbind(1)


def _rectangles(
    seeds: Int64[Tensor, " scene"], size: int
) -> tuple[Float64[Tensor, "scene 1 size size"], ...]:
    """Place a few upright rectangles, some of them half transparent."""
    edges = chance.uniform(seeds, "wall edges", _WALLS, 2, 2).sort(dim=-1).values
    strength = chance.uniform(seeds, "wall strength", _WALLS, 1, 1)
    pixel = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    after = ((pixel - edges[..., :1]) * size).clamp(0, 1)
    before = ((edges[..., 1:] - pixel) * size).clamp(0, 1)
    inside = after * before
    place = strength * inside[:, :, 1, :, None] * inside[:, :, 0, None, :]
    return place[:, :, None].unbind(1)
