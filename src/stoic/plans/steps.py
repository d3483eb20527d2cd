"""What a plan knew before each trial: enough to make a fair estimate of its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np

from stoic.plans.contract import Stratum

__all__ = ["Floats", "Known", "Steps", "check_partition"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True)
class Known:
    """What is known of a population without trials.

    Args:
        size: Units, drawn or not, known or not.
        known: Of these, units whose outcome is proved.
        failed: Sum of the shares of the proved units.
    """

    size: int
    known: int = 0
    failed: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.failed <= self.known <= self.size:
            raise ValueError(
                "proved failures, proved units and units must be in order from 0 on, "
                f"got {self.failed:g}, {self.known} and {self.size}"
            )


def check_partition(leaves: Sequence[Stratum], known: Known) -> None:
    """Refuse strata that leave units out, or hold some twice.

    Args:
        leaves: The smallest ones.
        known: What is proved; they are to hold all that is not.

    Raises:
        ValueError: They are no partition of it.
    """
    held, wanted = sum(leaf.size for leaf in leaves), known.size - known.known
    if held != wanted:
        raise ValueError(
            f"strata must hold each of the {wanted} units that are not proved once, "
            f"got {held}"
        )
    names = Counter(leaf.name for leaf in leaves)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"strata must be different ones, got {twice[0]} twice")


@dataclass(frozen=True)
class Steps:
    """What was known before each trial, one entry per trial in the order drawn.

    Divide the population's sum into what is proved, what earlier trials have found, and
    the rest. A trial with share ``x`` says of the rest, as a part of the population,

        base + scale * (x - guess)

    whose expectation, given everything before the trial, is right whatever the guesses
    are: its stratum was drawn with a probability that was known, and its unit uniformly
    from those left in the stratum.

    Args:
        stratum: Index of the smallest stratum that the unit is in.
        base: What the rest would be if all guesses were right.
        scale: Units left in the stratum that was drawn from, as a part of the
            population, by the probability of drawing from it.
        guess: Expected share in that stratum.
        top: Most that the trial could have said, whatever was drawn.
        bottom: Least.
        widest: Largest scale that a trial could have had.
        stake: Amount to bet on the trial.
        weight: Of the trial in the estimate; fixed before its batch was drawn.
        batch: Number of the batch.
    """

    stratum: Any
    base: Floats
    scale: Floats
    guess: Floats
    top: Floats
    bottom: Floats
    widest: Floats
    stake: Floats
    weight: Floats
    batch: Any

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.base)

    def first(self, count: int) -> Steps:
        """Return the steps of the first trials."""
        return Steps(*(getattr(self, field.name)[:count] for field in fields(self)))

    def unguided(self) -> Steps:
        """Return the same without guesses, which are about all units together."""
        none = np.zeros(len(self))
        return replace(self, base=none, guess=none, bottom=none, top=self.widest)

    @classmethod
    def joined(cls, parts: Sequence[Steps]) -> Steps:
        """Return the steps of several batches as one."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))
