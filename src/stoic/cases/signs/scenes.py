"""What is in the pictures: one row of parameters for each image.

Every parameter is drawn from the seed in its own row. So a row is the whole truth
about its image, and setting one parameter back to nominal leaves all others alone,
noise and background included.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.afflicted.cause import Cause
from stoic.cases.signs.art import SIGNS

__all__ = [
    "CAUSES",
    "HELD_OUT",
    "LEARNED",
    "NOMINAL",
    "Cause",
    "Scenes",
    "afflict",
    "nominal",
    "reset",
]

LEARNED = 0
"""The series of scenes that the network learns from."""

HELD_OUT = 1
"""The series of scenes that it never sees in training; the case shows its first."""

Column = Float64[Tensor, " scene"]


@dataclass(frozen=True)
class Scenes:
    """A table of images to render.

    Angles are in degrees; lengths are in halves of the picture's width.

    Args:
        seed: Draws background, noise, and every parameter not set otherwise.
        sign: Index into ``SIGNS``.
        roll: Turn of the sign in its own plane.
        yaw: Turn about the vertical axis.
        pitch: Turn about the horizontal axis.
        scale: Half the width of the sign, facing the camera.
        shift_x: Centre of the sign, to the right.
        shift_y: Centre of the sign, downwards.
        gain: Factor on all light.
        glare: Share of the light that is veiled by stray white light.
        blur: Standard deviation of the lens blur, in pixels of a 48-pixel picture.
        noise: Standard deviation of the sensor noise; the brightest value is 1.
        occlusion: Radius of a disc in front of the sign.
        occluder_x: Centre of the disc, to the right.
        occluder_y: Centre of the disc, downwards.
    """

    seed: Int64[Tensor, " scene"]
    sign: Int64[Tensor, " scene"]
    roll: Column
    yaw: Column
    pitch: Column
    scale: Column
    shift_x: Column
    shift_y: Column
    gain: Column
    glare: Column
    blur: Column
    noise: Column
    occlusion: Column
    occluder_x: Column
    occluder_y: Column

    def __len__(self) -> int:
        return len(self.seed)

    def columns(self) -> dict[str, Tensor]:
        """Return the table by column, for writing it down."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, index: slice | Tensor) -> "Scenes":
        """Return the table of the rows that ``index`` picks."""
        return Scenes(**{name: each[index] for name, each in self.columns().items()})

    def split(self, size: int) -> Iterator["Scenes"]:
        """Yield the table in parts of ``size`` rows; the last may be shorter."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))


NOMINAL: Mapping[str, tuple[float, float]] = {
    "roll": (-12.0, 12.0),
    "yaw": (-25.0, 25.0),
    "pitch": (-15.0, 15.0),
    "scale": (0.7, 0.95),
    "shift_x": (-0.1, 0.1),
    "shift_y": (-0.1, 0.1),
    "gain": (0.6, 1.2),
    "glare": (0.0, 0.15),
    "blur": (0.0, 0.6),
    "noise": (0.005, 0.03),
    "occlusion": (0.0, 0.12),
    "occluder_x": (-0.6, 0.6),
    "occluder_y": (-0.6, 0.6),
}
"""The range of every parameter in which the network has been trained."""


CAUSES = (
    Cause("roll", "roll", 30.0, 80.0, signed=True),
    Cause("yaw", "yaw", 50.0, 72.0, signed=True),
    Cause("dark", "gain", 0.06, 0.2),
    Cause("glare", "glare", 0.55, 0.9),
    Cause("blur", "blur", 1.6, 3.4),
    Cause("occlusion", "occlusion", 0.45, 0.75),
    Cause("noise", "noise", 0.15, 0.4),
)
"""The seven known reasons for failing."""


def nominal(count: int, *, seed: int) -> Scenes:
    """Draw the first ``count`` images of the series ``seed``, all signs in turn."""
    sign = torch.arange(count) % len(SIGNS)
    return _drawn(chance.seeds(count, seed=seed), sign)


def afflict(
    scenes: Scenes, cause: Cause, where: Bool[Tensor, " scene"] | None = None
) -> Scenes:
    """Give ``cause`` to the images ``where`` it is wanted, or to all.

    Each image gets it as severely as its own seed says. Several causes combine by
    calling this several times.
    """
    return _with(scenes, cause, cause.severity(scenes.seed), where)


def reset(
    scenes: Scenes, cause: Cause, where: Bool[Tensor, " scene"] | None = None
) -> Scenes:
    """Take ``cause`` away from the images ``where`` it is unwanted, or from all.

    Its parameter gets the nominal value that belongs to the seed of the image.
    """
    healthy = _drawn(scenes.seed, scenes.sign).columns()[cause.column]
    return _with(scenes, cause, healthy, where)


def _drawn(seed: Int64[Tensor, " scene"], sign: Int64[Tensor, " scene"]) -> Scenes:
    drawn = {name: chance.between(seed, name, *NOMINAL[name]) for name in NOMINAL}
    return Scenes(seed=seed, sign=sign, **drawn)


def _with(
    scenes: Scenes, cause: Cause, values: Column, where: Bool[Tensor, " scene"] | None
) -> Scenes:
    column = cause.column
    if where is not None:
        values = torch.where(where, values, scenes.columns()[column])
    return replace(scenes, **{column: values})
