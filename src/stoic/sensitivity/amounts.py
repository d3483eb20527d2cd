"""What steps add to a deviation, for several perturbations, as gradients weigh it.

Amounts are never negative and only added up, so float32 is enough: they are divided by
the largest of each input, and rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import UP, Alone, beside

__all__ = ["Amounts", "Weights"]

# Room for some roundings of float32, relative.
_ROOM = 1 + 2.0**-19
# Products of what is smaller than float32's least number, of numbers up to 1.
_FLOOR = 1e-36
# More terms are added up in float64: in float32 their roundings would be too many.
_MANY = 1 << 21


@dataclass(frozen=True)
class Amounts:
    """How far elements may be off, [perturbations, inputs, *value].

    Args:
        step: Which adds them.
        scale: That all others are multiplied by, [perturbations, inputs]; float64.
        above: Upwards, as shares of the scale; float32.
        below: Downwards; nothing where they are as above, and one 0 where none are.
        energy: Of squared gradients, weights of those of elements that are off; for the
            norm.
        norm: Bound of the 2-norm of all that is off, [perturbations, inputs].
    """

    step: str
    scale: Tensor
    above: Tensor
    below: Tensor | None = None
    energy: Tensor | None = None
    norm: Tensor | None = None

    @classmethod
    def of(cls, step: str, most: list[Tensor], *, convex: bool = False) -> Amounts:
        """Round up what is off in one direction, if convex, or in both."""
        scale = torch.stack([each.flatten(1).amax(1) for each in most])
        if not bool(scale.isfinite().all()):
            most = [each.nan_to_num(torch.inf, torch.inf) for each in most]
            scale = torch.stack([each.flatten(1).amax(1) for each in most])
        scale = scale.clamp(min=1e-300)
        above = torch.empty(len(most), *most[0].shape)
        for place, whole, size in zip(above, most, scale, strict=True):
            # What is infinite is no share of anything: the scale says so.
            shares = whole * beside(_ROOM / size, whole)
            place.copy_(shares.nan_to_num_(1.0) if size.isinf().any() else shares)
        return cls(step, scale, above, torch.zeros(()) if convex else None)

    def bounded(self, norms: list[Tensor]) -> Amounts:
        """Return the same with bounds of 2-norms."""
        norm = torch.stack(norms).nan_to_num(torch.inf, torch.inf)
        return replace(self, energy=(self.above > 0).float(), norm=norm)

    def through(self, alone: Alone) -> Amounts:
        """Return what these are on the other side of a step, exactly."""
        weights = alone.weights
        size = weights.abs() * _ROOM
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


class Weights:
    """Gradients of some outputs, as weights of amounts.

    Args:
        gradient: [outputs, inputs, *value], float32.
    """

    def __init__(self, gradient: Tensor) -> None:
        self._signed = gradient.flatten(2).transpose(0, 1)
        self._size = self._signed.abs()
        self._squares: tuple[Tensor, Tensor] | None = None
        self._largest = self._size.amax((1, 2)).double()

    def of(self, amounts: Amounts) -> tuple[Tensor, Tensor]:
        """Return how far outputs may rise, and fall: [perturbations, outputs, inputs].

        Nothing is known where a number is not finite.
        """
        above, below = amounts.above, amounts.below
        if below is None:
            rise = fall = self._sum(self._size, above)
        else:
            both = self._sum(self._size, above + below)
            apart = self._sum(self._signed, above - below, both)
            rise, fall = (both + apart) / 2, (both - apart) / 2
            slack = both * self._share(above)
            rise, fall = rise + slack, fall + slack
        scale = amounts.scale[:, None]
        rise, fall = _known(rise * scale), _known(fall * scale)
        if amounts.energy is None or amounts.norm is None:
            return rise, fall
        ways = self._lengths(amounts)
        norm = amounts.norm[:, None]
        return (
            torch.minimum(rise, _known(ways[0] * norm)),
            torch.minimum(fall, _known(ways[1] * norm)),
        )

    def _lengths(self, amounts: Amounts) -> tuple[Tensor, Tensor]:
        """Return 2-norms of the gradients that rise by amounts, and that fall."""
        assert amounts.energy is not None
        if self._squares is None:
            self._squares = self._signed.square(), self._signed * self._size
        both = self._sum(self._squares[0], amounts.energy)
        # Some elements, of some weights, may be off in both directions.
        if amounts.below is None or bool(amounts.below.any()):
            return both.sqrt(), both.sqrt()
        apart = self._sum(self._squares[1], amounts.energy, both)
        slack = both * self._share(amounts.energy)
        rise, fall = ((both + d) / 2 + slack for d in (apart, -apart))
        return rise.clamp(min=0.0).sqrt() * UP, fall.clamp(min=0.0).sqrt() * UP

    def _sum(
        self, weights: Tensor, amounts: Tensor, size: Tensor | None = None
    ) -> Tensor:
        """Add up amounts with weights; rounded up where none is negative."""
        columns = amounts.flatten(2).permute(1, 2, 0)
        if columns.shape[1] > _MANY:
            weights, columns = weights.double(), columns.double()
        found = torch.bmm(weights, columns).permute(2, 1, 0).double()
        if size is not None:
            return found
        floor = _FLOOR * columns.shape[1] * (1 + self._largest + self._largest**2)
        return found * (1 + self._share(amounts)) + floor

    def _share(self, amounts: Tensor) -> float:
        """Return what a sum is off by, relative to that of absolute terms."""
        terms = amounts[0, 0].numel()
        return (terms + 256) * (2.0**-23 if terms <= _MANY else 2.0**-50) + 2.0**-21


def _known(sizes: Tensor) -> Tensor:
    """What is not a number is not known, and so infinite."""
    return sizes.nan_to_num(torch.inf, torch.inf).clamp(min=0.0)
