"""What is in the pictures: an eye, where it looks, and how it is seen.

As in the case ``signs``, every parameter is drawn from the seed in its scene's row. An
eye has coordinates of its own: the origin between its corners, 1 being half the width
of a picture, turned with the head.
"""

from collections.abc import Mapping

from stoic.cases.afflicted import table
from stoic.cases.afflicted.cause import Cause
from stoic.cases.afflicted.table import Range, Table

__all__ = ["CAUSES", "DIRECTIONS", "HELD_OUT", "LEARNED", "NOMINAL", "nominal"]

LEARNED = 0
"""The series of scenes that the network learns from."""

HELD_OUT = 1
"""The series of scenes that it never sees in training; the case shows its first."""

DIRECTIONS = (
    "straight",
    "right",
    "down right",
    "down",
    "down left",
    "left",
    "up left",
    "up",
    "up right",
)
"""Where the eye looks, as it is seen in the picture of a head held upright."""

NOMINAL: Mapping[str, Range] = {
    # How far it looks, as a share of what an eye can, and how far off the direction.
    "reach": (0.75, 1.0),
    "wander": (-10.0, 10.0),
    # The eye: how far its lids are open, its iris (radius, brown rather than blue), the
    # pupil as a share of the iris.
    "opening": (0.75, 1.0),
    "iris": (0.26, 0.32),
    "brown": (0.0, 1.0),
    "pupil": (0.3, 0.5),
    # The face: its tone, the height of the brow above the eye, turn in degrees, where.
    "skin": (0.0, 1.0),
    "brow": (0.62, 0.78),
    "roll": (-10.0, 10.0),
    "scale": (0.9, 1.1),
    "shift_x": (-0.08, 0.08),
    "shift_y": (-0.08, 0.08),
    # Light: a factor on all of it, the shadow of one side, and where that falls from.
    "gain": (0.6, 1.2),
    "shadow": (0.0, 0.3),
    "shadow_from": (0.0, 360.0),
    # Spectacles: half the width of a rim before the eye, and a reflection on the lens.
    "rim": (0.0, 0.03),
    "rim_y": (-0.12, 0.12),
    "reflection": (0.0, 0.06),
    "reflection_x": (-0.2, 0.2),
    "reflection_y": (-0.15, 0.15),
    # The camera: standard deviations, of blur in pixels and noise where white is 1.
    "blur": (0.0, 0.6),
    "noise": (0.005, 0.03),
}
"""The range of every parameter in which the network has been trained."""

CAUSES = (
    Cause("closed", "opening", 0.02, 0.3),
    Cause("roll", "roll", 30.0, 75.0, signed=True),
    Cause("dark", "gain", 0.03, 0.12),
    Cause("shadow", "shadow", 0.93, 1.0),
    Cause("reflection", "reflection", 0.35, 0.6),
    Cause("rim", "rim", 0.16, 0.3),
    Cause("blur", "blur", 3.0, 6.0),
    Cause("noise", "noise", 0.2, 0.5),
)
"""The eight known reasons for failing."""


def nominal(count: int, series: int) -> Table:
    """Draw the first ``count`` images of a series, all directions in turn."""
    return table.nominal(count, series, classes=len(DIRECTIONS), ranges=NOMINAL)
