"""What is kept account of on the way back: gains, rounding, and room to the top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.certified.contract import Absolute, Call, per_channel, transposed
from stoic.network.certified.rounding import OWN, relative, smallest
from stoic.network.program import Program

__all__ = ["Passage", "Reach", "Room", "Rounding"]

# Values beyond this are not followed: no sum of them comes near an overflow.
_LARGEST = 1e18


@dataclass(frozen=True)
class Passage:
    """A step with its bound on golden values.

    Args:
        call: The step.
        bound: Its bound.
        sizes: Absolute golden values that it reads.
        carried: What the bound makes of them.
        adjoint: Takes weights of the result to those of what is read.
    """

    call: Call
    bound: Absolute
    sizes: tuple[Tensor, ...]
    carried: Tensor
    adjoint: Callable[[Tensor], tuple[Tensor, ...]]

    @classmethod
    def of(cls, call: Call, bound: Absolute) -> Passage:
        """Run the bound."""
        sizes = tuple(call.golden(read).double().abs() for read in call.reads)
        return cls(call, bound, sizes, *transposed(bound.carry, *sizes))

    @property
    def name(self) -> str:
        """Of the result."""
        return self.call.step.name

    @property
    def dtype(self) -> torch.dtype:
        """The format that the step rounds to."""
        return self.call.result.dtype

    @property
    def factor(self) -> float:
        """By how much the rounding of the faulty run may stretch a deviation."""
        return (1 + relative(self.bound.terms, self.dtype)) * (1 + OWN)

    @property
    def error(self) -> Tensor:
        """How far golden and faulty result may differ by rounding alone."""
        size = self.carried + self.bound.offset
        terms = self.bound.terms
        error = relative(terms, self.dtype) * size + smallest(terms, self.dtype)
        return 2 * (1 + OWN) * error


class Reach:
    """What a deviation of a value does: its gain and its strain, as ``Place`` has them.

    Args:
        scores: The value that is judged.
    """

    def __init__(self, scores: str) -> None:
        self._scores = scores
        self._gain = {scores: torch.ones((), dtype=torch.float64)}
        self._strain: dict[str, float] = {}

    def back_through(self, passage: Passage) -> tuple[Tensor, float]:
        """Return what deviations of a result do, and note it for what the step reads.

        Nothing that is read later may read the result.
        """
        nothing = torch.zeros((), dtype=torch.float64)
        gain = self._gain.pop(passage.name, nothing).expand_as(passage.carried)
        strain = 1 + self._strain.pop(passage.name, 0.0)
        passed = strain * passage.factor * passage.bound.growth
        reads = passage.call.reads
        for read, weights in zip(reads, self._weights(passage, gain), strict=True):
            self._gain[read] = self._gain.get(read, nothing) + weights * passage.factor
            self._strain[read] = self._strain.get(read, 0.0) + passed
        return gain, strain

    def _weights(self, passage: Passage, gain: Tensor) -> tuple[Tensor, ...]:
        worst = passage.bound.worst
        if passage.name != self._scores or worst is None:
            return passage.adjoint(gain)
        result, adjoint = transposed(worst, *passage.sizes)
        return adjoint(torch.ones_like(result))


class Rounding:
    """How far rounding alone may move the scores: all of it, and what a fault wakes.

    A channel that no fault reaches has golden words: where a fault reaches one channel
    alone, only that channel's rounding counts until a step mixes channels.

    Args:
        program: What was run.
        scores: The value that is judged.
        inputs: How many there are.
    """

    def __init__(self, program: Program, scores: str, inputs: int) -> None:
        self._readers = program.readers
        self._scores = scores
        self._all = torch.zeros(inputs, dtype=torch.float64)
        # Where channels are told apart: of each channel, and beyond its last step.
        self._ahead: dict[str, tuple[Tensor, Tensor]] = {}

    def back_through(self, passage: Passage, gain: Tensor) -> Tensor:
        """Add a step; return what a fault in it wakes, [inputs, channels or 1]."""
        own = per_channel(gain * passage.error)
        ahead, beyond = self._ahead.pop(
            passage.name, (torch.zeros_like(own), self._all)
        )
        # Of the scores themselves, only the largest counts.
        at_scores = passage.name == self._scores
        self._all = self._all + (own.amax(1) if at_scores else own.sum(1))
        reads = passage.call.reads
        if passage.bound.apart and all(len(self._readers[r]) == 1 for r in reads):
            self._ahead.update(dict.fromkeys(reads, (ahead + own, beyond)))
        narrow = ahead + own + beyond[:, None]
        return narrow if passage.bound.narrow else self._all[:, None]


class Room:
    """How far any value may move until it is too large to be followed.

    Args:
        inputs: How many there are.
    """

    def __init__(self, inputs: int) -> None:
        self._left = torch.full((inputs,), _LARGEST, dtype=torch.float64)
        self._largest = torch.zeros(inputs, dtype=torch.float64)

    def back_through(self, passage: Passage, strain: float) -> Tensor:
        """Add a step; return the room of a fault in it, for each input."""
        self._left = self._left - strain * passage.error.flatten(1).amax(1)
        sizes = sum(size.flatten(1).amax(1) for size in passage.sizes)
        offset = torch.as_tensor(passage.bound.offset).max()
        largest = sizes * passage.bound.growth + offset
        self._largest = torch.maximum(self._largest, largest)
        return self._left - self._largest
