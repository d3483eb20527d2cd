"""Operators element by element: relevance passes them as it is."""

from __future__ import annotations

from torch import Tensor

from stoic.causes.relevance.operators.contract import Handed, Passage

__all__ = ["OPERATORS", "passing"]

OPERATORS = frozenset(
    # Activations.
    "relu relu6 hardtanh hardswish hardsigmoid leaky_relu prelu rrelu "
    "rrelu_with_noise elu selu celu gelu silu mish sigmoid tanh softplus hardshrink "
    "softshrink threshold log_sigmoid clamp clamp_min clamp_max "
    # What changes no number at inference, or all by the same factor.
    "clone detach alias contiguous to _to_copy to_copy lift_fresh_copy dropout "
    "feature_dropout alpha_dropout native_dropout neg mul div "
    # A norm that could not be folded.
    "native_batch_norm_legit_no_training".split()
)


def passing(passage: Passage) -> Handed | None:
    """Hand all on, element by element; what was repeated on the way is summed."""
    call = passage.call
    if call.step.operator not in OPERATORS or len(call.reads) != 1:
        return None
    (name,) = call.reads
    value = call.golden(name)
    if call.step.operator == "div" and not call.deviates(0):
        return None
    relevance: Tensor = passage.relevance
    return Handed({name: relevance.sum_to_size(value.shape)})
