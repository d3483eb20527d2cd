"""How one step of a program carries deviations forwards, and gradients backwards.

Several perturbations are carried at once, as golden values are the same for all. What
moves is never negative and, but for corners, only added up, so float32 is enough for
it: every operation is rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.sensitivity.operators.alone import Alone
from stoic.sensitivity.operators.always import Always
from stoic.sensitivity.operators.lengths import (
    OWN,
    ROOM,
    UP,
    beside,
    length,
    single,
    two_norm,
)
from stoic.sensitivity.perturbation import Perturbation, WrongWords

__all__ = ["OWN", "ROOM", "UP", "Adjoint", "Alone", "Crossing", "Crossings", "Moved"]
__all__ += [
    "Moves",
    "OpRule",
    "Turn",
    "Turns",
    "beside",
    "length",
    "rounding_of",
    "single",
]
__all__ += ["two_norm"]

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Moved:
    """How far a value may move from its golden words.

    Args:
        most: Of every element, as the value.
        norm: 2-norm of all elements of an input, [inputs]; float64.
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
class Moves:
    """The same by several perturbations, whose dimension is in front.

    Args:
        most: Float32, [perturbations, *value].
        norm: [perturbations, inputs]; float64.
        always: By each of them.
    """

    most: Tensor
    norm: Tensor
    always: tuple[Always, ...]

    @classmethod
    def tightened(
        cls, most: Tensor, norm: Tensor, always: Sequence[Always], *, even: bool
    ) -> Moves:
        """Return both, each as small as the other allows.

        Args:
            most: Of every element.
            norm: Of all.
            always: What holds however far the value moves.
            even: Whether no element can be larger than the norm anyway.
        """
        own = length(most)
        if not bool(own.isfinite().all()):
            most = most.nan_to_num(torch.inf, torch.inf)
        norm = torch.minimum(norm.nan_to_num(torch.inf, torch.inf), own)
        if not even:
            limit = single(norm).reshape(*norm.shape, *[1] * (most.dim() - 2))
            most = torch.minimum(most, limit)
        return cls(most, norm, tuple(always))

    def within(self, golden: Tensor) -> Moves:
        """Return the same of a value that does not leave its range."""
        if all(each.width == math.inf for each in self.always):
            return self
        found = [self.of(at).within(own, golden) for at, own in enumerate(self.always)]
        most = torch.stack([single(each.most) for each in found])
        return replace(self, most=most, norm=torch.stack([each.norm for each in found]))

    def of(self, at: int) -> Moved:
        """Return that of one of several perturbations, float64."""
        return Moved(self.most[at].double(), self.norm[at], self.always[at])


class _Shared:
    """What hangs on golden values alone, made when first asked for."""

    call: Call
    shared: dict[str, Any]

    def once(self, name: str, make: Callable[[], _Made]) -> _Made:
        """Return what hangs on golden values alone: the same for all perturbations."""
        if name not in self.shared:
            self.shared[name] = make()
        found: _Made = self.shared[name]
        return found

    @property
    def value(self) -> Tensor:
        """The golden value of the first that is read."""
        found = self.call.golden(self.call.reads[0])
        assert isinstance(found, Tensor)
        return found


@dataclass(frozen=True)
class Crossing(_Shared):
    """A step, with how far each value that it reads may move by one perturbation.

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

    def errors(self, name: str | None) -> Tensor | None:
        """Return the absolute errors of a stored value's words, if it has any."""
        return self.wrong.of(name) if name in self.call.fixed else None

    @property
    def named(self) -> tuple[tuple[str, Moved], ...]:
        """What is read, with how far it may move."""
        return tuple(zip(self.call.reads, self.moved, strict=True))


@dataclass(frozen=True)
class Crossings(_Shared):
    """A step, with how far what it reads may move by each of several perturbations.

    Args:
        call: The step on golden values, in float64.
        moved: In the order of ``call.reads``, of all perturbations.
        wrong: Errors of stored words, of each.
        gain: The operator's 2-norm; infinite where it is not known.
        shared: What hangs on golden values alone.
    """

    call: Call
    moved: tuple[Moves, ...]
    wrong: tuple[WrongWords, ...]
    gain: Callable[[], float] = lambda: math.inf
    shared: dict[str, Any] = field(default_factory=dict)

    def errors(self, at: int, name: str | None) -> Tensor | None:
        """Return the absolute errors of a stored value's words, if it has any."""
        return self.wrong[at].of(name) if name in self.call.fixed else None

    @classmethod
    def one(cls, crossing: Crossing) -> Crossings:
        """Return the step with one perturbation as with several."""
        moves = tuple(
            Moves(single(each.most)[None], each.norm[None], (each.always,))
            for each in crossing.moved
        )
        own = (crossing.wrong,), crossing.gain, crossing.shared
        return cls(crossing.call, moves, *own)

    def of(self, at: int) -> Crossing:
        """Return the step with how far what it reads may move by one of them."""
        moved = tuple(each.of(at) for each in self.moved)
        return Crossing(self.call, moved, self.wrong[at], self.gain, self.shared)

    def roundings(self, terms: int) -> list[float]:
        """Return what is rounded inside a step and of its result, for each of them."""
        return [rounding_of(terms, each.perturbation) for each in self.wrong]


def rounding_of(terms: int, perturbation: Perturbation) -> float:
    """Return what so many roundings in a row, and that of the result, are off by.

    Args:
        terms: Roundings inside a step.
        perturbation: How much each is off by; our own float64 rounds, too.
    """
    inside = terms * perturbation.sums
    inside = inside / (1 - inside) if inside < 1 else math.inf
    inside = max(inside, terms * 2.0**-52)
    stored = perturbation.values / (1 - perturbation.values)
    return (inside + stored * (1 + inside)) * UP


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
class Turn:
    """What a step does with all values that are reachable by one perturbation.

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


@dataclass(frozen=True)
class Turns:
    """The same for several perturbations, whose dimension is in front; float32.

    Args:
        most: Bound of every element of the result's deviation, ``source`` included.
        stretch: From 2-norms to a bound of the result's, ``source`` left out; float64.
        adjoint: Of the step's derivative at golden values.
        source: What the step adds by itself: rounding, and wrong stored words; nothing
            of an exact step.
        bend: As in `Turn`; nothing of a linear step.
        bend_norm: Likewise; nothing where none is known.
        convex: As in `Turn`.
        alone: Likewise.
        terms: Likewise.
        carry: Likewise, for [perturbations, *value].
        even: Whether no element moves further than norms say.
    """

    most: Tensor
    stretch: Callable[..., Tensor]
    adjoint: Adjoint
    source: Tensor | None = None
    bend: Tensor | None = None
    bend_norm: Tensor | None = None
    convex: bool = False
    alone: Alone | None = None
    terms: int = 0
    carry: Callable[[Tensor], Tensor] | None = None
    even: bool = False

    def of(self, at: int) -> Turn:
        """Return that of one of them, without the dimension."""

        def stretch(*norms: Tensor) -> Tensor:
            # Every perturbation stretches its own norms.
            every = (norm.expand(len(self.most), *norm.shape) for norm in norms)
            found: Tensor = self.stretch(*every)[at]
            return found

        return Turn(
            most=self.most[at],
            stretch=stretch,
            adjoint=self.adjoint,
            bend=0.0 if self.bend is None else self.bend[at],
            bend_norm=math.inf if self.bend_norm is None else self.bend_norm[at],
            convex=self.convex,
            alone=self.alone,
            terms=self.terms,
        )


OpRule: TypeAlias = Callable[[Crossing], Turn | None]
