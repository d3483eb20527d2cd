"""The known cause of each failure, as scores read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.causes.failures import UNKNOWN

__all__ = ["JOIN", "Truth"]

JOIN = "+"
"""What joins the causes of a failure that has several: ``blur+noise``."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Which scenarios each failure belongs to.

    Args:
        names: Of the scenarios, in order of the alphabet.
        holds: Whether a failure is of a scenario, of shape (failures, scenarios); no
            failure of an unknown cause is of any.
        kinds: The label of each failure as a number, -1 where the cause is unknown.
            Combinations are labels of their own here, always.
    """

    names: tuple[str, ...]
    holds: NDArray[np.bool_]
    kinds: NDArray[np.int64]

    @classmethod
    def of(cls, scenarios: NDArray[np.str_], *, parts: bool = False) -> Truth:
        """Read an array of names, one for each failure.

        Args:
            scenarios: The cause of each failure, or ``UNKNOWN``.
            parts: A failure of several causes is of each of them; else their
                combination is a scenario of its own.

        Raises:
            ValueError: If no cause is known.
        """
        labels, kinds = np.unique(scenarios, return_inverse=True)
        kinds = kinds.reshape(-1) - int(labels[:1].tolist() == [UNKNOWN])
        words = [str(label) for label in labels if label != UNKNOWN]
        if not words:
            raise ValueError(
                "scenarios must name the cause of at least one failure, got none; "
                "scores need known causes"
            )
        causes = [word.split(JOIN) if parts else [word] for word in words]
        names = tuple(sorted({name for each in causes for name in each}))
        # One more row than labels: the last, all False, is that of the unknown.
        table = np.array([[name in own for name in names] for own in [*causes, []]])
        return cls(names, table[kinds], kinds)

    def __len__(self) -> int:
        return len(self.holds)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the cause of each failure is known."""
        return np.asarray(self.kinds >= 0)
