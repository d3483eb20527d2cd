"""Numbers over many powers of ten: their scale, and how they spread over images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stoic.report.plots import Tick

__all__ = ["Decades", "Spread", "decades", "figure", "spread"]

# More marks than these would run into each other.
_MARKS = 8
# Images are drawn one by one up to here.
_DRAWN = 200
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Decades:
    """A logarithmic scale.

    Args:
        low: Power of ten at its start.
        high: At its end.
    """

    low: int
    high: int

    def at(self, number: float) -> float:
        """Return the place of a positive number, in percent of the width."""
        part = (math.log10(number) - self.low) / (self.high - self.low)
        return round(100 * min(max(part, 0.0), 1.0), 2)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Powers of ten, all of them or evenly left out."""
        every = math.ceil((self.high - self.low) / _MARKS)
        powers = range(self.low, self.high + 1, every)
        return tuple(
            Tick(self.at(10.0**power), _power(power), place % 2 == 0)
            for place, power in enumerate(powers)
        )


@dataclass(frozen=True)
class Spread:
    """How numbers of images are spread.

    Args:
        name: What they are; untrusted.
        label: What they are good for.
        quantiles: 5, 25, 50, 75 and 95 % of the images.
        drawn: Numbers of single images, if there are not too many.
        images: That have such a number.
        left_out: Images that have none.
        median: As text.
        limits: The outer quantiles as text.
    """

    name: str
    label: str
    quantiles: tuple[float, ...]
    drawn: tuple[float, ...]
    images: int
    left_out: int
    median: str
    limits: str


def spread(name: str, label: str, numbers: Sequence[float | None]) -> Spread | None:
    """Return how positive finite numbers are spread; None if there are none."""
    known = sorted(n for n in numbers if n is not None and 0 < n < math.inf)
    if not known:
        return None
    quantiles = tuple(_quantile(known, level) for level in _LEVELS)
    return Spread(
        name=name,
        label=label,
        quantiles=quantiles,
        drawn=tuple(known) if len(known) <= _DRAWN else (),
        images=len(known),
        left_out=len(numbers) - len(known),
        median=figure(quantiles[2]),
        limits=f"{figure(quantiles[0])} to {figure(quantiles[4])}",
    )


def decades(numbers: Iterable[float]) -> Decades:
    """Return a scale that holds positive numbers, and whole powers of ten."""
    logs = [math.log10(number) for number in numbers if number > 0]
    low = math.floor(min(logs, default=0.0))
    return Decades(low, max(math.ceil(max(logs, default=0.0)), low + 1))


def figure(number: float) -> str:
    """Return three digits, with a power of ten where there would be many zeros."""
    if number == 0 or 1e-3 <= abs(number) < 1e5:
        places = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
        return f"{number:,.{places}f}"
    mantissa, _, power = f"{number:.2e}".partition("e")
    return f"{mantissa}·{_power(int(power))}"


def _power(power: int) -> str:
    if power in (0, 1, 2):
        return str(10**power)
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}"


def _quantile(ordered: Sequence[float], level: float) -> float:
    """Interpolate between neighbours, in powers of ten as the scale does."""
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low, high = math.log10(ordered[below]), math.log10(ordered[above])
    number: float = 10 ** (low + (place - below) * (high - low))
    return number
