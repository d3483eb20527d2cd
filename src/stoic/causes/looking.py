"""Looking: in which order to look at failures, so that a rare cause is seen soon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import Features
from stoic.causes.reductions import Pca
from stoic.causes.scores.orders import Turns
from stoic.causes.scores.seen import until_all
from stoic.causes.scores.truth import Truth

__all__ = ["looked_through", "seen_after"]


def looked_through(tables: Sequence[Features], seed: int = 0) -> NDArray[np.int64]:
    """Return the places of failures in the order of looking.

    No cause and no cluster is asked for. Each kind of features has its turns, so that
    what one of them does not tell apart another one may.

    Args:
        tables: Features of each failure, one table for each kind.
        seed: Of the reduction, which is exact and needs none.
    """
    return Turns().among([Pca()(table, seed) for table in tables])


def seen_after(order: NDArray[np.int64], scenarios: NDArray[np.str_]) -> int:
    """Return how many images in this order show every known cause.

    Args:
        order: The place of each failure, each once.
        scenarios: The cause of each; who sees a combination has seen all its causes.
    """
    return until_all(order, Truth.of(scenarios, parts=True))
