"""What a plan sees: strata with sizes, and nothing of networks or faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

__all__ = ["Draw", "Plan", "Stratum"]


@dataclass(frozen=True)
class Stratum:
    """A part of the fault space.

    Args:
        name: Unique among the strata.
        size: Number of its faults.
        parts: Strata that it consists of, for plans that split where it pays.
        hint: Share of failures to reckon with before anything is known. It decides
            where a plan looks first, never what is true.
    """

    name: str
    size: int
    parts: tuple[Stratum, ...] = ()
    hint: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(
                f"size of stratum {self.name} must be at least 1, got {self.size}; "
                "leave the stratum out"
            )
        whole = sum(part.size for part in self.parts)
        if self.parts and whole != self.size:
            raise ValueError(
                f"parts of stratum {self.name} must hold its {self.size} faults once "
                f"each, got {whole}"
            )

    @cached_property
    def breadth(self) -> int:
        """How many leaves there are."""
        return sum(part.breadth for part in self.parts) or 1

    def leaves(self) -> Iterator[Stratum]:
        """Yield the parts of the parts, down to those that have none."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


@dataclass(frozen=True, slots=True)
class Draw:
    """One fault to try.

    Args:
        trial: Number of the trial, in the order drawn.
        stratum: Index of the stratum.
        position: Of the fault in its stratum, in ``0..size - 1``.
    """

    trial: int
    stratum: int
    position: int


class Plan(Protocol):
    """A way to draw faults."""

    def draws(self, strata: Sequence[Stratum], *, seed: int) -> Iterator[Draw]:
        """Return the draws in their order; what cannot be drawn is refused at once."""
        ...

    def as_record(self) -> dict[str, Any]:
        """Return plain data from which `read_plan` makes an equal plan."""
        ...
