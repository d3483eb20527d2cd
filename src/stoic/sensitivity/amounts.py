"""What steps add to a deviation, for several perturbations, as gradients weigh it.

Amounts are never negative and only added up, so float32 is enough: they are divided by
the largest of each input, and rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import UP, Alone, length

__all__ = ["Amounts", "Sums", "Weights"]

# Room for some roundings of float32, relative.
_ROOM = 1 + 2.0**-19
# What a number or a product loses below float32's least normal number, 1.2e-38, even
# where such are flushed to 0; with room for the few operations on the way to a sum.
_FLOOR = 1e-36
# Scales between this and its inverse need no division.
_PLAIN = 1e25
# More terms are added up in float64: in float32 their roundings would be too many.
_MANY = 1 << 21


@dataclass(frozen=True)
class Amounts:
    """How far elements may be off, [perturbations, inputs, *value].

    Args:
        step: Which adds them.
        scale: That all others are multiplied by, [perturbations, inputs]; float64.
        above: Upwards, as shares of the scale; float32.
        largest: Of each input, where they are added, [perturbations, inputs].
        below: Downwards; nothing where they are as above, and one 0 where none are.
        bounded_at: Which perturbations have a bound of the 2-norm as well.
        energy: Of squared gradients, weights of those of elements that are off; of
            these perturbations.
        norm: Bound of the 2-norm of all that is off, [these perturbations, inputs].
    """

    step: str
    scale: Tensor
    above: Tensor
    largest: Tensor
    below: Tensor | None = None
    bounded_at: tuple[int, ...] = ()
    energy: Tensor | None = None
    norm: Tensor | None = None

    @classmethod
    def of(cls, step: str, most: Tensor, *, convex: bool = False) -> Amounts:
        """Round up what is off in one direction, if convex, or in both.

        Args:
            step: Which adds them.
            most: How far, [perturbations, inputs, *value].
            convex: Whether only upwards.
        """
        scale = most.flatten(2).amax(2).double()
        if not bool(scale.isfinite().all()):
            most = most.nan_to_num(torch.inf, torch.inf)
            scale = most.flatten(2).amax(2).double()
        below = torch.zeros(()) if convex else None
        largest, sizes = scale, scale.where(scale > 0, 1.0)
        if bool(((sizes > 1 / _PLAIN) & (sizes < _PLAIN)).all()) and _is_single(most):
            # In the middle of float32's range numbers may stay as they are.
            return cls(step, torch.ones_like(scale), most, largest, below)
        scale = scale.clamp(min=1e-300)
        # What is infinite is no share of anything: the scale says so.
        shares = most * (_ROOM / scale).reshape(*scale.shape, *[1] * (most.dim() - 2))
        return cls(step, scale, shares.nan_to_num(1.0).float(), largest, below)

    def bounded(self, norm: Tensor) -> Amounts:
        """Return the same with bounds of 2-norms, [perturbations, inputs].

        Where the amounts' own norm is no larger, sums of elements say as much anyway:
        by Cauchy and Schwarz they are no larger than norms multiplied.
        """
        known = norm.nan_to_num(torch.inf, torch.inf)
        more = ~(length(self.above) * self.scale <= known).all(1)
        at = more.nonzero().flatten().tolist()
        if not at:
            return self
        energy = self.above[more].sign()
        return replace(self, bounded_at=tuple(at), energy=energy, norm=known[more])

    @cached_property
    def both(self) -> Tensor:
        """Of either direction, together."""
        # The result is rounded up where it is summed.
        if self.below is None or not self.below.dim():
            return self.above
        return self.above + self.below

    @cached_property
    def one_way(self) -> bool:
        """Whether no element is off in both directions; of some weights some are."""
        return self.below is not None and not bool(self.below.any())

    @cached_property
    def apart(self) -> Tensor:
        """Upwards less downwards."""
        if self.below is None or not self.below.dim():
            return self.above
        return self.above - self.below

    def through(self, alone: Alone) -> Amounts:
        """Return what these are on the other side of a step, exactly."""
        weights = alone.weights
        size = weights.abs() * (_ROOM * (1 + alone.steps * 2.0**-22))
        above, below, energy = self.above, self.below, self.energy
        if below is not None and (below.dim() or bool((weights < 0).any())):
            up = weights >= 0
            above, below = above.where(up, below), below.where(up, above)
            below = alone.sums(below, size)
        if energy is not None:
            energy = alone.sums(energy, size.square())
        return replace(self, above=alone.sums(above, size), below=below, energy=energy)


@dataclass(frozen=True)
class Sums:
    """Amounts times gradients of some outputs, added up and not yet rounded up.

    Each is [perturbations, inputs, outputs].

    Args:
        both: Of amounts in either direction, with sizes of gradients.
        apart: Of those upwards less those downwards, with gradients; where they differ.
        squares: Of energies, with squared gradients; where there are any.
        signed: The same with the signs of gradients; where amounts have one direction.
    """

    both: Tensor
    apart: Tensor | None = None
    squares: Tensor | None = None
    signed: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[Sums]) -> Sums:
        """Put those of several parts of the outputs together."""
        if len(parts) == 1:
            return parts[0]
        every = ((p.both, p.apart, p.squares, p.signed) for p in parts)
        return cls(*(_beside(each) for each in zip(*every, strict=True)))

    def bounds(self, amounts: Amounts, top: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far outputs may rise, and fall: [perturbations, outputs, inputs].

        Nothing is known where a number is not finite.

        Args:
            amounts: Of which these are the sums.
            top: Largest sizes of the gradients, [inputs, *value].
        """
        up = _Up.of(top)
        both, scale = up.sum(self.both, amounts.both), amounts.scale[:, None]
        if self.apart is None:
            rise = fall = _known(both * scale)
        else:
            halves = up.halves(both, self.apart)
            rise, fall = (_known(half * scale) for half in halves)
        if self.squares is None or amounts.energy is None or amounts.norm is None:
            return rise, fall
        at, norm = list(amounts.bounded_at), amounts.norm[:, None]
        rise, fall = rise.clone(), fall.clone()
        longest = up.lengths(up.sum(self.squares, amounts.energy), self.signed)
        for sizes, most in zip((rise, fall), longest, strict=True):
            sizes[at] = torch.minimum(sizes[at], _known(most * norm))
        return rise, fall


