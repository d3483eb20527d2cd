"""A mix of extractors: what one of them overlooks another one may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Extractor, Features
from stoic.causes.reductions import standardised

__all__ = ["AND", "Mixed", "joined", "tables_of"]

AND = " and "
"""What joins the names of a mix."""


@dataclass(frozen=True)
class Mixed:
    """Several extractors side by side, each feature as heavy as any other.

    Args:
        parts: At least two.
    """

    parts: tuple[Extractor, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(
                f"parts must be at least two extractors, got {len(self.parts)}; "
                "take the one as it is"
            )

    @property
    def name(self) -> str:
        """What tables call it."""
        return AND.join(part.name for part in self.parts)

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return what all parts tell, of mean 0 and variance 1."""
        return joined(tables_of(self, inquiry, seed))


def tables_of(
    extractor: Extractor, inquiry: Inquiry, seed: int
) -> tuple[Features, ...]:
    """Return the features of each part of a mix, or of the one that is no mix."""
    parts = extractor.parts if isinstance(extractor, Mixed) else (extractor,)
    return tuple(part(inquiry, seed) for part in parts)


def joined(tables: Sequence[Features]) -> Features:
    """Return one table as it is, and several side by side, standardised."""
    if len(tables) == 1:
        return tables[0]
    return np.concatenate([standardised(table) for table in tables], 1)
