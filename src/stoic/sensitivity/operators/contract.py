"""How one step of a program carries deviations forwards, and gradients backwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.perturbation import WrongWords

__all__ = ["OWN", "UP", "Adjoint", "Crossing", "Moved", "OpRule", "Turn"]
__all__ += ["beside", "two_norm"]

OWN = 2.0**-50
"""What one operation of float64 may be off by, relative: eight times its rounding."""

UP = 1 + 1e-9
"""Rounds a few operations of float64 up."""


@dataclass(frozen=True)
class Moved:
    """How far a value may move from its golden words.

    Args:
        most: Of every element, float64, as the value.
        norm: 2-norm of all elements of an input, [inputs].
    """

    most: Tensor
    norm: Tensor

    @classmethod
    def tightened(cls, most: Tensor, norm: Tensor) -> Moved:
        """Return both, each as small as the other allows.

        What is not a number is not known, and so infinite.
        """
        most = most.nan_to_num(torch.inf, torch.inf)
        norm = norm.nan_to_num(torch.inf, torch.inf)
        norm = torch.minimum(norm, two_norm(most))
        return cls(torch.minimum(most, beside(norm, most)), norm)


@dataclass(frozen=True)
class Crossing:
    """A step, with how far each value that it reads may move.

    Args:
        call: The step on golden values, in float64.
        moved: In the order of ``call.reads``.
        wrong: Errors of stored words, and of what is made of them alone.
        gain: The operator's 2-norm; infinite where it is not known.
    """

    call: Call
    moved: tuple[Moved, ...]
    wrong: WrongWords
    gain: Callable[[], float] = lambda: math.inf

    def errors(self, name: str | None) -> Tensor | None:
        """Return the absolute errors of a stored value's words, if it has any."""
        return self.wrong.of(name) if name in self.call.fixed else None

    @property
    def value(self) -> Tensor:
        """The golden value of the first that is read."""
        found = self.call.golden(self.call.reads[0])
        assert isinstance(found, Tensor)
        return found

    @property
    def named(self) -> tuple[tuple[str, Moved], ...]:
        """What is read, with how far it may move."""
        return tuple(zip(self.call.reads, self.moved, strict=True))


@dataclass(frozen=True)
class Adjoint:
    """The transposed derivative of a step at its golden values.

    Args:
        signed: From gradients of the result, [outputs, *result], to those of each value
            read, likewise.
        absolute: The same of the derivative's absolute numbers, rounded up.
        fan: Roundings in a row of ``signed``.
    """

    signed: Callable[[Tensor], tuple[Tensor, ...]]
    absolute: Callable[[Tensor], tuple[Tensor, ...]]
    fan: int = 4


@dataclass(frozen=True)
class Turn:
    """What a step does with all values that are reachable.

    Args:
        most: Bound of every element of the result's deviation.
        stretch: From the 2-norms of what each value read moves by, [inputs], to a bound
            of the result's; infinite where none is known.
        adjoint: Of the step's derivative at golden values.
        bend: How far each element may be from where that derivative leads; 0 of a
            linear step.
        bend_norm: Bound of the 2-norm of that, beside the elements' own.
        size: Largest absolute terms that are summed, for rounding; nothing where the
            result is exact.
        terms: Roundings in a row inside the step.
        errors: What wrong stored words add to the result's elements.
        carry: The absolute map itself, where the step is linear in one value.
    """

    most: Tensor
    stretch: Callable[..., Tensor]
    adjoint: Adjoint
    bend: Tensor | float = 0.0
    bend_norm: Tensor | float = math.inf
    size: Tensor | None = None
    terms: int = 0
    errors: Tensor | float = 0.0
    carry: Callable[[Tensor], Tensor] | None = None


OpRule: TypeAlias = Callable[[Crossing], Turn | None]


def beside(numbers: Tensor, value: Tensor) -> Tensor:
    """Return numbers, [inputs], in the dimensions of a value."""
    return numbers.reshape(-1, *[1] * (value.dim() - 1))


def two_norm(most: Tensor) -> Tensor:
    """Return the 2-norm of each input's elements, rounded up."""
    largest = most.flatten(1).amax(1).clamp(min=1e-300)
    scaled = most / beside(largest, most)
    norm = scaled.flatten(1).square().sum(1).sqrt() * largest * UP
    return torch.where(largest.isfinite(), norm, torch.inf)
