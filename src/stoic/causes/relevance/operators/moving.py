"""Operators that rearrange: relevance goes back to where each element came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.causes.relevance.operators.contract import Handed, Passage, again

__all__ = ["OPERATORS", "moving"]

_WITH_CONSTANTS = frozenset(
    # Something around a value, beside it, or in its place.
    "pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d "
    "replication_pad2d cat stack where masked_fill maximum".split()
)
OPERATORS = _WITH_CONSTANTS | frozenset(
    # One value, laid out in another way, or some of it.
    "as_reshape reshape view flatten unflatten permute transpose t numpy_T mT "
    "movedim squeeze unsqueeze select slice narrow index index_select gather expand "
    "repeat tile roll flip rot90 diagonal unfold pixel_shuffle pixel_unshuffle "
    "channel_shuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    # In several parts.
    "split split_with_sizes chunk unbind "
    # The largest takes all.
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d amax max".split()
)


def moving(passage: Passage) -> Handed | None:
    """Take relevance back to where each element of the result was taken from."""
    operator = passage.call.step.operator
    if operator not in OPERATORS:
        return None
    moved, result = again(passage.call)
    results, relevance = _listed(result), _listed(passage.relevance)
    found = torch.autograd.grad(
        results, [*moved.values()], relevance, materialize_grads=True
    )
    to = dict(zip(moved, found, strict=True))
    return Handed(to, rest=operator in _WITH_CONSTANTS)


def _listed(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)
