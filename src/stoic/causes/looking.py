"""Looking: in which order to look at failures, so that a rare cause is seen soon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import NOISE, Clusters, Features
from stoic.causes.reductions import Pca
from stoic.causes.scores.orders import FarthestFirst, Turns
from stoic.causes.scores.seen import until_all
from stoic.causes.scores.truth import Truth

__all__ = ["looked_through", "seen_after"]


def looked_through(tables: Sequence[Features], seed: int = 0) -> NDArray[np.int64]:
    """Return the places of failures in the order of looking.

    No cause and no cluster is asked for. What is farthest from all seen comes next; of
    several kinds of features each has its turns, for the farthest and for the most
    novel image, so that what one of them does not tell apart another one may.

    Args:
        tables: Features of each failure, one table for each kind.
        seed: Of the reduction, which is exact and needs none.
    """
    spaces = [Pca()(table, seed) for table in tables]
    if len(spaces) > 1:
        return Turns().among(spaces)
    # In one space alone novelty gains nothing, and now and then waits long.
    none = Clusters(np.full(len(spaces[0]), NOISE), {})
    return FarthestFirst()(none, spaces[0], seed)


def seen_after(order: NDArray[np.int64], scenarios: NDArray[np.str_]) -> int:
    """Return how many images in this order show every known cause.

    Args:
        order: The place of each failure, each once.
        scenarios: The cause of each; who sees a combination has seen all its causes.
    """
    return until_all(order, Truth.of(scenarios, parts=True))
