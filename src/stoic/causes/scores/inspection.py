"""How many images an engineer looks at, in an announced order and in random order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import Clusters, Features
from stoic.causes.scores.orders import RoundRobin
from stoic.causes.scores.seen import MOST_OVERLAPPING, RandomOrder, until_all
from stoic.causes.scores.truth import Truth

__all__ = ["Inspection", "in_turn", "inspection"]

_SEEDS = 20


@dataclass(frozen=True)
class Inspection:
    """Images looked at until every scenario has been seen, over draws.

    Args:
        draws: How many orders there were.
        mean: Images looked at, on average over draws.
        reliable: Images that show all scenarios in such a share of draws.
        random_mean: What random order takes on average over the same failures.
        random_reliable: Images that show all with such a probability in random order.
        confidence: The share or probability.
    """

    draws: int
    mean: float
    reliable: int
    random_mean: float
    random_reliable: int
    confidence: float

    @classmethod
    def of(
        cls,
        taken: Sequence[int],
        randoms: Sequence[RandomOrder],
        *,
        confidence: float = 0.95,
    ) -> Inspection:
        """Return what draws say together, where each has its random order beside it.

        Args:
            taken: Images looked at until all scenarios have been seen, in each draw.
            randoms: The same in random order of the same failures.
            confidence: Of `reliable`.
        """
        if not taken:
            raise ValueError("orders must be at least one, got none")
        longest = max(each.failures for each in randoms)
        seen = np.mean(
            [
                np.pad(each.seen, (0, longest - each.failures), constant_values=1.0)
                for each in randoms
            ],
            axis=0,
        )
        return cls(
            draws=len(taken),
            mean=float(np.mean(taken)),
            reliable=int(np.quantile(taken, confidence, method="inverted_cdf")),
            random_mean=float(np.mean([each.mean for each in randoms])),
            random_reliable=int(np.argmax(seen >= confidence - 1e-12)),
            confidence=confidence,
        )

    @property
    def saving(self) -> float:
        """Images that must be looked at, as a share of those in random order."""
        return self.reliable / self.random_reliable

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"saving": self.saving}


def inspection(
    orders: Iterable[tuple[NDArray[np.int64], Truth]], *, confidence: float = 0.95
) -> Inspection:
    """Return how long orders take until all scenarios have been seen.

    Random order is exact for each draw of failures, not itself drawn; over several
    draws of failures its distribution is the mean of theirs.

    Args:
        orders: An order of looking and the scenarios of the failures, for each draw:
            of the seed of the order, of the failures, or both.
        confidence: Of `Inspection.reliable`: the least number of images that is enough
            in at least this share of draws.
    """
    taken: list[int] = []
    randoms: list[RandomOrder] = []
    known: dict[int, tuple[Truth, RandomOrder]] = {}
    for order, truth in orders:
        taken.append(until_all(order, truth))
        # The truth is kept, so that no other one can get its number.
        if id(truth) not in known:
            known[id(truth)] = truth, RandomOrder.of(truth)
        randoms.append(known[id(truth)][1])
    return Inspection.of(taken, randoms, confidence=confidence)


def in_turn(
    clusters: Clusters, points: Features, scenarios: NDArray[np.str_]
) -> Inspection | None:
    """Return how long it takes to see all causes, looking at each cluster in turn.

    Args:
        clusters: Of the failures.
        points: Of each failure.
        scenarios: The cause of each; who sees a combination has seen all its causes.

    Returns:
        What twenty seeds say together; None of too many causes for the random order.
    """
    truth = Truth.of(scenarios, parts=True)
    if len(truth.names) > MOST_OVERLAPPING:
        return None
    orders = (RoundRobin()(clusters, points, seed) for seed in range(_SEEDS))
    return inspection((order, truth) for order in orders)
