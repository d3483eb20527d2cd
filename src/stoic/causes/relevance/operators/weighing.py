"""Convolutions and matrices: by the rule that the composite has for them."""

from __future__ import annotations

from stoic.causes.relevance.operators.contract import Handed, Passage
from stoic.causes.relevance.weighed import is_convolution, weighed

__all__ = ["weighing"]


def weighing(passage: Passage) -> Handed | None:
    """Share out what a step has weighed with stored numbers."""
    layer, composite = weighed(passage.call), passage.composite
    if layer is None:
        return None
    convolves = is_convolution(passage.call.step.operator)
    rule = composite.convolution if convolves else composite.linear
    if passage.first and composite.first is not None:
        rule = composite.first
    found = rule(layer, passage.relevance)
    (name,) = passage.call.reads
    return Handed({name: found.value}, found.bias, found.absorbed)