def _beside(parts: Sequence[Tensor | None]) -> Any:
    known = [part for part in parts if part is not None]
    return torch.cat(known, 2) if known else None


@dataclass(frozen=True)
class _Up:
    """How sums are rounded up.

    Args:
        slack: What one is off by, relative to that of absolute terms.
        floor: What float32 has no numbers for, at most, of amounts up to 1; [inputs].
    """

    slack: float
    floor: Tensor

    @classmethod
    def of(cls, top: Tensor) -> _Up:
        """Round sums as long as gradients that are no larger, [inputs, *value]."""
        flat = top.flatten(1)
        terms, largest = flat.shape[1], flat.amax(1).double()
        share = (terms + 256) * (2.0**-23 if terms <= _MANY else 2.0**-50)
        return cls(share + 2.0**-21, _FLOOR * terms * (1 + largest + largest**2))

    def sum(self, found: Tensor, weighed: Tensor) -> Tensor:
        """Return sums of amounts that were weighed, with outputs before inputs."""
        # A weight that is lost takes with it as much as the largest amount times it.
        largest = 1 + weighed.flatten(2).amax(2).double()
        return found.mT.double() * (1 + self.slack) + (self.floor * largest)[:, None]

    def halves(self, both: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
        """Return what rises, and what falls, of sums of both and their difference."""
        more, apart = both * self.slack, apart.mT.double()
        return (both + apart) / 2 + more, (both - apart) / 2 + more

    def lengths(self, both: Tensor, signed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return 2-norms of the gradients that rise by amounts, and that fall."""
        if signed is None:
            return both.sqrt(), both.sqrt()
        rise, fall = self.halves(both, signed)
        return rise.clamp(min=0.0).sqrt() * UP, fall.clamp(min=0.0).sqrt() * UP


class Weights:
    """Gradients of some outputs, as weights of amounts.

    Args:
        gradient: [outputs, inputs, *value], float32.
        plain: Whether products of float32 are rounded as such, and not as bfloat16.
    """

    def __init__(self, gradient: Tensor, *, plain: bool = True) -> None:
        size, self._plain = gradient.abs(), plain
        # The largest of each element over all outputs.
        self.top = size.amax(0)
        # Elements lie before outputs: products of few columns are faster so.
        self._signed, self._size = (
            each.flatten(2).permute(1, 2, 0) for each in (gradient, size)
        )

    @cached_property
    def _squares(self) -> Tensor:
        return self._size.square()

    @cached_property
    def _squares_signed(self) -> Tensor:
        return self._size * self._signed

    def of(self, amounts: Amounts) -> Sums:
        """Add up amounts with these as weights."""
        both, energy = self._product(self._size, amounts.both), amounts.energy
        apart = squares = signed = None
        if amounts.below is not None:
            apart = self._product(self._signed, amounts.apart)
        if energy is not None:
            squares = self._product(self._squares, energy)
            if amounts.one_way:
                signed = self._product(self._squares_signed, energy)
        return Sums(both, apart, squares, signed)

    def _product(self, weights: Tensor, sizes: Tensor) -> Tensor:
        """Return sums of both; in float64 if those of float32 lose too much."""
        rows = sizes.flatten(2).transpose(0, 1)
        if rows.shape[2] > _MANY or not self._plain:
            rows, weights = rows.double(), weights.double()
        return torch.bmm(rows, weights).transpose(0, 1)


def _is_single(most: Tensor) -> bool:
    return most.dtype is torch.float32


def _known(sizes: Tensor) -> Tensor:
    """What is not a number is not known, and so infinite."""
    return sizes.nan_to_num(torch.inf, torch.inf).clamp(min=0.0)
