"""Products of two values that hang on the image: a signal, and a gate that lets it by.

The gate counts as a constant: what it decides is how much of the signal there is, and
that is what the signal's relevance tells.
"""

from __future__ import annotations

from stoic.causes.relevance.operators.contract import Handed, Passage, proportional
from stoic.network.certified.contract import Call

__all__ = ["gated"]

# What ends between 0 and 1, or between -1 and 1.
_GATES = frozenset(
    {"sigmoid", "hardsigmoid", "softmax", "tanh", "hardtanh", "relu6", "clamp"}
)
_LAYOUT = frozenset(
    "as_reshape reshape view expand unsqueeze squeeze permute transpose clone mul div "
    "dropout contiguous".split()
)
_PRODUCTS = frozenset({"matmul", "bmm", "mm"})


def gated(passage: Passage) -> Handed | None:
    """Hand all on to the signal."""
    call, relevance = passage.call, passage.relevance
    operator = call.step.operator
    if operator == "scaled_dot_product_attention":
        # Where to look is the gate: what query and key make.
        gates = {name for name in (call.name(0), call.name(1)) if name is not None}
        return proportional(passage, gates - {call.name(2)}, constants=False)
    if operator == "div" and call.deviates(0) and len(call.reads) == 2:
        signal = call.reads[0]
    elif operator in _PRODUCTS | {"mul"} and len(call.reads) == 2:
        found = _signal(passage, *call.reads)
        if found is None:
            return None
        signal = found
    else:
        return None
    if operator in _PRODUCTS:
        return proportional(passage, {*call.reads} - {signal}, constants=False)
    return Handed({signal: relevance.sum_to_size(call.golden(signal).shape)})


def _signal(passage: Passage, one: str, two: str) -> str | None:
    """Return the factor that is no gate, if only one is or one is the smaller."""
    is_gate = [_is_gate(passage.origin(name), passage) for name in (one, two)]
    if is_gate[0] != is_gate[1]:
        return two if is_gate[0] else one
    sizes = [passage.call.golden(name).numel() for name in (one, two)]
    if passage.call.step.operator != "mul" or sizes[0] == sizes[1]:
        return None
    return one if sizes[0] > sizes[1] else two


def _is_gate(call: Call | None, passage: Passage) -> bool:
    """Say whether a value comes from what ends between bounds, but for its layout."""
    while call is not None and call.step.operator in _LAYOUT and len(call.reads) == 1:
        call = passage.origin(call.reads[0])
    return call is not None and call.step.operator in _GATES
