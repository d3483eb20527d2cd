"""Slopes of operators that work element by element: on intervals, and everywhere.

A range of slopes holds every quotient ``(f(a) - f(b)) / (a - b)`` of the exact function
on its interval: so ``f`` moves by a number of that range times what its argument moves.
"""

from __future__ import annotations

import math
import sys
from functools import reduce

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.curves import Curve, Piece, curve_of

__all__ = ["derivative_range", "steepest"]

_LARGEST = sys.float_info.max


def derivative_range(
    call: Call, lo: Tensor, hi: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Return the least and largest slope of a step on intervals, for each element.

    Args:
        call: A step that works element by element on one deviating value.
        lo: Least numbers of that value, for some inputs; may be infinite.
        hi: Largest ones.

    Returns:
        Two float64 tensors, rounded outwards; infinite where the function is not
        defined on all of an interval. Nothing where the step is of another kind, is not
        known, or jumps.
    """
    curve = curve_of(call)
    if curve is None:
        return None
    return _range(curve, lo.detach().double(), hi.detach().double())


def steepest(call: Call) -> float | None:
    """Return the largest size of a step's slope, over all numbers and elements.

    It is the step's Lipschitz constant in the 1-, 2- and infinity-norm, and infinite
    where there is none. Nothing is returned where `derivative_range` returns nothing.
    """
    curve = curve_of(call)
    if curve is None:
        return None
    end = torch.tensor(math.inf, dtype=torch.float64)
    low, high = _range(curve, -end, end)
    return float(torch.maximum(low.abs(), high.abs()).max())


def _range(curve: Curve, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    pieces = curve.pieces
    defined = (lo >= pieces[0].start) & (hi <= pieces[-1].end) & (lo <= hi)
    if curve.pole is not None:
        defined &= (lo > curve.pole) | (hi < curve.pole)
    ranges = [_on_piece(piece, lo, hi) for piece in pieces]
    low = reduce(torch.minimum, (least for least, _ in ranges))
    high = reduce(torch.maximum, (largest for _, largest in ranges))
    # What overflows is finite all the same, and so no bound from the other side.
    low, high = low.clamp(max=_LARGEST), high.clamp(min=-_LARGEST)
    return (
        torch.where(defined, low, -math.inf),
        torch.where(defined, high, math.inf),
    )


def _on_piece(piece: Piece, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range of a piece; an empty one where it has no part of the interval.

    A piece that an interval only touches has no part in its quotients, but the single
    point where two pieces meet has both of their slopes.
    """
    start, end = (torch.as_tensor(place).double() for place in (piece.start, piece.end))
    left, right = torch.maximum(lo, start), torch.minimum(hi, end)
    outside = (left > right) | ((left == right) & (lo < hi))
    ends = torch.stack([piece.derivative(left), piece.derivative(right)])
    slack = piece.slack * (1 + ends.abs().nan_to_num(0.0))
    low, high = (ends - slack).amin(0), (ends + slack).amax(0)
    return torch.where(outside, math.inf, low), torch.where(outside, -math.inf, high)
