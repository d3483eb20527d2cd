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
)
from stoic.network.certified.thresholds import thresholds

__all__ = [
    "FAILS",
    "HOLDS",
    "OPEN",
    "Kind",
    "LastLinear",
    "closed_verdicts",
    "last_linear",
    "thresholds",
]
