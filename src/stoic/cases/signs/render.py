"""The camera: from a table of scenes to pictures.

All work is done in double precision and rounded to 8 bits at the end, as in a camera.
Machines differ in the last bits of their sines and sums, but then agree on the picture.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.signs import camera
from stoic.cases.signs.art import load_art
from stoic.cases.signs.backdrop import backdrops
from stoic.cases.signs.scenes import Scenes

__all__ = ["SIZE", "render"]

SIZE = 48
"""Width and height of a picture that the network reads, in pixels."""

Picture = Float64[Tensor, "scene 3 size size"]
Planes = Float64[Tensor, "scene 4 size size"]

_FINER = 2
_CHUNK = 64


def render(scenes: Scenes, *, size: int = SIZE) -> Float32[Tensor, "scene 3 size size"]:
    """Render one picture in 0..1 for each row; the rows do not affect each other."""
    return torch.cat([_photograph(part, size) for part in scenes.split(_CHUNK)])


def _photograph(scenes: Scenes, size: int) -> Float32[Tensor, "scene 3 size size"]:
    view = backdrops(scenes.seed, size)
    view = _with_sign(view, scenes)
    view = _with_occluder(view, scenes)
    view = _lit(view, scenes)
    view = _blurred(view, scenes)
    return _sensed(view, scenes)


def _with_sign(view: Picture, scenes: Scenes) -> Picture:
    """Put the sign before the background, seen finer and then averaged."""
    size = view.shape[-1]
    places = _on_sign(scenes, _FINER * size)
    art = load_art()[scenes.sign]
    sign: Planes = F.avg_pool2d(F.grid_sample(art, places, align_corners=False), _FINER)
    return sign[:, :3] + (1 - sign[:, 3:]) * view


def _on_sign(scenes: Scenes, size: int) -> Float64[Tensor, "scene size size 2"]:
    """Say which place of the sign each pixel sees, in halves of the sign's width."""
    pixel = _pixels(size)
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    places = camera.seen(camera.pose(scenes), x.reshape(1, -1), y.reshape(1, -1))
    return places.view(len(scenes), size, size, 2)


def _with_occluder(view: Picture, scenes: Scenes) -> Picture:
    """Put a dark disc of one colour before the sign."""
    size = view.shape[-1]
    pixel = _pixels(size)
    across = pixel - scenes.occluder_x[:, None]
    along = pixel - scenes.occluder_y[:, None]
    distance = torch.hypot(along[:, None, :, None], across[:, None, None, :])
    inside = (_each(scenes.occlusion) - distance) * size / 2
    disc = inside.clamp(0, 1)
    colour = 0.1 + 0.3 * chance.uniform(scenes.seed, "occluder", 3, 1, 1)
    return disc * colour + (1 - disc) * view


def _lit(view: Picture, scenes: Scenes) -> Picture:
    glare = _each(scenes.glare)
    return view * _each(scenes.gain) * (1 - glare) + glare


def _blurred(view: Picture, scenes: Scenes) -> Picture:
    """Average each row and column with weights of a bell curve."""
    size = view.shape[-1]
    pixel = torch.arange(size, dtype=torch.float64)
    apart = (pixel[:, None] - pixel[None, :]) * SIZE / size
    width = scenes.blur.clamp(min=0.05)[:, None, None]
    weights = torch.exp(-(apart**2) / (2 * width**2))
    average = (weights / weights.sum(dim=2, keepdim=True))[:, None]
    return average @ view @ average.transpose(2, 3)


def _sensed(view: Picture, scenes: Scenes) -> Float32[Tensor, "scene 3 size size"]:
    """Add the sensor's noise and round to its 256 levels."""
    noise = chance.bell(scenes.seed, "noise of pixels", *view.shape[1:])
    exposed = (view + noise * _each(scenes.noise)).clamp(0, 1)
    return (exposed * 255).round().float() / 255


def _pixels(size: int) -> Float64[Tensor, " size"]:
    """Return the centres of the pixels of a line, from -1 to 1."""
    return (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1


def _each(values: Float64[Tensor, " scene"]) -> Float64[Tensor, "scene 1 1 1"]:
    return values[:, None, None, None]
