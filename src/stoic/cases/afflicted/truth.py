"""The truth about a failure: what must be taken away for the right answer to be back.

Of the causes that were given to a scene, each set can be taken away, with everything
else in the picture as it was. The smallest sets that bring the right answer back say
what the failure is due to: its scenario names every cause in any of them, sorted and
joined by ``+``. So if one cause alone must go, it is that one. If either of two will
do, both were needed for the failure; if only both will, each of them was enough: these
are combinations. What no set brings back was wrong before, and is `UNKNOWN`.
"""

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases.afflicted.stage import S, Stage
from stoic.causes.failures import UNKNOWN

__all__ = ["scenarios"]


def scenarios(stage: Stage[S], failures: S, given: Tensor) -> NDArray[np.str_]:
    """Return the scenario of each failure.

    Args:
        stage: What they are scenes of.
        failures: Afflicted scenes that the network gets wrong.
        given: Of shape (failures, causes): which were given to it.
    """
    blamed = torch.zeros_like(given)
    most = int(given.sum(1).max()) if len(given) else 0
    for size in range(1, most + 1):
        # A set is tried only where no smaller one has brought the answer back.
        open_ = ~blamed.any(1)
        for causes in combinations(range(len(stage.causes)), size):
            tried = open_ & given[:, list(causes)].all(1)
            restored = _restored(stage, failures, tried, causes)
            blamed[:, list(causes)] |= restored[:, None]
    return np.array([_name(stage, row) for row in blamed], dtype=np.str_)


def _restored(
    stage: Stage[S], failures: S, tried: Tensor, causes: tuple[int, ...]
) -> Tensor:
    """Say which of the failures ``tried`` are none once ``causes`` are taken away."""
    restored = torch.zeros_like(tried)
    places = tried.nonzero()[:, 0]
    if not len(places):
        return restored
    scenes: S = failures.rows(places)
    everywhere = torch.ones(len(places), dtype=torch.bool)
    for cause in causes:
        scenes = stage.reset(scenes, stage.causes[cause], everywhere)
    restored[places] = stage.right(scenes)
    return restored


def _name(stage: Stage[S], blamed: Tensor) -> str:
    names = sorted(stage.causes[place].name for place in blamed.nonzero()[:, 0])
    return "+".join(names) if names else UNKNOWN
