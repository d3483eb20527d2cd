"""Bins of scores: how far a changed word may move the verdict, to first order.

A score is the change of the word times the slope of the verdict's lead, as a part of
the lead: from 1 on, a straight line would turn the verdict. Bins only decide where a
plan looks, so their hints may be wrong without making any estimate so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "bin_name", "binned", "hint_of"]

# Bins by powers of two, and what lies outside of them.
_LOW, _HIGH = -12, 4
_HUGE = 20
# Without a slope: as if the site's typical slope were that of the word.
_FLAT = {0: 1e-6, 1: 0.01, 2: 0.3}
_FLAT_EDGES = (2.0**-4, 2.0**10)

_FIRST = len(_FLAT)
_POWERS = _HIGH - _LOW + 1
_FAR = _FIRST + _POWERS
_BROKEN = _FAR + 1
# Where a straight line says nothing, words that rise have a bin of their own: many a
# network goes dead where they fall.
_SIDED = (_FIRST - 1, _FAR, _BROKEN)
BINS = _BROKEN + 1 + len(_SIDED)


def binned(
    change: NDArray[Any], slope: NDArray[Any], typical: float
) -> NDArray[np.uint8]:
    """Return the bin of each unit.

    Args:
        change: New value less the old one, of shape ``(1 or rows, elements)``; what is
            not finite has a bin of its own.
        slope: Of the lead, as a part of it, per unit of change, likewise; float32.
        typical: Slope to go by where there is none.
    """
    with np.errstate(all="ignore"):
        size = np.abs(change)
        score = size.astype(np.float32) * slope
        # The exponent of a number is its logarithm, rounded down.
        exponent = (score.view(np.uint32) >> 23).astype(np.uint8)
        code = _BY_EXPONENT[exponent]
        flat = np.digitize(size * typical, _FLAT_EDGES).astype(np.uint8)
        np.copyto(code, flat, where=exponent == 0)
        broken = ~np.isfinite(change)
        if broken.any():
            np.copyto(code, np.uint8(_BROKEN), where=broken)
        code += _RISES[code] * (change > 0)
        return np.asarray(code)


def _by_exponent() -> NDArray[np.uint8]:
    """Return the place of each exponent of a score, as float32 writes it."""
    powers = np.arange(256) - 127
    places = _FIRST - _LOW + np.clip(powers, _LOW, _HIGH)
    return np.where(powers >= _HUGE, _FAR, places).astype(np.uint8)


_BY_EXPONENT = _by_exponent()


def _rises() -> NDArray[np.uint8]:
    """Return how far from each place the bin of words that rise is."""
    rises = np.zeros(_BROKEN + 1, np.uint8)
    for number, place in enumerate(_SIDED):
        rises[place] = _BROKEN + 1 + number - place
    return rises


_RISES = _rises()


def hint_of(code: int) -> float:
    """Return the share of failures to reckon with in a bin before anything is known."""
    place = _place(code)
    if place < _FIRST:
        return _FLAT[place]
    power = place - _FIRST + _LOW
    return 0.4 if power >= 0 else 0.02 * 4.0**power


def bin_name(code: int) -> str:
    """Return what a bin is called."""
    place = _place(code)
    side = (" up" if code > _BROKEN else " down") if place in _SIDED else ""
    if place < _FIRST:
        return f"flat {place}{side}"
    if place == _FAR:
        return f"score from 2^{_HUGE}{side}"
    if place == _BROKEN:
        return f"not finite{side}"
    return f"score 2^{place - _FIRST + _LOW}"


def _place(code: int) -> int:
    return code if code <= _BROKEN else _SIDED[code - _BROKEN - 1]
