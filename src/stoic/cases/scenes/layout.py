"""What is in the pictures: a table of scenes, and one of the signs in them.

As in the case ``signs``, every parameter is drawn from the seed in its scene's row, so
that a scene is the same alone and in a batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from torch import Tensor

from stoic.cases import chance
from stoic.cases.signs import camera
from stoic.cases.signs.art import SIGNS, TILE, load_art

__all__ = [
    "HELD_OUT",
    "LEARNED",
    "MOST",
    "RANGES",
    "SIZE",
    "TUNED",
    "Placed",
    "Scenes",
    "draw",
    "truth",
]

SIZE = 112
"""Width and height of a picture, in pixels."""

MOST = 5
"""Signs in the fullest scene."""

LEARNED, HELD_OUT, TUNED = 10, 11, 12
"""The series that the network learns from, that only the final figures are measured
on and the case shows, and that design and training were tried out on."""

RANGES: Mapping[str, tuple[float, float]] = {
    "roll": (-12.0, 12.0),
    "yaw": (-25.0, 25.0),
    "pitch": (-15.0, 15.0),
    "scale": (0.2, 0.4),
}
"""The range of each sign's pose, in degrees, and of its size, as the camera's table."""

_LIGHT = {
    "gain": (0.6, 1.2),
    "glare": (0.0, 0.15),
    "blur": (0.05, 0.9),
    "noise": (0.005, 0.03),
}
_TRIED = 12

Column = Float64[Tensor, " scene"]
Each = Float64[Tensor, " sign"]
Boxes = Float64[Tensor, "sign 4"]


@dataclass(frozen=True)
class Placed:
    """A table of the signs in some scenes; see ``camera.Posed`` for their poses.

    Args:
        scene: The row of the scene that the sign is in.
        sign: Index into ``SIGNS``.
        roll: As the camera has it, and so are the columns that follow.
        yaw: About the vertical axis.
        pitch: About the horizontal axis.
        scale: Half the sign's width.
        shift_x: Its centre, to the right.
        shift_y: Its centre, downwards.
    """

    scene: Int64[Tensor, " sign"]
    sign: Int64[Tensor, " sign"]
    roll: Each
    yaw: Each
    pitch: Each
    scale: Each
    shift_x: Each
    shift_y: Each

    def __len__(self) -> int:
        return len(self.scene)

    def rows(self, index: Tensor) -> "Placed":
        """Return the table of the rows that ``index`` picks."""
        return Placed(*(getattr(self, field.name)[index] for field in fields(self)))

    def boxes(self) -> Boxes:
        """Return left, top, right and bottom of what is visible of each, in pixels."""
        outline = camera.appearing(camera.pose(self), _outlines()[self.sign])
        pixels = (outline + 1) * SIZE / 2
        box = torch.cat([pixels.amin(1), pixels.amax(1)], dim=1)
        return box.clamp(0, SIZE)


@dataclass(frozen=True)
class Scenes:
    """A table of scenes to render.

    Args:
        seed: Draws the background and the noise.
        gain: Factor on all light.
        glare: Share of the light that is veiled by stray white light.
        blur: Standard deviation of the lens blur of the signs, in pixels.
        noise: Standard deviation of the sensor noise; the brightest value is 1.
        signs: What is before the background.
    """

    seed: Int64[Tensor, " scene"]
    gain: Column
    glare: Column
    blur: Column
    noise: Column
    signs: Placed

    def __len__(self) -> int:
        return len(self.seed)

    def split(self, size: int) -> Iterator["Scenes"]:
        """Yield the table in parts of ``size`` scenes; the last may be smaller."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            inside = (self.signs.scene >= start) & (self.signs.scene < start + size)
            signs = self.signs.rows(inside.nonzero()[:, 0])
            yield Scenes(
                seed=self.seed[part],
                gain=self.gain[part],
                glare=self.glare[part],
                blur=self.blur[part],
                noise=self.noise[part],
                signs=replace(signs, scene=signs.scene - start),
            )


def draw(count: int, *, seed: int) -> Scenes:
    """Draw the first ``count`` scenes of the series ``seed``."""
    seeds = chance.seeds(count, seed=seed)
    light = {name: _between(seeds, name, *_LIGHT[name]) for name in _LIGHT}
    return Scenes(seed=seeds, signs=_placed(seeds), **light)


def truth(scenes: Scenes) -> Float32[Tensor, "scene most 5"]:
    """Return each sign's box and class; a class of -1 is no sign."""
    signs = scenes.signs
    rows = torch.zeros(len(scenes), MOST, 5, dtype=torch.float64)
    rows[..., 4] = -1
    # The signs of one scene follow each other.
    first = torch.searchsorted(signs.scene, signs.scene)
    slot = torch.arange(len(signs)) - first
    rows[signs.scene, slot] = torch.cat([signs.boxes(), signs.sign[:, None]], dim=1)
    return rows.float()


def _placed(seeds: Int64[Tensor, " scene"]) -> Placed:
    """Try places in turn and keep those that are free, until there are enough."""
    tried = _tried(seeds)
    boxes = tried.boxes().view(len(seeds), _TRIED, 4)
    wanted = 1 + (MOST * chance.uniform(seeds, "signs")).long()
    kept = torch.zeros(len(seeds), _TRIED, dtype=torch.bool)
    for number in range(_TRIED):
        blocked = _overlap(boxes[:, number, None], boxes) & kept
        kept[:, number] = ~blocked.any(1) & (kept.sum(1) < wanted)
    return tried.rows(kept.flatten().nonzero()[:, 0])


def _tried(seeds: Int64[Tensor, " scene"]) -> Placed:
    poses = {
        name: _between(seeds, name, *RANGES[name], _TRIED).flatten() for name in RANGES
    }
    free = 1 - poses["scale"]
    across, along = (
        (2 * chance.uniform(seeds, name, _TRIED).flatten() - 1) * free
        for name in ("shift_x", "shift_y")
    )
    return Placed(
        scene=torch.arange(len(seeds)).repeat_interleave(_TRIED),
        sign=(len(SIGNS) * chance.uniform(seeds, "sign", _TRIED).flatten()).long(),
        shift_x=across,
        shift_y=along,
        **poses,
    )


def _overlap(
    one: Float64[Tensor, "scene 1 4"], others: Float64[Tensor, "scene tried 4"]
) -> Bool[Tensor, "scene tried"]:
    before, after = torch.maximum(one, others), torch.minimum(one, others)
    sides: Tensor = after[..., 2:] > before[..., :2]
    return sides.all(-1)


@cache
def _outlines() -> Float64[Tensor, "class corner 2"]:
    """Return the corners of the convex hull of each sign, the first repeated."""
    hulls = [_hull(opacity >= 0.5) for opacity in load_art()[:, 3].numpy()]
    corners = max(map(len, hulls))
    padded = [np.pad(h, ((0, corners - len(h)), (0, 0)), mode="edge") for h in hulls]
    return torch.from_numpy(np.stack(padded))


def _hull(opaque: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the hull of the pixels that are opaque, corners and all, from -1 to 1."""
    row, column = opaque.nonzero()
    corners = [
        np.stack([column + right, row + down], axis=1)
        for right in (0, 1)
        for down in (0, 1)
    ]
    points = np.concatenate(corners)
    hull: NDArray[np.float64] = points[ConvexHull(points).vertices] * 2.0 / TILE - 1
    return hull


def _between(
    seeds: Int64[Tensor, " scene"], name: str, low: float, high: float, *shape: int
) -> Float64[Tensor, "scene ..."]:
    return low + (high - low) * chance.uniform(seeds, name, *shape)
