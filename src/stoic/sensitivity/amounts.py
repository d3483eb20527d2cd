"""What steps add to a deviation, for several perturbations, as gradients weigh it.

Amounts are never negative and only added up, so float32 is enough: they are divided by
the largest of each input, and rounded up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import UP, Alone, length

__all__ = ["Amounts", "Columns", "Weights"]

# Room for some roundings of float32, relative.
_ROOM = 1 + 2.0**-19
# Products of what is smaller than float32's least number, of numbers up to 1.
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
        energy: Of squared gradients, weights of those of elements that are off; for the
            norm.
        norm: Bound of the 2-norm of all that is off, [perturbations, inputs].
    """

    step: str
    scale: Tensor
    above: Tensor
    largest: Tensor
    below: Tensor | None = None
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
        if bool((length(self.above) * self.scale <= known).all()):
            return self
        return replace(self, energy=self.above.sign(), norm=known)

    @property
    def both(self) -> Tensor:
        """Of either direction, together."""
        # The result is rounded up where it is summed.
        if self.below is None or not self.below.dim():
            return self.above
        return self.above + self.below

    @property
    def apart(self) -> Tensor:
        """Upwards less downwards."""
        if self.below is None or not self.below.dim():
            return self.above
        return self.above - self.below

    def through(self, alone: Alone) -> Amounts:
        """Return what these are on the other side of a step, exactly."""
        weights = alone.weights
        size = weights.abs() * (_ROOM * (1 + alone.steps * 2.0**-22))
        above, below = self.above * size, None
        if self.below is not None:
            below = self.below
            if below.dim() or bool((weights < 0).any()):
                below, up = below * size, weights >= 0
                above, below = above.where(up, below), below.where(up, above)
                below = alone.sums(below)
        energy = self.energy
        if energy is not None:
            energy = alone.sums(energy * size.square())
        return replace(self, above=alone.sums(above), below=below, energy=energy)


@dataclass(frozen=True)
class Columns:
    """All that is added at one value, side by side, as sums with gradients want it.

    Args:
        amounts: By step.
        sizes: Of both directions together, [inputs, elements, amounts].
        signs: Upwards less downwards, where they differ; likewise.
        energies: For norms, likewise; one for each amount that has one.
    """

    amounts: tuple[Amounts, ...]
    sizes: Tensor
    signs: Tensor | None
    energies: Tensor | None

    @classmethod
    def of(cls, amounts: Sequence[Amounts]) -> Columns:
        """Put amounts beside each other."""
        apart = [each for each in amounts if each.below is not None]
        energies = [each.energy for each in amounts if each.energy is not None]
        return cls(
            tuple(amounts),
            _columns([each.both for each in amounts]),
            _columns([each.apart for each in apart]) if apart else None,
            _columns(energies) if energies else None,
        )


def _columns(numbers: Sequence[Tensor]) -> Tensor:
    """Return [inputs, elements, columns] of float32 numbers; float64 if many."""
    found = numbers[0] if len(numbers) == 1 else torch.cat([*numbers])
    columns = found.flatten(2).permute(1, 2, 0)
    return columns.double() if columns.shape[1] > _MANY else columns


class Weights:
    """Gradients of some outputs, as weights of amounts.

    Args:
        gradient: [outputs, inputs, *value], float32.
    """

    def __init__(self, gradient: Tensor) -> None:
        size = gradient.abs()
        # The largest of each element over all outputs.
        self.top = size.amax(0)
        self._signed, self._size = (
            each.flatten(2).transpose(0, 1) for each in (gradient, size)
        )
        self._largest = self.top.flatten(1).amax(1)[:, None].double()

    def of(self, amounts: Amounts) -> tuple[Tensor, Tensor]:
        """Return how far outputs may rise, and fall: [perturbations, outputs, inputs].

        Nothing is known where a number is not finite.
        """
        (found,) = self.each(Columns.of([amounts]))
        return found

    def each(self, columns: Columns) -> list[tuple[Tensor, Tensor]]:
        """Return the same by each of several amounts."""
        ours = columns.amounts
        every = [len(each.scale) for each in ours]
        sizes = [*self._sum(self._size, columns.sizes).split(every)]
        signs = iter(self._apart(columns, ours))
        lengths = iter(self._lengths(columns, ours))
        found = []
        for both, each in zip(sizes, ours, strict=True):
            rise = fall = both
            if each.below is not None:
                rise, fall = _halves(both, next(signs), self._slack(columns.sizes))
            scale = each.scale[:, None]
            rise, fall = _known(rise * scale), _known(fall * scale)
            if each.norm is not None:
                norm, (up, down) = each.norm[:, None], next(lengths)
                rise = torch.minimum(rise, _known(up * norm))
                fall = torch.minimum(fall, _known(down * norm))
            found.append((rise, fall))
        return found

    def _apart(self, columns: Columns, ours: Sequence[Amounts]) -> Sequence[Tensor]:
        """Return sums with signs, of the amounts that hang on them."""
        if columns.signs is None:
            return ()
        every = [len(each.scale) for each in ours if each.below is not None]
        return [*_product(self._signed, columns.signs).split(every)]

    def _lengths(
        self, columns: Columns, ours: Sequence[Amounts]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield 2-norms of the gradients that rise by amounts, and that fall."""
        if columns.energies is None:
            return
        asked = [each for each in ours if each.energy is not None]
        every, energies = [len(each.scale) for each in asked], columns.energies
        both = self._sum(self._signed.square(), energies).split(every)
        signs = _product(self._signed * self._size, energies).split(every)
        for each, square, apart in zip(asked, both, signs, strict=True):
            # Some elements, of some weights, may be off in both directions.
            if each.below is None or bool(each.below.any()):
                yield square.sqrt(), square.sqrt()
                continue
            rise, fall = _halves(square, apart, self._slack(energies))
            yield (
                rise.clamp(min=0.0).sqrt() * UP,
                fall.clamp(min=0.0).sqrt() * UP,
            )

    def _sum(self, weights: Tensor, columns: Tensor) -> Tensor:
        """Add up amounts with weights, none negative, rounded up."""
        terms = columns.shape[1]
        floor = _FLOOR * terms * (1 + self._largest + self._largest**2)
        found = _product(weights, columns) * (1 + self._slack(columns))
        return found + floor.T

    def _slack(self, columns: Tensor) -> float:
        """Return what a sum is off by, relative to that of absolute terms."""
        terms = columns.shape[1]
        return (terms + 256) * (2.0**-23 if terms <= _MANY else 2.0**-50) + 2.0**-21


def _product(weights: Tensor, columns: Tensor) -> Tensor:
    """Return sums of both, [columns, outputs, inputs]."""
    found = torch.bmm(weights.to(columns.dtype), columns)
    return found.permute(2, 1, 0).double()


def _halves(both: Tensor, apart: Tensor, slack: float) -> tuple[Tensor, Tensor]:
    """Return what rises, and what falls, of sums of both and of their difference."""
    more = both * slack
    return (both + apart) / 2 + more, (both - apart) / 2 + more


def _is_single(most: Tensor) -> bool:
    return most.dtype is torch.float32


def _known(sizes: Tensor) -> Tensor:
    """What is not a number is not known, and so infinite."""
    return sizes.nan_to_num(torch.inf, torch.inf).clamp(min=0.0)
