"""Sums without weights: pools, means, and values that are added to each other."""

from __future__ import annotations

from stoic.causes.relevance.operators.contract import Handed, Passage, proportional

__all__ = ["ADDING", "OPERATORS", "summing"]

ADDING = frozenset({"add", "sub", "rsub"})
OPERATORS = ADDING | frozenset(
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d mean sum cumsum upsample_linear1d upsample_bilinear2d "
    "upsample_bicubic2d".split()
)


def summing(passage: Passage) -> Handed | None:
    """Share out in proportion to what each element adds."""
    step = passage.call.step
    if step.operator not in OPERATORS:
        return None
    # What is added to a single value that hangs on the image is a constant.
    constants = step.operator in ADDING and len(passage.call.reads) == 1
    return proportional(passage, constants=constants)
