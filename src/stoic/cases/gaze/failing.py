"""Failures of ``gaze``: eyes with one or two of the eight causes, read wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.cases.afflicted.search import Found, Recipe, search
from stoic.cases.afflicted.stage import Stage
from stoic.cases.afflicted.table import Table, afflict, reset
from stoic.cases.gaze.network import load_network
from stoic.cases.gaze.render import render
from stoic.cases.gaze.scenes import CAUSES, DIRECTIONS, LEARNED, nominal

__all__ = ["gaze_failing", "gaze_stage"]


def gaze_stage() -> Stage[Table]:
    """Return the scenes of eyes, with the network that sees where they look."""
    return Stage(
        name="gaze",
        network=load_network(),
        classes=DIRECTIONS,
        causes=CAUSES,
        nominal=nominal,
        afflict=afflict,
        reset=reset,
        pictures=render,
        labels=lambda scenes: scenes.label,
        recorded=_recorded,
        learned=LEARNED,
    )


def gaze_failing(count: int, seed: int, recipe: Recipe | None = None) -> Found:
    """Find failures, of scenes that the network has neither learned nor been tried on.

    Args:
        count: How many.
        seed: Chooses the scenes.
        recipe: How many of what; without it, all causes alike, and a tenth of pairs.

    Raises:
        CaseError: The recipe cannot be followed, or ``count`` is too small.
    """
    return search(gaze_stage(), count, seed, recipe)


def _recorded(scenes: Table) -> dict[str, NDArray[Any]]:
    columns = {name: column.numpy() for name, column in scenes.columns.items()}
    return {**columns, "direction": np.array(DIRECTIONS)[scenes.label.numpy()]}
