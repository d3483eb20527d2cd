"""The camera: from a table of scenes to pictures of eyes.

An eye is painted from back to front: skin, brow, white, iris, pupil, lid; then comes
what is before it, then light, lens and sensor. As in the case ``signs``, all work is
done in double precision and rounded to 8 bits.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.afflicted.table import Table
from stoic.cases.signs.backdrop import clouds

__all__ = ["SIZE", "render"]

SIZE = 48
"""Width and height of a picture, in pixels."""

Picture = Float64[Tensor, "scene 3 size size"]
Plane = Float64[Tensor, "scene 1 size size"]

_FINER = 2
_CHUNK = 64
_CORNER = 0.78
_UPPER, _LOWER = 0.44, 0.34
_LOOK_X, _LOOK_Y = 0.34, 0.2
_SKIN = ((0.30, 0.19, 0.14), (0.95, 0.76, 0.66))
_IRIS = ((0.30, 0.48, 0.62), (0.34, 0.20, 0.10))
_WHITE = (0.93, 0.91, 0.89)
_HAIR = (0.10, 0.07, 0.06)
_RIM = (0.12, 0.12, 0.15)


def render(scenes: Table) -> Float32[Tensor, "scene 3 size size"]:
    """Render one picture in 0..1 for each row; the rows do not affect each other."""
    starts = range(0, len(scenes), _CHUNK)
    parts = (scenes.rows(slice(start, start + _CHUNK)) for start in starts)
    return torch.cat([_photograph(part) for part in parts])


def _photograph(scenes: Table) -> Float32[Tensor, "scene 3 size size"]:
    x, y = _eye_places(scenes)
    view = _face(scenes, x, y)
    view = _with_eye(view, scenes, x, y)
    view = _with_spectacles(view, scenes, x, y)
    view = F.avg_pool2d(_lit(view, scenes), _FINER)
    return _sensed(_blurred(view, scenes), scenes)


def _eye_places(scenes: Table) -> tuple[Plane, Plane]:
    """Say which place of the eye each fine pixel sees."""
    across = _pixels().view(1, 1, 1, -1) - _each(scenes["shift_x"])
    along = _pixels().view(1, 1, -1, 1) - _each(scenes["shift_y"])
    angle, scale = _each(scenes["roll"]).deg2rad(), _each(scenes["scale"])
    x = (across * angle.cos() + along * angle.sin()) / scale
    y = (along * angle.cos() - across * angle.sin()) / scale
    return x, y


def _face(scenes: Table, x: Plane, y: Plane) -> Picture:
    """Paint skin of one tone, a little cloudy, and a brow."""
    tone = _mixed(_SKIN, scenes["skin"])
    view = tone * (0.8 + 0.3 * clouds(scenes.seed, "skin", len(_pixels())))
    arch = _each(scenes["brow"]) - 0.18 * (x / 0.9) ** 2
    width = 0.1 - 0.05 * (x / 0.9) ** 2
    brow = _inside(width - (y + arch).abs()) * _inside(0.85 - x.abs())
    return _over(view, 0.85 * brow, _colour(_HAIR))


def _with_eye(view: Picture, scenes: Table, x: Plane, y: Plane) -> Picture:
    """Paint the eyeball where the lids leave it free, and the edge of the upper lid."""
    arch = (1 - (x / _CORNER) ** 2).clamp(min=0)
    opening = _each(scenes["opening"])
    upper, lower = -_UPPER * opening * arch.sqrt(), _LOWER * opening * arch
    ball = _ball(scenes, x, y) * (0.65 + 0.35 * ((y - upper) / 0.2).clamp(0, 1))
    free = _inside(torch.minimum(y - upper, lower - y)) * _inside(_CORNER - x.abs())
    view = _over(view, free, ball)
    lash = _inside(0.045 - (y - upper).abs()) * _inside(_CORNER - x.abs())
    return _over(view, 0.9 * lash, _colour(_HAIR))


def _ball(scenes: Table, x: Plane, y: Plane) -> Picture:
    """Paint white, iris and pupil, turned to where the eye looks."""
    look_x, look_y = _look(scenes)
    distance = torch.hypot(x - look_x, y - look_y)
    iris, pupil = _each(scenes["iris"]), _each(scenes["pupil"])
    ball = _colour(_WHITE).expand(len(scenes), 3, *x.shape[2:])
    # The rim of an iris is darker than its middle.
    shade = 1 - 0.6 * (distance / iris).clamp(0, 1) ** 6
    ball = _over(ball, _inside(iris - distance), _mixed(_IRIS, scenes["brown"]) * shade)
    ball = _over(ball, _inside(iris * pupil - distance), _colour((0.0,) * 3))
    glint = torch.hypot(x - look_x + 0.08, y - look_y + 0.08)
    return _over(ball, 0.9 * _inside(0.05 - glint), _colour((1.0,) * 3))


def _look(scenes: Table) -> tuple[Plane, Plane]:
    """Say where the middle of the iris is."""
    ahead = scenes.label == 0
    angle = (45.0 * (scenes.label - 1) + scenes["wander"]).deg2rad()
    # An eye that looks straight ahead still strays a little, anywhere.
    stray = chance.uniform(scenes.seed, "stray")
    angle = torch.where(ahead, 2 * torch.pi * stray, angle)
    reach = torch.where(ahead, 0.2 * (scenes["reach"] - 0.5), scenes["reach"])
    return _each(_LOOK_X * reach * angle.cos()), _each(_LOOK_Y * reach * angle.sin())


def _with_spectacles(view: Picture, scenes: Table, x: Plane, y: Plane) -> Picture:
    """Put a rim before the eye, if any, and a reflection on the lens."""
    bow = _each(scenes["rim_y"]) + 0.12 * x**2
    view = _over(view, _inside(_each(scenes["rim"]) - (y - bow).abs()), _colour(_RIM))
    across, along = x - _each(scenes["reflection_x"]), y - _each(scenes["reflection_y"])
    spot = _each(scenes["reflection"]) - torch.hypot(across, along)
    return _over(view, 0.95 * (spot / 0.1).clamp(0, 1), _colour((1.0,) * 3))


def _lit(view: Picture, scenes: Table) -> Picture:
    """Darken the side that is turned away from the light, and all by one factor."""
    angle = _each(scenes["shadow_from"]).deg2rad()
    across, along = _pixels().view(1, 1, 1, -1), _pixels().view(1, 1, -1, 1)
    away = 0.5 + 1.2 * (across * angle.cos() + along * angle.sin())
    lit = 1 - _each(scenes["shadow"]) * away.clamp(0, 1)
    return (view * lit * _each(scenes["gain"])).clamp(0, 1)


def _blurred(view: Picture, scenes: Table) -> Picture:
    """Average each row and column with weights of a bell curve."""
    pixel = torch.arange(view.shape[-1], dtype=torch.float64)
    apart = pixel[:, None] - pixel[None, :]
    width = scenes["blur"].clamp(min=0.05)[:, None, None]
    weights = torch.exp(-(apart**2) / (2 * width**2))
    average = (weights / weights.sum(dim=2, keepdim=True))[:, None]
    return average @ view @ average.transpose(2, 3)


def _sensed(view: Picture, scenes: Table) -> Float32[Tensor, "scene 3 size size"]:
    """Add the sensor's noise and round to its 256 levels."""
    noise = chance.bell(scenes.seed, "noise of pixels", *view.shape[1:])
    exposed = (view + noise * _each(scenes["noise"])).clamp(0, 1)
    return (exposed * 255).round().float() / 255


def _pixels() -> Float64[Tensor, " size"]:
    """Return the centres of the fine pixels of a line, from -1 to 1."""
    size = _FINER * SIZE
    return (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1


def _inside(distance: Plane) -> Plane:
    """Return how much of a pixel lies inside an edge that is so far away."""
    return (0.5 + distance * _FINER * SIZE / 2).clamp(0, 1)


def _over(back: Picture, share: Plane, front: Float64[Tensor, "_ _ _ _"]) -> Picture:
    return share * front + (1 - share) * back


def _mixed(
    ends: tuple[tuple[float, ...], tuple[float, ...]],
    share: Float64[Tensor, " scene"],
) -> Float64[Tensor, "scene 3 1 1"]:
    """Return a colour between two, for each scene."""
    first, second = _colour(ends[0]), _colour(ends[1])
    return first + _each(share) * (second - first)


def _colour(levels: tuple[float, ...]) -> Float64[Tensor, "1 3 1 1"]:
    return torch.tensor(levels, dtype=torch.float64).view(1, 3, 1, 1)


def _each(values: Float64[Tensor, " scene"]) -> Float64[Tensor, "scene 1 1 1"]:
    return values[:, None, None, None]
