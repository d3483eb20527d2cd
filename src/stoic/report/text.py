"""Text for people: percent with the digits that intervals justify, short names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stoic.estimates import Estimate

__all__ = ["aligned", "limits", "percent", "shortened", "span"]

# As wide as a digit, and as wide as a point.
_DIGIT, _POINT = "\u2007", "\u2008"
_LONGEST = 80


def percent(estimate: Estimate) -> str:
    """Return the value in percent: two digits of the interval's half-width.

    Only what is 0 or 100 looks like it.
    """
    value = 100 * estimate.value
    if value in (0, 100):
        return f"{value:.0f}"
    if estimate.low == estimate.high:
        return f"{value:.4g}"
    text = f"{value:.{_places(estimate)}f}"
    if float(text) == 0:
        return f"{value:.{-math.floor(math.log10(value))}f}"
    return f"< {text}" if float(text) == 100 else text


def limits(estimate: Estimate) -> str:
    """Return the interval in percent; one limit where the value is the other."""
    if estimate.low == estimate.high:
        return "all tried" if estimate.n else "proved"
    low, high = (
        f"{100 * limit:.{_places(estimate)}f}"
        for limit in (estimate.low, estimate.high)
    )
    if estimate.value == 0:
        return f"upper limit {high}"
    return f"lower limit {low}" if estimate.value == 1 else f"{low} to {high}"


def span(estimate: Estimate) -> str:
    """Return value and interval in one text."""
    if estimate.low == estimate.high:
        return f"{percent(estimate)} %, every fault tried"
    return f"{percent(estimate)} % ({limits(estimate)} %)"


def aligned(texts: Sequence[str]) -> list[str]:
    """Pad numbers at the end so that their points stand below each other."""
    tails = [len(text.partition(".")[2]) for text in texts]
    most = max(tails, default=0)
    return [
        text + _POINT * (tail == 0 < most) + _DIGIT * (most - tail)
        for text, tail in zip(texts, tails, strict=True)
    ]


def shortened(text: str) -> str:
    """Leave out the middle of a very long name."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} … {text[-half:]}"


def _places(estimate: Estimate) -> int:
    """Decimals of a percentage that print two digits of the interval's half-width."""
    half = 50 * (estimate.high - estimate.low)
    return max(1, 1 - math.floor(math.log10(half)))
