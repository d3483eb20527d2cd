"""Scores of many runs, as a table: what was run, and how well it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Runs"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Runs:
    """One row for each run.

    Args:
        factors: What was run, by name: such as the extractor, the case and the seed of
            each row.
        scores: How well it did, all finite.
    """

    factors: Mapping[str, NDArray[np.str_]]
    scores: Floats

    def __post_init__(self) -> None:
        for name, column in self.factors.items():
            if len(column) != len(self.scores):
                raise ValueError(
                    f"factor {name} must have one row for each of the "
                    f"{len(self.scores)} scores, got {len(column)}"
                )
        if not np.isfinite(self.scores).all():
            raise ValueError(
                "scores must be finite, got "
                f"{int((~np.isfinite(self.scores)).sum())} that are not; "
                "count a run without a score as the worst"
            )

    def column(self, name: str) -> NDArray[np.str_]:
        """Return the levels of one factor, row by row."""
        if name not in self.factors:
            raise ValueError(
                f"factor must be one of {', '.join(self.factors)}, got {name}"
            )
        return self.factors[name]

    def levels(self, name: str) -> tuple[str, ...]:
        """Return the levels of one factor, in order of the alphabet."""
        return tuple(np.unique(self.column(name)).tolist())

    def joined(self, names: Sequence[str]) -> NDArray[np.str_]:
        """Return several factors as one, such as the stages as a pipeline."""
        columns = [self.column(name).tolist() for name in names]
        return np.array([" + ".join(row) for row in zip(*columns, strict=True)])

    def cells(self, names: Sequence[str]) -> Floats:
        """Return the scores as an array: one axis for each factor, and one of repeats.

        Raises:
            ValueError: If some cells have more rows than others.
        """
        places = [
            np.unique(self.column(name), return_inverse=True)[1].reshape(-1)
            for name in names
        ]
        shape = tuple(len(self.levels(name)) for name in names)
        flat = np.ravel_multi_index(tuple(places), shape)
        counts = np.bincount(flat, minlength=int(np.prod(shape)))
        if counts.min() != counts.max() or not len(flat):
            raise ValueError(
                f"runs must be as many for each {' x '.join(names)}, got "
                f"{counts.min()} to {counts.max()}; run what is missing"
            )
        order = np.argsort(flat, kind="stable")
        return np.asarray(self.scores[order].reshape(*shape, -1))
