"""Numbers of float32 in as few digits as tell them from all others."""

from __future__ import annotations

import numpy as np

__all__ = ["numeral"]


def numeral(number: float) -> str:
    """Return the shortest text that is read as the same number of float32.

    So whoever compares by what they read comes to the same verdict.
    """
    # Nine digits tell every number of float32 from its neighbours.
    return f"{float(str(np.float32(number))):.9g}"
