"""Recipes: what is done to inferences, so that their traces tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from stoic.faults.formats import format_of
from stoic.faults.models import (
    BitFlip,
    FaultModel,
    RandomWord,
    SetValue,
    model_name,
    named_model,
)
from stoic.monitors.corruptions import Corruption
from stoic.monitors.traces import MEMORY

__all__ = ["Flips", "Recipe", "Spoilt", "flips_of", "kind_of", "learnt_flips"]

# Any three bits next to each other, to ask whether a model can do with them.
_THREE, _SINGLE = (28, 29, 30), torch.float32
# Faults to learn from, in weights per batch and in values per input.
_RUNS = 2
# Inputs to learn from of which fewer have more faults each.
_ENOUGH = 200


@dataclass(frozen=True)
class Spoilt:
    """A corruption at one strength.

    Args:
        corruption: What is done.
        strength: How much of it.
        share: Of the inputs it was chosen by, how many failed at it.
    """

    corruption: Corruption
    strength: float
    share: float

    @property
    def told(self) -> str:
        """What it is and does, such as ``noise 0.25: 52% fail``."""
        return f"{self.corruption.name} {self.strength:.3g}: {self.share:.0%} fail"


@dataclass(frozen=True)
class Flips:
    """Faults in memory.

    Args:
        weights: Faults per batch of inputs, each in one weight.
        activations: Faults per input, each in a value of its own.
        top: Whether only the three highest bits of the exponent are hit.
        model: How.
        kind: What such faults are called in traces.
    """

    weights: int = 2
    activations: int = 2
    top: bool = False
    model: FaultModel = field(default_factory=BitFlip)
    kind: str = MEMORY


def kind_of(fault: str) -> str:
    """Return what faults of such a model are a kind of: single flips of memory."""
    name = model_name(named_model(fault))
    return MEMORY if name == "flip" else f"{MEMORY} {name}"


def flips_of(fault: str, runs: int, kind: str) -> tuple[Flips, ...]:
    """Return faults of a model in all bits, and in the exponent's highest if it can.

    Args:
        fault: Name of the model, as `stoic.faults.models.named_model` takes it.
        runs: How many in weights, and as many in values; twice as many in high bits.
        kind: What they are called in traces.
    """
    model = named_model(fault)
    every = Flips(runs, runs, model=model, kind=kind)
    single = format_of(_SINGLE)
    assert single is not None
    if isinstance(model, RandomWord | SetValue) or not model.count(single, _THREE):
        return (every,)
    return every, Flips(2 * runs, 2 * runs, top=True, model=model, kind=kind)


def learnt_flips(
    kinds: Sequence[str], faults: Sequence[str], inputs: int
) -> tuple[Flips, ...]:
    """Return faults in memory to learn from, all of one kind however many bits.

    Args:
        kinds: That are learnt; memory may be none of them.
        faults: Names of models.
        inputs: To learn from; the fewer, the more faults each has.
    """
    if MEMORY not in kinds:
        return ()
    runs = _RUNS * max(round(_ENOUGH / max(inputs, 1)), 1)
    return tuple(each for name in faults for each in flips_of(name, runs, MEMORY))


@dataclass(frozen=True)
class Recipe:
    """What is done to each input.

    Args:
        spoilt: Corruptions of inputs.
        flips: Faults in memory.
    """

    spoilt: tuple[Spoilt, ...] = ()
    flips: tuple[Flips, ...] = (Flips(), Flips(weights=4, activations=4, top=True))
