"""Bins of scores: how far a changed word may move the verdict, to first order.

A score is the change of the word times the slope of the verdict's lead, as a part of
the lead: from 1 on, a straight line would turn the verdict. Bins only decide where a
plan looks, so their hints may be wrong without making any estimate so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "bin_name", "binned", "hint_of", "put"]

# Bins by powers of two, and what lies outside of them.
_LOW, _HIGH = -12, 4
_HUGE = 20
# Without a slope: as if the site's typical slope were that of the word.
_FLAT = {0: 1e-6, 1: 0.01, 2: 0.3}
_FLAT_EDGES = (2.0**-4, 2.0**10)

_FIRST = len(_FLAT)
_POWERS = _HIGH - _LOW + 1
_FAR = _FIRST + _POWERS
# The exponent of 1, as float32 writes it.
_ONE = 127
_BROKEN = _FAR + 1
# Where a straight line says nothing, words that rise have a bin of their own: many a
# network goes dead where they fall.
_SIDED = (_FIRST - 1, _FAR, _BROKEN)
BINS = _BROKEN + 1 + len(_SIDED)
# Units whose bins are found at once: few enough to stay in a cache.
_AT_ONCE = 1 << 17


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
    shape = np.broadcast_shapes(change.shape, slope.shape)
    codes, wide = np.empty(shape, np.uint8), max(1, _AT_ONCE // shape[0])
    with np.errstate(all="ignore"):
        for start in range(0, shape[1], wide):
            some = np.s_[:, start : start + wide]
            codes[some] = _codes(change[some], slope[some], typical)
    return codes


def _codes(
    change: NDArray[Any], slope: NDArray[Any], typical: float
) -> NDArray[np.uint8]:
    score = change.astype(np.float32) * slope
    # The exponent of a number is its logarithm, rounded down: the bits after its sign.
    exponent = (score.view(np.uint32) >> 23).astype(np.uint8)
    code = np.clip(exponent, np.uint8(_ONE + _LOW), np.uint8(_ONE + _HIGH))
    code -= np.uint8(_ONE + _LOW - _FIRST)
    put(code, exponent >= _ONE + _HUGE, np.uint8(_FAR))
    size = np.abs(change) * typical
    flat = np.add(*(size >= edge for edge in _FLAT_EDGES), dtype=np.uint8)
    put(code, exponent == 0, flat)
    put(code, ~np.isfinite(change), np.uint8(_BROKEN))
    rises = change > 0
    for number, place in enumerate(_SIDED):
        put(code, (code == place) & rises, np.uint8(_BROKEN + 1 + number))
    return np.asarray(code)


def put(code: NDArray[np.uint8], where: NDArray[np.bool_], new: Any) -> None:
    """Replace codes: many times quicker than ``copyto`` where a mask is irregular."""
    code *= ~where
    code += where * new


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
