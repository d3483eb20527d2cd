"""Plans that know beforehand which units to try: what an adaptive one is held against.

A unit is a fault on one input, or a few. All plans see the same units, scores and
proofs.

References:
    Hansen and Hurwitz, On the theory of sampling from finite populations, 1943.
    Hesterberg, Weighted average importance sampling and defensive mixture
    distributions, 1995.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from stoic.plans.contract import Draw, Stratum
from stoic.plans.fixed import Stratified, Uniform
from stoic.plans.shuffled import below
from stoic.plans.steps import Floats, Known

__all__ = ["Design", "Lot", "Preset"]

Design = Literal["uniform", "stratified", "importance"]

# Raw bits of a chance between 0 and 1.
_BITS = 53
# Trials of a stratum that tell how its shares vary.
_LEAST = 2


@dataclass(frozen=True)
class Lot:
    """The units of a plan, drawn before anything is known of any.

    Args:
        draws: In their order; strata are the smallest ones.
        group: Index of the stratum that each was drawn from.
        sizes: Units of these strata.
        weight: How many units each draw speaks for, where one drawn uniformly from all
            of them speaks for one.
    """

    draws: tuple[Draw, ...]
    group: np.ndarray
    sizes: tuple[int, ...]
    weight: Floats


@dataclass(frozen=True)
class Preset:
    """A number of units, drawn in a way that no outcome changes.

    Args:
        design: ``uniform``: from all units, none twice. ``stratified``: so many from
            each stratum, uniformly within it, none twice; half of them by size, half as
            the scores say that shares vary. ``importance``: each in proportion to its
            score, but for an even part; any of them again.
        trials: How many.
        guaranteed: Whether intervals are to be guaranteed, not approximate.
        even: Of importance sampling, the part that is drawn uniformly, whatever scores
            say: no draw speaks for more than ``1 / even`` units.
        per_trial: Inputs that a trial runs on.
    """

    design: Design
    trials: int
    guaranteed: bool = True
    even: float = 0.2
    per_trial: int = 1

    def __post_init__(self) -> None:
        if self.design not in get_args(Design):
            raise ValueError(
                f"plan must be one of {', '.join(get_args(Design))}, got {self.design}"
            )
        for name in ("trials", "per_trial"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.even <= 1:
            raise ValueError(
                f"even part must be above 0 and at most 1, got {self.even}"
            )

    def lot(self, strata: Sequence[Stratum], seed: int) -> Lot:
        """Draw all units.

        Args:
            strata: With parts down to the smallest ones, whose hints are the scores.
            seed: Of all draws.

        Raises:
            ValueError: There are not so many units, or too few trials for the strata.
        """
        leaves = [leaf for stratum in strata for leaf in stratum.leaves()]
        whole = sum(leaf.size for leaf in leaves)
        if self.design == "importance":
            return self._by_score(leaves, whole, seed)
        if self.trials > whole:
            raise ValueError(
                f"faults must be at most {whole}, as many units are not proved, got "
                f"{self.trials}; draw fewer"
            )
        if self.design == "uniform":
            draws = tuple(Uniform(self.trials).draws(leaves, seed=seed))
            group = np.zeros(len(draws), np.int64)
            return Lot(draws, group, (whole,), np.ones(len(draws)))
        return self._by_stratum(strata, whole, seed)

    def _by_stratum(self, strata: Sequence[Stratum], whole: int, seed: int) -> Lot:
        counts = _allotted(strata, self.trials)
        # Not by their names: these need not differ.
        named = [Stratum(str(n), s.size) for n, s in enumerate(strata)]
        plan = Stratified({s.name: c for s, c in zip(named, counts, strict=True)})
        outer = tuple(plan.draws(named, seed=seed))
        leaves = [[leaf.size for leaf in s.leaves()] for s in strata]
        first = list(itertools.accumulate(map(len, leaves), initial=0))
        ends = [list(itertools.accumulate(sizes, initial=0)) for sizes in leaves]

        def inner(draw: Draw) -> Draw:
            starts = ends[draw.stratum]
            at = bisect.bisect_right(starts, draw.position) - 1
            leaf = first[draw.stratum] + at
            return Draw(draw.trial, leaf, draw.position - starts[at])

        group = np.array([draw.stratum for draw in outer], np.int64)
        sizes = np.array([s.size for s in strata], float)
        weight = sizes[group] / np.array(counts)[group] * self.trials / whole
        ints = tuple(s.size for s in strata)
        return Lot(tuple(map(inner, outer)), group, ints, weight)

    def _by_score(self, leaves: Sequence[Stratum], whole: int, seed: int) -> Lot:
        odds = self._odds(leaves, whole)
        sizes = [leaf.size for leaf in leaves]
        masses = [size * own for size, own in zip(sizes, odds, strict=True)]
        cumulated = list(itertools.accumulate(masses))
        bits = random.Random(f"importance {seed}").getrandbits

        def places() -> Iterator[tuple[int, int]]:
            while True:
                spot = bits(_BITS) / (1 << _BITS) * cumulated[-1]
                leaf = min(bisect.bisect_right(cumulated, spot), len(leaves) - 1)
                yield leaf, below(sizes[leaf], bits)

        drawn = itertools.islice(places(), self.trials)
        draws = tuple(Draw(trial, *place) for trial, place in enumerate(drawn))
        weight = 1 / np.array(odds)[[draw.stratum for draw in draws]]
        return Lot(draws, np.zeros(len(draws), np.int64), (whole,), weight)

    def _odds(self, leaves: Sequence[Stratum], whole: int) -> list[float]:
        """Return how much likelier than uniformly a unit of each leaf is drawn.

        A hint is a chance to fail, which the square of a score stands for: sampling in
        proportion to its root would vary least if it were true.
        """
        scores = [math.sqrt(leaf.hint) for leaf in leaves]
        pairs = zip(leaves, scores, strict=True)
        total = math.fsum(leaf.size * score for leaf, score in pairs)
        if not total:
            return [1.0] * len(leaves)
        return [self.even + (1 - self.even) * s * whole / total for s in scores]

    def outlook(self, strata: Sequence[Stratum], known: Known) -> str:
        """Say what will be tried, before anything runs.

        Raises:
            ValueError: As for `lot`.
        """
        if strata:
            self.lot(strata, 0)
        proved = 100 * known.known / known.size
        unit = "one input" if self.per_trial == 1 else f"{self.per_trial} inputs"
        return (
            f"{proved:.3g} % of the units are proved; {self.trials:,} others, a fault "
            f"on {unit} each, are drawn beforehand ({self.design})"
        )

    def as_record(self) -> dict[str, Any]:
        """Name the plan and its settings."""
        return {"name": "preset", **asdict(self)}


def _allotted(strata: Sequence[Stratum], trials: int) -> list[int]:
    """Return trials of each stratum: half by size, half by size and spread."""
    sizes = [stratum.size for stratum in strata]
    spreads = [s.size * math.sqrt(s.hint * (1 - s.hint)) for s in strata]
    whole, varied = sum(sizes), math.fsum(spreads) or 1.0
    wishes = [n / whole + v / varied for n, v in zip(sizes, spreads, strict=True)]
    counts = [min(_LEAST, size) for size in sizes]
    left = trials - sum(counts)
    if left < 0:
        raise ValueError(
            f"faults must be at least {sum(counts)}, two for each of {len(sizes)} "
            f"strata, got {trials}; draw more, or draw uniformly"
        )
    while left:
        room = [size - count for size, count in zip(sizes, counts, strict=True)]
        total = math.fsum(w for w, r in zip(wishes, room, strict=True) if r)
        shares = [
            min(int(left * w / total), r) for w, r in zip(wishes, room, strict=True)
        ]
        if not any(shares):
            # Fewer are left than strata: one each, the largest wishes first.
            order = sorted(
                (n for n, r in enumerate(room) if r), key=lambda n: -wishes[n]
            )
            for number in order[:left]:
                shares[number] = 1
        counts = [count + share for count, share in zip(counts, shares, strict=True)]
        left -= sum(shares)
    return counts
