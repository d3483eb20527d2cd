"""Short steps: from where on to run them whole is quicker than to narrow them."""

from __future__ import annotations

from functools import partial

from stoic.network.golden import Golden
from stoic.network.memory import second_time

__all__ = ["short_from"]

# What it takes to find out how a step can be narrowed, and to put slices together.
_LOOKING_S = 150e-6


def short_from(golden: Golden) -> int:
    """Return the order of the first step from which on steps are short on average.

    There is none where memory is limited: values may have to be made again first.
    """
    steps = golden.program.steps
    first, spent = len(steps), 0.0
    if golden.bounded:
        return first
    for number in reversed(range(len(steps))):
        spent += second_time(partial(steps[number], golden))
        if spent < _LOOKING_S * (len(steps) - number):
            first = number
    return first
