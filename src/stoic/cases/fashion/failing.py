"""Failures of ``fashion…``: pictures spoilt in a known way, read wrong.

A scene is one of the 10,000 test pictures, and the strength of each kind of corruption,
0 for none. Where the network is right about the picture as it was, the corruption is
the cause; what it gets wrong anyway has none that is known.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stoic.cases import chance
from stoic.cases.afflicted.cause import Cause
from stoic.cases.afflicted.search import EXAMPLES, Found, Recipe, search
from stoic.cases.afflicted.stage import Stage
from stoic.cases.afflicted.table import Table, afflict, reset
from stoic.cases.fashion.data import CLASSES, HELD_OUT, Clothes, held_out, learned
from stoic.cases.fashion.networks import load_network
from stoic.monitors.corruptions import CORRUPTIONS, UNSEEN

__all__ = ["CAUSES", "fashion_failing", "fashion_stage"]

_LEARNED = 0
_GREY = 0.5

CAUSES = (
    Cause("rotation", "rotation", 30.0, 90.0, signed=True),
    Cause("patch", "patch", 10.0, 16.0),
    Cause("pixelation", "pixelation", 3.0, 6.0),
    Cause("blur", "blur", 1.5, 4.0),
    Cause("contrast", "contrast", 0.7, 0.95),
    Cause("darkness", "darkness", 0.6, 0.95),
    Cause("noise", "noise", 0.2, 0.6),
    Cause("specks", "specks", 0.1, 0.4),
)
"""Kinds of corruption and how strong they are, in the order in which they happen."""

Pictures = Float32[Tensor, "piece 1 28 28"]


def fashion_stage(name: str) -> Stage[Table]:
    """Return the test pictures as scenes, with one of the networks.

    Raises:
        CaseError: The pictures have not been fetched, or are not the pinned ones.
    """
    pool = _pool()
    return Stage(
        name=name,
        network=load_network(name),
        classes=CLASSES,
        causes=CAUSES,
        nominal=partial(_nominal, pool),
        afflict=afflict,
        reset=reset,
        pictures=partial(_pictures, pool),
        labels=lambda scenes: scenes.label,
        recorded=_recorded,
        learned=_LEARNED,
    )


def fashion_failing(
    name: str, count: int, seed: int, recipe: Recipe | None = None
) -> Found:
    """Find failures on corrupted test pictures.

    Args:
        name: Of the case.
        count: How many.
        seed: Chooses the pictures, and how they are spoilt.
        recipe: How many of what; without it, all kinds alike, and a tenth of pairs.

    Raises:
        CaseError: The pictures have not been fetched, or ``count`` is too small.
    """
    return search(fashion_stage(name), count, seed, recipe)


def _pool() -> Clothes:
    """Return the test pictures, then enough of those that were learned."""
    clothes = learned().part(None, EXAMPLES)
    return Clothes(
        torch.cat([held_out().pictures, clothes.pictures]),
        torch.cat([held_out().labels, clothes.labels]),
    )


def _nominal(pool: Clothes, count: int, series: int) -> Table:
    """Draw pictures, not spoilt; of the learned series, the first ones in order."""
    seed = chance.seeds(count, seed=series)
    picture = (HELD_OUT * chance.uniform(seed, "picture")).long()
    if series == _LEARNED:
        picture = HELD_OUT + torch.arange(count)
    clean = {cause.column: torch.zeros(count).double() for cause in CAUSES}
    ranges = dict.fromkeys(clean, (0.0, 0.0))
    columns = {"picture": picture.double(), **clean}
    return Table(seed, pool.labels[picture], columns, ranges)


def _pictures(pool: Clothes, scenes: Table) -> Pictures:
    """Spoil the pictures, one after the other."""
    pictures = pool.pictures[scenes["picture"].long()]
    for cause in CAUSES:
        strengths = scenes[cause.column]
        for row in strengths.nonzero()[:, 0].tolist():
            strength, seed = float(strengths[row]), int(scenes.seed[row])
            spoilt = _SPOIL[cause.name](pictures[row : row + 1], strength, seed)
            pictures[row] = spoilt[0].clamp(0, 1)
    return pictures


def _rotated(images: Tensor, degrees: float, seed: int) -> Tensor:
    """Turn pictures about their middle; what comes in from outside is black."""
    angle = math.radians(degrees)
    turn = [
        [math.cos(angle), math.sin(angle), 0],
        [-math.sin(angle), math.cos(angle), 0],
    ]
    grid = functional.affine_grid(
        torch.tensor([turn]), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)


def _patched(images: Tensor, side: float, seed: int) -> Tensor:
    """Put a grey square before the middle of a picture, or not far from it."""
    size, length = images.shape[-1], round(side)
    drawn = chance.uniform(torch.tensor([seed]), "place of the patch", 2)[0]
    top, left = ((0.25 + 0.5 * drawn) * (size - length)).round().long().tolist()
    covered = images.clone()
    covered[:, :, top : top + length, left : left + length] = _GREY
    return covered


def _recorded(scenes: Table) -> dict[str, NDArray[Any]]:
    columns = {name: column.numpy() for name, column in scenes.columns.items()}
    return {**columns, "class": np.array(CLASSES)[scenes.label.numpy()]}


_SPOIL: Mapping[str, Callable[[Tensor, float, int], Tensor]] = {
    "rotation": _rotated,
    "patch": _patched,
    **{kind.name: kind.apply for kind in (*CORRUPTIONS, *UNSEEN)},
}
