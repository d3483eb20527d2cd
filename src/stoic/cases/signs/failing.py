"""Failures of ``signs``: scenes with one or two of the seven causes, read wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.cases.afflicted.search import Found, Recipe, search
from stoic.cases.afflicted.stage import Stage
from stoic.cases.signs.art import SIGNS
from stoic.cases.signs.network import load_network
from stoic.cases.signs.render import render
from stoic.cases.signs.scenes import (
    CAUSES,
    LEARNED,
    Scenes,
    afflict,
    nominal,
    reset,
)

__all__ = ["signs_failing", "signs_stage"]


def signs_stage() -> Stage[Scenes]:
    """Return the scenes of signs, with the network that reads them."""
    return Stage(
        name="signs",
        network=load_network(),
        classes=tuple(sign.name for sign in SIGNS),
        causes=CAUSES,
        nominal=lambda count, series: nominal(count, seed=series),
        afflict=afflict,
        reset=reset,
        pictures=render,
        labels=lambda scenes: scenes.sign,
        recorded=_recorded,
        learned=LEARNED,
    )


def signs_failing(count: int, seed: int, recipe: Recipe | None = None) -> Found:
    """Find failures, of scenes that the network has neither learned nor been tried on.

    Args:
        count: How many.
        seed: Chooses the scenes.
        recipe: How many of what; without it, all causes alike, and a tenth of pairs.

    Raises:
        CaseError: The recipe cannot be followed, or ``count`` is too small.
    """
    return search(signs_stage(), count, seed, recipe)


def _recorded(scenes: Scenes) -> dict[str, NDArray[Any]]:
    columns = {name: each.numpy() for name, each in scenes.columns().items()}
    del columns["seed"]
    names = np.array([sign.name for sign in SIGNS])
    return {**columns, "sign": names[scenes.sign.numpy()]}
