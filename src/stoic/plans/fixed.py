"""Plans that know beforehand which faults to try: exhaustive, uniform, stratified."""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from stoic.plans.contract import Draw, Stratum
from stoic.plans.shuffled import sample

__all__ = [
    "Exhaustive",
    "Stratified",
    "Uniform",
    "allotted",
    "check_allocation",
    "equal_shares",
]

# Near matches of a name that is none.
_SHOWN = 5


@dataclass(frozen=True)
class Exhaustive:
    """Every fault once, in the order of the space."""

    def draws(self, strata: Sequence[Stratum], *, seed: int) -> Iterator[Draw]:
        """Return every fault; the seed plays no part."""
        places = (
            (number, position)
            for number, stratum in enumerate(strata)
            for position in range(stratum.size)
        )
        return _numbered(places)

    def as_record(self) -> dict[str, Any]:
        """Name the plan."""
        return {"name": "exhaustive"}


@dataclass(frozen=True)
class Uniform:
    """Faults drawn uniformly from all strata together.

    The first draws of a longer plan are those of a shorter one.

    Args:
        trials: How many.
        replacement: Whether a fault may be drawn again.
    """

    trials: int
    replacement: bool = False

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")

    def draws(self, strata: Sequence[Stratum], *, seed: int) -> Iterator[Draw]:
        """Return the draws.

        Raises:
            ValueError: More trials than faults, without replacement.
        """
        starts = list(itertools.accumulate((s.size for s in strata), initial=0))
        places = sample(starts[-1], self.trials, f"uniform {seed}", self.replacement)

        def placed(position: int) -> tuple[int, int]:
            number = bisect.bisect_right(starts, position) - 1
            return number, position - starts[number]

        return _numbered(map(placed, places))

    def as_record(self) -> dict[str, Any]:
        """Name the plan and its settings."""
        return {
            "name": "uniform",
            "trials": self.trials,
            "replacement": self.replacement,
        }


@dataclass(frozen=True)
class Stratified:
    """A fixed number of faults from each stratum, uniformly within it.

    Strata take turns in proportion to their trials, so that a campaign cut short has
    done about the same share of each.

    Args:
        trials: How many, by name of the stratum; 0 leaves a stratum unknown.
    """

    trials: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, trials in self.trials.items():
            if trials < 0:
                raise ValueError(
                    f"trials of stratum {name} must be at least 0, got {trials}"
                )
        if not any(self.trials.values()):
            raise ValueError("trials must be at least 1 in all, got 0")

    def draws(self, strata: Sequence[Stratum], *, seed: int) -> Iterator[Draw]:
        """Return the draws, without replacement.

        Raises:
            ValueError: A stratum is not named, a name is no stratum, or more trials
                than faults.
        """
        names = {stratum.name for stratum in strata}
        if names != self.trials.keys():
            wrong = sorted(names ^ self.trials.keys())
            raise ValueError(
                f"trials must name every stratum once, got a difference in {wrong}; "
                "give 0 to leave a stratum unknown"
            )
        turns = [
            self._turns(number, stratum, seed)
            for number, stratum in enumerate(strata)
            if self.trials[stratum.name]
        ]
        return _numbered((number, place) for _, number, place in heapq.merge(*turns))

    def _turns(
        self, number: int, stratum: Stratum, seed: int
    ) -> Iterator[tuple[float, int, int]]:
        trials = self.trials[stratum.name]
        places = sample(stratum.size, trials, f"stratum {seed} {stratum.name}", False)
        return (
            ((rank + 0.5) / trials, number, place) for rank, place in enumerate(places)
        )

    def as_record(self) -> dict[str, Any]:
        """Name the plan and its settings."""
        return {"name": "stratified", "trials": dict(self.trials)}


def equal_shares(sizes: Mapping[str, int], faults: int) -> dict[str, int]:
    """Return equally many faults of each stratum; small ones leave theirs to others.

    Raises:
        ValueError: There are fewer faults than strata.
    """
    if faults < len(sizes):
        raise ValueError(
            f"faults must be at least {len(sizes)}, one for each stratum, got {faults}"
        )
    shares: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: sizes[name]):
        left = faults - sum(shares.values())
        shares[name] = min(left // (len(sizes) - len(shares)), sizes[name])
    return {name: shares[name] for name in sizes}


def check_allocation(trials: Mapping[str, int]) -> None:
    """Refuse trials by stratum that no strata at all could have.

    Raises:
        ValueError: They are no numbers by name, or none at all.
    """
    if not isinstance(trials, Mapping):
        raise ValueError(
            "allocation must be numbers of faults by name of the stratum, got "
            f"{type(trials).__name__}"
        )
    for name, count in trials.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(
                f"allocation must be whole numbers from 0 on, got {count!r} "
                f"for {name!r}"
            )
    if not any(trials.values()):
        raise ValueError("allocation must be of at least 1 fault in all, got 0")


def allotted(sizes: Mapping[str, int], trials: Mapping[str, int]) -> dict[str, int]:
    """Return trials of every stratum: 0 where none were given.

    Args:
        sizes: Faults of each stratum.
        trials: As a user gives them.

    Raises:
        ValueError: A name is no stratum's, or a stratum has fewer faults.
    """
    for name, count in trials.items():
        if name not in sizes:
            near = get_close_matches(name, sizes, _SHOWN, cutoff=0.3)
            raise ValueError(
                f"allocation must name strata, got {name!r}; "
                f"near it: {', '.join(near or list(sizes)[:_SHOWN])}"
            )
        if count > sizes[name]:
            raise ValueError(
                f"allocation must be at most {sizes[name]}, the faults of stratum "
                f"{name}, got {count}"
            )
    return {name: trials.get(name, 0) for name in sizes}


def _numbered(places: Iterator[tuple[int, int]]) -> Iterator[Draw]:
    return (Draw(trial, *place) for trial, place in enumerate(places))
