"""One pass from the scores back to the inputs: what a deviation of each value may do.

A step of exact value F that computes F + e, with |e| <= gamma (|F| |x| + offset) +
underflow, moves between the golden and a faulty run by at most

    (1 + gamma) |F| |dx| + 2 (gamma (|F| |x| + offset) + underflow)

where x is the golden value: what the faulty run rounds more is in the first factor. The
second part is taken from the clearance of each input, step by step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.certified.accounts import Passage, Reach, Room, Rounding
from stoic.network.certified.contract import Absolute, Call
from stoic.network.certified.rounding import OWN
from stoic.network.certified.rules import bound_of
from stoic.network.program import Program, Values

__all__ = ["Place", "backward", "fixed_values"]

_SIZE = torch.ops.aten.sym_size.int
# What underflows in our own arithmetic is far below what these leave.
_STRONGEST, _NARROWEST, _FLOOR = 1e60, 1e-100, 1e-60


@dataclass(frozen=True)
class Place:
    """A step in which a stored word may change, seen from the scores.

    Args:
        bound: Of the step.
        gain: Deviation of the scores per unit at each element of the step's result.
        strain: Deviation of any later value per unit of the largest of the result.
        clearance: How far scores may move, less all rounding from here on, for each
            input and channel, or 1 for all channels.
        room: How far any value may move, for each input.
    """

    bound: Absolute
    gain: Tensor
    strain: float
    clearance: Tensor
    room: Tensor

    def limit(self, name: str) -> Tensor:
        """Return how far each word of a stored value may move, [inputs, elements]."""
        sound = (self.room > 0) & (self.strain < _STRONGEST)
        clear = self.clearance.where(self.clearance > _NARROWEST, 0.0)
        # Shares of both margins: together less than 1, so that each is kept.
        share = self.gain / _beside(clear, self.gain)
        share = share + self.strain / _beside(self.room[:, None], self.gain)
        limit = 1 / (self.bound.stored[name](share) + _FLOOR)
        return torch.where(sound[:, None] & (limit > 0), limit, 0.0)


def _beside(numbers: Tensor, value: Tensor) -> Tensor:
    """Return numbers [inputs, channels] in the dimensions of a value."""
    return numbers.reshape(*numbers.shape, *[1] * (value.dim() - 2))


def backward(
    program: Program, values: Values, clearance: Tensor, scores: str
) -> Iterator[Place]:
    """Yield every step from which all ways to the outputs are bounded, last one first.

    Args:
        program: What was run.
        values: All of its values on a batch.
        clearance: How far the scores of each input may move, float64.
        scores: The value that is judged.
    """
    fixed = fixed_values(program)
    reach, rounding = Reach(scores), Rounding(program, scores, len(clearance))
    room, lost = Room(len(clearance)), set[str]()
    for step in reversed(program.steps):
        if step.op is _SIZE:
            continue
        call = Call(step, values.__getitem__, fixed)
        bound = None if step.name in lost else bound_of(call, len(clearance))
        if bound is None:
            lost.update(step.inputs)
            continue
        passage = Passage.of(call, bound)
        gain, strain = reach.back_through(passage)
        used = rounding.back_through(passage, gain)
        yield Place(
            bound,
            gain * passage.factor,
            strain * passage.factor,
            clearance[:, None] * (1 - OWN) - used,
            room.back_through(passage, strain),
        )


def fixed_values(program: Program) -> Collection[str]:
    """Return the values that no input reaches; sizes are told by their number alone."""
    fixed = set(program.stored)
    for step in program.steps:
        if step.op is _SIZE or fixed.issuperset(step.inputs):
            fixed.add(step.name)
    return fixed
