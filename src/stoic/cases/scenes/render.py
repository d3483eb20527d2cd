"""The camera of the scenes: from a table to pictures, a few milliseconds each.

As in the case ``signs``, all work is done in double precision and rounded to 8 bits.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.scenes.layout import SIZE, Placed, Scenes
from stoic.cases.signs import camera
from stoic.cases.signs.art import load_art
from stoic.cases.signs.backdrop import backdrops

__all__ = ["WINDOW", "render"]

WINDOW = 64
"""Width and height of the piece of a picture that one sign is painted in."""

_COARSER = 2
_CHUNK = 32
_MARGIN = WINDOW // 2

Picture = Float64[Tensor, "scene 3 size size"]


def render(scenes: Scenes) -> Float32[Tensor, "scene 3 size size"]:
    """Render one picture in 0..1 for each scene; they do not affect each other."""
    return torch.cat([_photograph(part) for part in scenes.split(_CHUNK)])


def _photograph(scenes: Scenes) -> Float32[Tensor, "scene 3 size size"]:
    coarse = backdrops(scenes.seed, SIZE // _COARSER)
    view = F.interpolate(coarse, (SIZE, SIZE), mode="bilinear", align_corners=False)
    view = _with_signs(view, scenes)
    glare = scenes.glare[:, None, None, None]
    view = view * scenes.gain[:, None, None, None] * (1 - glare) + glare
    # The noise is one of brightness, the same for all three colours.
    noise = chance.bell(scenes.seed, "noise of pixels", 1, SIZE, SIZE)
    exposed = view + noise * scenes.noise[:, None, None, None]
    return (exposed.clamp(0, 1) * 255).round().float() / 255


def _with_signs(view: Picture, scenes: Scenes) -> Picture:
    """Paint each sign into its window, on a view with a margin all around."""
    signs = scenes.signs
    wide = F.pad(view, (_MARGIN,) * 4)
    corner = _corners(signs)
    painted = _blurred(_painted(signs, corner), scenes.blur[signs.scene])
    places = zip(signs.scene.tolist(), corner.tolist(), painted, strict=True)
    for scene, (left, top), sign in places:
        left, top = left + _MARGIN, top + _MARGIN
        piece = wide[scene, :, top : top + WINDOW, left : left + WINDOW]
        piece *= 1 - sign[3:]
        piece += sign[:3]
    return wide[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _corners(signs: Placed) -> Int64[Tensor, "sign 2"]:
    """Return left and top of the windows, in whole pixels of the picture."""
    centre = (torch.stack([signs.shift_x, signs.shift_y], dim=1) + 1) * SIZE / 2
    return (centre - WINDOW / 2).round().long()


def _painted(
    signs: Placed, corner: Int64[Tensor, "sign 2"]
) -> Float64[Tensor, "sign 4 window window"]:
    """Return colours times opacity, and opacity, of each sign in its window."""
    step = torch.arange(WINDOW, dtype=torch.float64) + 0.5
    x = (corner[:, :1] + step) * 2 / SIZE - 1
    y = (corner[:, 1:] + step) * 2 / SIZE - 1
    x = x[:, None, :].expand(-1, WINDOW, -1).flatten(1)
    y = y[:, :, None].expand(-1, -1, WINDOW).flatten(1)
    places = camera.seen(camera.pose(signs), x, y).unflatten(1, (WINDOW, WINDOW))
    return F.grid_sample(_small_art()[signs.sign], places, align_corners=False)


def _blurred(
    painted: Float64[Tensor, "sign 4 window window"], blur: Float64[Tensor, " sign"]
) -> Float64[Tensor, "sign 4 window window"]:
    """Average each row and column with weights of a bell curve."""
    pixel = torch.arange(WINDOW, dtype=torch.float64)
    apart = pixel[:, None] - pixel[None, :]
    weights = torch.exp(-(apart**2) / (2 * blur[:, None, None] ** 2))
    average = (weights / weights.sum(dim=2, keepdim=True))[:, None]
    return average @ painted @ average.transpose(2, 3)


@cache
def _small_art() -> Float64[Tensor, "sign rgba tile tile"]:
    """Return the artwork at about the size at which it is seen, so as not to alias."""
    return F.avg_pool2d(load_art(), _COARSER)
