"""What is certain without injection: verdicts that no fault of some size can turn.

Nothing here is read off a range of golden values: a proof holds for every value that a
fault can lead to, with the rounding of both runs.
"""

from stoic.network.certified.closed import (
    FAILS,
    HOLDS,
    OPEN,
    Kind,
    LastLinear,
    closed_verdicts,
    last_linear,
    last_linear_of,
)
from stoic.network.certified.several import joined_values
from stoic.network.certified.thresholds import thresholds, thresholds_of

__all__ = [
    "FAILS",
    "HOLDS",
    "OPEN",
    "Kind",
    "LastLinear",
    "closed_verdicts",
    "joined_values",
    "last_linear",
    "last_linear_of",
    "thresholds",
    "thresholds_of",
]
