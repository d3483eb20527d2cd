"""The 2-norm of a step's linear map at most, alone or with the step before it."""

from __future__ import annotations

import math
from collections.abc import Callable

from stoic.network.certified.contract import Call
from stoic.sensitivity.linear import compose
from stoic.sensitivity.maps import linear_map
from stoic.sensitivity.norms import Store, upper_norm

__all__ = ["gain_by_norms"]


def gain_by_norms(store: Store) -> Callable[..., float]:
    """Return what bounds the norm of one linear step, or of two in a row.

    Args:
        store: Where norms are kept: they hang on weights alone, not on the inputs.
    """

    def gain(*calls: Call) -> float:
        maps = [linear_map(call) for call in calls]
        known = [each for each in maps if each is not None]
        if len(known) < len(calls):
            return math.inf
        first, *rest = known
        if rest and not rest[0].single:
            # Two maps that mix elements do not become one of known form.
            return math.inf
        return upper_norm(compose(first, *rest) if rest else first, store)

    return gain
