"""What benches have found out by trial, kept for those that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Learnt"]

T = TypeVar("T")


@dataclass
class Learnt:
    """What holds for all batches of one size, as kernels choose their way by sizes.

    Args:
        proofs: Whether a rule gives the words of a full run, by step and shape.
        widths: How wide a slice must be for that, by step.
        pays: So many faults in a value pay to be stacked.
        tried: So many were tried and did not.
        found: Everything else, by name.
    """

    proofs: dict[Any, bool] = field(default_factory=dict)
    widths: dict[Any, int] = field(default_factory=dict)
    pays: dict[str, int] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, find: Callable[[], T]) -> T:
        """Return what was found before, or find it."""
        if name not in self.found:
            self.found[name] = find()
        found: T = self.found[name]
        return found
