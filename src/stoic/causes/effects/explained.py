"""Which stage matters: the share of the variance that each factor explains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import numpy as np

from stoic.causes.effects.runs import Floats, Runs

__all__ = ["LEFT", "TIMES", "effects_of", "explained"]

TIMES = " x "
"""What joins the names of factors that act together."""

LEFT = "repeats"
"""What no factor explains: how runs of one cell differ."""


def explained(runs: Runs, names: Sequence[str]) -> dict[str, float]:
    """Return the share of the variance of each factor and each interaction.

    The design must be balanced; then the parts are orthogonal, and their shares sum to
    one together with ``LEFT``, which is there if cells have several runs.

    Args:
        runs: The table.
        names: The factors: such as extractor, reduction, clustering, case.
    """
    cells = runs.cells(names)
    total = float(((cells - cells.mean()) ** 2).sum())
    if not total:
        raise ValueError("scores must differ, got the same one in all runs")
    squares = {
        TIMES.join(names[axis] for axis in axes): float((effect**2).sum())
        for axes, effect in effects_of(cells).items()
    }
    if cells.shape[-1] > 1:
        inside = cells - cells.mean(axis=-1, keepdims=True)
        squares[LEFT] = float((inside**2).sum())
    return {name: square / total for name, square in squares.items()}


def effects_of(cells: Floats) -> dict[tuple[int, ...], Floats]:
    """Return each effect, as large as the cells, by the axes that it depends on.

    The last axis is that of repeats and has no effect. An effect is the mean over all
    other axes, less the effects of fewer of its own axes and the mean of all.
    """
    axes = range(cells.ndim - 1)
    found: dict[tuple[int, ...], Floats] = {}
    for own in chain.from_iterable(
        combinations(axes, many) for many in range(1, cells.ndim)
    ):
        others = tuple(axis for axis in range(cells.ndim) if axis not in own)
        effect = cells.mean(axis=others, keepdims=True) - cells.mean()
        effect = np.broadcast_to(effect, cells.shape).copy()
        for fewer, known in found.items():
            if set(fewer) < set(own):
                effect -= known
        found[own] = effect
    return found
