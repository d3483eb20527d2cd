"""How one step of a program carries deviations forwards, and gradients backwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.always import Always
from stoic.sensitivity.perturbation import WrongWords

__all__ = ["OWN", "UP", "Adjoint", "Alone", "Crossing", "Moved", "OpRule", "Turn"]
__all__ += ["beside", "two_norm"]

OWN = 2.0**-50
"""What one operation of float64 may be off by, relative: eight times its rounding."""

UP = 1 + 1e-9
"""Rounds a few operations of float64 up."""

_Made = TypeVar("_Made")
# Squares of what is smaller are not to be trusted.
_SMALL = 1e-140


@dataclass(frozen=True)
class Moved:
    """How far a value may move from its golden words.

    Args:
        most: Of every element, float64, as the value.
        norm: 2-norm of all elements of an input, [inputs].
        always: What holds of the value however far it moves.
    """

    most: Tensor
    norm: Tensor
    always: Always = Always()

    @classmethod
    def tightened(cls, most: Tensor, norm: Tensor) -> Moved:
        """Return both, each as small as the other allows.

        What is not a number is not known, and so infinite.
        """
        own = two_norm(most)
        if not bool(own.isfinite().all()):
            most = most.nan_to_num(torch.inf, torch.inf)
        norm = torch.minimum(norm.nan_to_num(torch.inf, torch.inf), own)
        return cls(torch.minimum(most, beside(norm, most)), norm)

    def within(self, always: Always, golden: Tensor) -> Moved:
        """Return the same of a value that does not leave a range."""
        if not always.known:
            return self
        norm = self.norm
        if always.shares is not None:
            # Two rows of shares are no further apart than two corners.
            rows = golden[0].numel() / golden.shape[-1]
            corners = math.sqrt(2 * rows) * (1 + always.shares) * UP
            norm = norm.clamp(max=corners)
        most = torch.minimum(self.most, always.furthest(golden) * UP)
        return replace(Moved.tightened(most, norm), always=always)


@dataclass(frozen=True)
class Crossing:
    """A step, with how far each value that it reads may move.

    Args:
        call: The step on golden values, in float64.
        moved: In the order of ``call.reads``.
        wrong: Errors of stored words, and of what is made of them alone.
        gain: The operator's 2-norm; infinite where it is not known.
        shared: What hangs on golden values alone: the same for every perturbation.
    """

    call: Call
    moved: tuple[Moved, ...]
    wrong: WrongWords
    gain: Callable[[], float] = lambda: math.inf
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], _Made]) -> _Made:
        """Return what hangs on golden values alone, made when first asked for."""
        if name not in self.shared:
            self.shared[name] = make()
        found: _Made = self.shared[name]
        return found

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
        single: Whether ``signed`` is for gradients in float32, and rounds as that.
    """

    signed: Callable[[Tensor], tuple[Tensor, ...]]
    absolute: Callable[[Tensor], tuple[Tensor, ...]]
    fan: int = 4
    single: bool = False


@dataclass(frozen=True)
class Alone:
    """A derivative by which no two elements of the result hang on the same element.

    Args:
        weights: Of each element of the value that is read, shaped as that; float32,
            each off by a rounding at most.
        sums: Adds up elements of the value that make one of the result.
        spread: From elements of the result to the value's, in their places, with any
            dimensions in front.
        steps: In how many steps in a row.
    """

    weights: Tensor
    sums: Callable[[Tensor], Tensor] = lambda value: value
    spread: Callable[[Tensor], Tensor] = lambda result: result
    steps: int = 1

    def after(self, before: Alone) -> Alone:
        """Return both in a row."""
        return Alone(
            before.weights * before.spread(self.weights),
            lambda value: self.sums(before.sums(value)),
            lambda result: before.spread(self.spread(result)),
            self.steps + before.steps,
        )


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
        convex: Whether the result never falls below where that derivative leads.
        alone: The derivative, where elements are kept apart.
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
    convex: bool = False
    alone: Alone | None = None
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
    flat = most.flatten(1)
    norm: Tensor = torch.linalg.vector_norm(flat, dim=1) * UP
    norm = norm.nan_to_num(torch.inf, torch.inf)
    if not bool((norm < _SMALL).any()):
        return norm
    largest = flat.amax(1).clamp(min=1e-300)
    scaled = torch.linalg.vector_norm(flat / largest[:, None], dim=1) * largest * UP
    return torch.where(norm < _SMALL, scaled, norm)
