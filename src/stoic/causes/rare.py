"""Rare scenarios: whether clusters show a scenario of which there are few failures.

Failures are drawn so that one scenario has a given share, and clustered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.scores.composition import Composition
from stoic.causes.scores.scoring import PURE
from stoic.causes.scores.stability import Fit
from stoic.causes.scores.truth import Truth
from stoic.estimates.coins import wilson
from stoic.estimates.estimate import Estimate

__all__ = ["SHARES", "Shown", "covered_by_share", "draw", "look_for", "most"]

Integers = NDArray[np.int64]

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
"""Shares of one scenario among the failures."""


@dataclass(frozen=True)
class Shown:
    """What the clusters of one draw show of the scenario with a given share.

    Args:
        scenario: Which one.
        share: Its share among the failures.
        held: How many failures are of it.
        draw: Which draw of failures, and the seed of the clustering.
        purest: The scenario's largest share of any cluster.
        clusters: How many clusters there are.
    """

    scenario: str
    share: float
    held: int
    draw: int
    purest: float
    clusters: int

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def draw(
    scenarios: NDArray[np.str_], scenario: str, *, share: float, count: int, seed: int
) -> Integers:
    """Draw failures of which a scenario has a given share, in order of their places.

    All others are drawn at random from the failures that are not of it, so that they
    keep their proportions, roughly.

    Args:
        scenarios: The cause of each failure, or ``UNKNOWN``.
        scenario: One of them.
        share: Of the scenario among those drawn.
        count: How many failures to draw.
        seed: Another one draws others.

    Raises:
        ValueError: If there are too few failures of either kind.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    own = np.flatnonzero(scenarios == scenario)
    others = np.flatnonzero(scenarios != scenario)
    held = max(1, round(share * count))
    if held > len(own) or count - held > len(others):
        raise ValueError(
            f"count must be at most {most(scenarios, scenario, share)} for {share:g} "
            f"of {scenario}, got {count}; draw fewer, or make more failures"
        )
    rng = np.random.default_rng(seed)
    picked = [
        rng.choice(own, held, replace=False),
        rng.choice(others, count - held, replace=False),
    ]
    return np.sort(np.concatenate(picked))


def most(scenarios: NDArray[np.str_], scenario: str, share: float) -> int:
    """Return how many failures can be drawn with such a share of a scenario."""
    own = int((scenarios == scenario).sum())
    others = len(scenarios) - own
    bound = int(min(own / share, others / (1 - share))) + 2

    def fits(count: int) -> bool:
        held = max(1, round(share * count))
        return held <= own and count - held <= others

    return next((count for count in range(bound, 0, -1) if fits(count)), 0)


def look_for(
    fit: Fit,
    scenarios: NDArray[np.str_],
    *,
    count: int,
    shares: Sequence[float] = SHARES,
    names: Sequence[str] = (),
    draws: int = 10,
    seed: int = 0,
) -> Iterator[Shown]:
    """Cluster draws in which each scenario in turn has each share.

    Args:
        fit: Clusters the failures at some places; its seed is the number of the draw.
        scenarios: The cause of each failure, or ``UNKNOWN``.
        count: Failures in each draw; the same for all shares, so that the share alone
            makes the difference.
        shares: To try.
        names: The scenarios to make rare; all of them if empty.
        draws: Of each scenario and share.
        seed: The number of the first draw.
    """
    for scenario in names or Truth.of(scenarios).names:
        for share in shares:
            for each in range(seed, seed + draws):
                places = draw(scenarios, scenario, share=share, count=count, seed=each)
                found = fit(places, each)
                truth = Truth.of(scenarios[places])
                made = Composition.of(found, truth)
                own = made.shares[:, truth.names.index(scenario)]
                held = int((scenarios[places] == scenario).sum())
                purest = float(own.max(initial=0.0))
                yield Shown(scenario, share, held, each, purest, found.count)


def covered_by_share(
    shown: Iterable[Shown], *, threshold: float = PURE, confidence: float = 0.95
) -> dict[float, Estimate]:
    """Return the share of draws that cover the rare scenario, by its share.

    Args:
        shown: What each draw shows.
        threshold: A cluster in which the scenario's share is that large covers it.
        confidence: Of each interval. Draws from one pool of failures count as if they
            were independent.
    """
    found: dict[float, list[bool]] = {}
    for each in shown:
        found.setdefault(each.share, []).append(each.purest >= threshold)
    return {share: _share(found[share], confidence) for share in sorted(found)}


def _share(covered: Sequence[bool], confidence: float) -> Estimate:
    value = sum(covered) / len(covered)
    low, high = wilson(sum(covered), len(covered), None, confidence)
    return Estimate(
        value=value,
        # Rounding may take a limit past the value, where they are the same.
        low=min(low, value),
        high=max(high, value),
        n=len(covered),
        confidence=confidence,
        kind="approximate",
        about="draws of failures and seeds, for the scenarios tried",
    )
