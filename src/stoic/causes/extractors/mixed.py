"""A mix of extractors: what one of them overlooks another one may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Extractor, Features
from stoic.causes.reductions import standardised

__all__ = ["AND", "Mixed"]

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
        tables = [standardised(part(inquiry, seed)) for part in self.parts]
        return np.concatenate(tables, 1)
