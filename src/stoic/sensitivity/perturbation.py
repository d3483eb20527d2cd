"""What may differ between two runs of a network: inputs, stored words, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["DOUBLE", "Perturbation", "WrongWords"]

_UP = 1 + 1e-9

DOUBLE = 2.0**-53
"""The rounding of float64, in which bounds are computed: always part of the set."""


@dataclass(frozen=True)
class Perturbation:
    """A set of perturbations; all of them may come at once.

    Args:
        radius: Of the inputs' deviation, relative to the norm of each input.
        norm: Of the radius: 2, or infinity for the same in every element.
        stored: Relative error of every stored word that has no absolute one.
        stored_steps: Absolute errors of stored words, by the name of their tensor; each
            a number, or a tensor that fits.
        values: Relative error of every computed value, as it is stored.
        value_steps: Absolute errors of computed values, by name; each a number, or a
            function of the largest size that every element can have.
        sums: Relative error of each product and each addition inside an operator.

    Raises:
        ValueError: A number is negative or not finite, or there is no such norm.
    """

    radius: float = 0.0
    norm: float = 2
    stored: float = 0.0
    stored_steps: Mapping[str, float | torch.Tensor] = field(default_factory=dict)
    values: float = 0.0
    value_steps: Mapping[str, float | Callable[[torch.Tensor], torch.Tensor]] = field(
        default_factory=dict
    )
    sums: float = DOUBLE

    def __post_init__(self) -> None:
        for name in ("radius", "stored", "values", "sums"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0):
                raise ValueError(
                    f"{name} must be finite and >= 0, got {number}; 0 leaves it out"
                )
        if self.values >= 1:
            raise ValueError(
                f"values must be below 1, got {self.values}; it is a relative error"
            )
        if self.norm not in (2, math.inf):
            raise ValueError(
                f"norm must be 2 or inf, got {self.norm}; 2 is a ball, inf a box"
            )

    @classmethod
    def of_format(cls, dtype: torch.dtype) -> Perturbation:
        """Return what a run in another format may change.

        Every stored word, of the network and of a computed value, is rounded to it.
        Sums inside an operator are in float32 or wider, as kernels of half-precision
        formats have it. Overflow and underflow are not part of it.
        """
        unit = torch.finfo(dtype).eps / 2
        sums = min(unit, torch.finfo(torch.float32).eps / 2)
        # A float32 network's own words are exact in float32.
        stored = unit if unit > sums else 0.0
        return cls(stored=stored, values=unit, sums=sums)


@dataclass(frozen=True)
class WrongWords:
    """How far stored words may be off, and what is made of them alone.

    Args:
        perturbation: What may differ.
        stored: The words by the name of their tensor, in float64.
        made: Absolute errors of values that are made of stored ones, by name.
    """

    perturbation: Perturbation
    stored: Mapping[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    def share(self, name: str | None) -> float:
        """Return the relative error of every word of a tensor, if that is all of it."""
        value = self.stored.get(name or "")
        alike = name not in self.perturbation.stored_steps and _floats(value)
        return self.perturbation.stored if alike else 0.0

    def of(self, name: str | None) -> torch.Tensor | None:
        """Return absolute errors, float64; nothing where there are none."""
        if name is None or name not in self.stored:
            return self.made.get(name or "")
        value = self.stored[name]
        if name in self.perturbation.stored_steps and _floats(value):
            step = self.perturbation.stored_steps[name]
            return torch.as_tensor(step, dtype=torch.float64).expand_as(value)
        share = self.share(name)
        return value.detach().double().abs() * (share * _UP) if share else None


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
