"""Which layer amplifies: each layer's norm, and what it makes of a relative error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.folds import only_norm
from stoic.sensitivity.bracket import Bracket
from stoic.sensitivity.linear import compose
from stoic.sensitivity.maps import linear_map
from stoic.sensitivity.norms import Store, norm
from stoic.sensitivity.operators.contract import two_norm
from stoic.sensitivity.reach import OnePassed, Reach

__all__ = ["LayerGain", "profile", "worst"]


@dataclass(frozen=True)
class LayerGain:
    """A layer with a stored weight.

    Args:
        name: Of its module.
        value: Of its result.
        operator: Its short name.
        norm: Its operator norm in the 2-norm, between two bounds; with that of a batch
            norm that alone reads it.
        one: The same in the 1-norm, at most.
        infinity: In the infinity-norm.
        amplifies: Relative error of its result per relative error of what it reads, at
            most, as a median over the inputs: norm times the size of what is read over
            that of the result.
    """

    name: str
    value: str
    operator: str
    norm: Bracket
    one: float
    infinity: float
    amplifies: float


def profile(reach: Reach, store: Store) -> tuple[LayerGain, ...]:
    """Return the layers in order.

    Args:
        reach: Of a batch.
        store: Norms that are known already.
    """
    layers = (_layer(passed, reach, store) for passed in reach.passed.values())
    return tuple(layer for layer in layers if layer is not None)


def worst(layers: Iterable[LayerGain]) -> tuple[LayerGain, ...]:
    """Return each map once: of a layer that runs again and again its worst time."""
    found: dict[tuple[str, str, Bracket], LayerGain] = {}
    for layer in layers:
        own = layer.name, layer.operator, layer.norm
        if own not in found or layer.amplifies > found[own].amplifies:
            found[own] = layer
    return tuple(found.values())


def _layer(passed: OnePassed, reach: Reach, store: Store) -> LayerGain | None:
    call = passed.call
    weights = [call.golden(name) for name in call.step.inputs if name in call.fixed]
    # A layer mixes what it reads with a stored weight.
    if not any(isinstance(each, Tensor) and each.dim() > 1 for each in weights):
        return None
    linear, result = linear_map(call), call.result
    if linear is None or linear.single:
        return None
    after = only_norm(reach.program, call.step)
    if after is not None and after.name in reach.passed:
        both = reach.passed[after.name].call
        scale = linear_map(both)
        if scale is not None:
            linear, result = compose(linear, scale), both.result
    bracket = norm(linear, 2, store)
    read = two_norm(call.golden(call.reads[0]).abs())
    ratio = bracket.upper * read / two_norm(result.abs())
    return LayerGain(
        call.step.path or call.step.name,
        call.step.name,
        call.step.operator,
        bracket,
        norm(linear, 1, store).upper,
        norm(linear, math.inf, store).upper,
        float(ratio.nan_to_num(torch.inf).median()),
    )
