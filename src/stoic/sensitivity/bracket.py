"""Numbers known to lie between two others, both rounded outwards."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Bracket", "largest", "outward", "rounding"]

_EPS = 2.0**-53


@dataclass(frozen=True)
class Bracket:
    """A number that is not negative, between two bounds.

    Args:
        lower: No larger than the number.
        upper: No smaller; may be infinite.

    Raises:
        ValueError: The bounds are no bracket.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.upper:
            raise ValueError(
                "bracket must have 0 <= lower <= upper, "
                f"got {self.lower} and {self.upper}; give the lower bound first"
            )

    @classmethod
    def around(cls, value: float, relative: float = 0.0) -> Bracket:
        """Return the bracket of a number that was computed with some relative error."""
        return cls(max(value * (1 - relative), 0.0), outward(value, relative))

    @property
    def exact(self) -> bool:
        """Whether nothing but rounding is between the bounds."""
        return self.upper <= self.lower * (1 + 1e-6)

    @property
    def width(self) -> float:
        """How many times larger the upper bound is than the lower one."""
        if self.upper == 0:
            return 1.0
        return self.upper / self.lower if self.lower > 0 else math.inf

    def __mul__(self, other: Bracket | float) -> Bracket:
        """Return the bracket of a product."""
        if not isinstance(other, Bracket):
            other = Bracket(other, other)
        low, high = _times(self.lower, other.lower), _times(self.upper, other.upper)
        return Bracket(low * (1 - 2 * _EPS), outward(high))

    def __add__(self, other: Bracket | float) -> Bracket:
        """Return the bracket of a sum."""
        if not isinstance(other, Bracket):
            other = Bracket(other, other)
        low, high = self.lower + other.lower, self.upper + other.upper
        return Bracket(low * (1 - 2 * _EPS), outward(high))

    def __pow__(self, exponent: float) -> Bracket:
        """Return the bracket of a power with an exponent that is not negative."""
        # Library powers may be off by a few roundings.
        low, high = self.lower**exponent, self.upper**exponent
        return Bracket(low * (1 - 16 * _EPS), outward(high, 16 * _EPS))

    def __and__(self, other: Bracket) -> Bracket:
        """Return the bracket of a number that both brackets are of."""
        return Bracket(max(self.lower, other.lower), min(self.upper, other.upper))


def largest(brackets: Iterable[Bracket]) -> Bracket:
    """Return the bracket of the largest of some numbers, of none 0."""
    found = [*brackets] or [Bracket(0.0, 0.0)]
    return Bracket(max(b.lower for b in found), max(b.upper for b in found))


def outward(value: float, relative: float = 0.0) -> float:
    """Return a number no smaller than one that was computed with a relative error.

    Args:
        value: As computed; not negative.
        relative: Its error, of its own size.
    """
    # Two more roundings: of the factor, and of the product.
    return value * (1 + relative + 4 * _EPS) if value else 0.0


def rounding(terms: int, unit: float = _EPS) -> float:
    """Return the relative error of a sum of products that are not negative.

    Higham's gamma, for any order of the terms, with a factor of 8 for what comes
    around the sum: conversions, scales, complex products, norms and roots.

    Args:
        terms: Products in the longest sum.
        unit: Of the format, half the distance from 1 to the next number; of float64.
    """
    share = 8 * (terms + 8) * unit
    return share / (1 - share) if share < 1 else math.inf


def _times(a: float, b: float) -> float:
    """Multiply; what is never there counts as 0, however large the rest may be."""
    return 0.0 if a == 0 or b == 0 else a * b
