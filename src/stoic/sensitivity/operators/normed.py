"""Normalisation of rows by their own statistics.

A row u over its spread s = sqrt(|u|^2 / n + eps) is, but for a factor of sqrt(n), the
direction of a longer vector: of u with sqrt(n eps) behind it. A direction turns by an
angle whose sine is the move over the vector's length, however far it goes by no more
than a half circle, and leaves its derivative's lead by the square of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.unstated import spread_eps
from stoic.sensitivity.operators.contract import (
    UP,
    Adjoint,
    Crossing,
    Moved,
    Turn,
    beside,
    two_norm,
)

__all__ = ["layer_norm", "rms_norm"]

_TERMS = 24
# In place of infinity, so that 0 times it is 0.
_FAR = 1e300


def layer_norm(crossing: Crossing) -> Turn | None:
    """Centre every row, the last dimension, and divide it by its spread."""
    call = crossing.call
    if not call.only(0) or len(call.arg(1)) != 1 or call.step.kwargs:
        return None
    value = crossing.value
    mean = value.mean(-1, keepdim=True)
    moved = crossing.moved[0]
    middle = beside(moved.norm, value) / value.shape[-1] ** 0.5
    middle = torch.minimum(moved.most.mean(-1, keepdim=True), middle)
    shaken = (moved.most + middle) * UP
    eps = float(call.arg(4, 1e-5))
    return _by_spread(crossing, value - mean, shaken, eps, centred=True)


def rms_norm(crossing: Crossing) -> Turn | None:
    """Divide every row by its spread about 0."""
    call = crossing.call
    if not call.only(0) or len(call.arg(1)) != 1 or call.step.kwargs:
        return None
    given = call.arg(3)
    eps = spread_eps(crossing.value.dtype) if given is None else float(given)
    value, moved = crossing.value, crossing.moved[0].most
    return _by_spread(crossing, value, moved, eps, centred=False)


def _by_spread(
    crossing: Crossing, rows: Tensor, shaken: Tensor, eps: float, *, centred: bool
) -> Turn:
    """Bound how far every row turns, and its elements by what is left of a row."""
    call, moved, value = crossing.call, crossing.moved[0], crossing.value
    gamma, wrong, shift = _affine(crossing)
    turning = _Turning.of(rows, shaken, moved, eps, centred=centred)
    drift, widest = turning.most, float(gamma.abs().max())
    whole = turning.unit.abs() + drift
    # In all, a row of directions is sqrt(n) long, before and after.
    either = _row_norms(turning.unit * gamma) + turning.root * widest
    furthest = _all_rows(torch.minimum(turning.turned * widest, either))
    steepest = turning.steepest * widest
    return Turn(
        most=gamma.abs() * drift * UP,
        stretch=lambda norm: torch.minimum(norm * steepest, furthest) * UP,
        adjoint=_through_rows(turning.unit, gamma, turning.spread, centred=centred),
        bend=turning.bend * gamma.abs() * UP,
        bend_norm=turning.bend_norm(moved.norm) * (widest * UP),
        size=(whole + _lost(value.abs() + moved.most, whole, turning.least))
        * gamma.abs()
        + shift,
        terms=_TERMS + call.result.shape[-1],
        errors=(wrong * whole + _shift_error(crossing)) * UP,
    )


@dataclass(frozen=True)
class _Turning:
    """Rows over their spread, without a scale, and how far they can go.

    Args:
        unit: What they are at golden values.
        spread: That they are divided by.
        reach: How far that can move, and with it a row's length over sqrt(n).
        shaken: How far each element of what is divided moves.
        centred: Whether each row's elements add up to 0.
        eps: What is added to the mean of squares.
    """

    unit: Tensor
    spread: Tensor
    reach: Tensor
    shaken: Tensor
    centred: bool
    eps: float

    @classmethod
    def of(
        cls, rows: Tensor, shaken: Tensor, moved: Moved, eps: float, *, centred: bool
    ) -> _Turning:
        """Measure golden rows; none moves further than all do together."""
        spread = (rows.square().mean(-1, keepdim=True) + eps).sqrt()
        length = torch.minimum(_row_norms(moved.most), beside(moved.norm, rows))
        reach = (length / rows.shape[-1] ** 0.5 * UP).clamp(max=_FAR)
        shaken = shaken.clamp(max=_FAR)
        return cls(rows / spread, spread, reach, shaken, centred, eps)

    @property
    def root(self) -> float:
        """Length of a row whose spread is all in its elements."""
        return math.sqrt(self.unit.shape[-1])

    @property
    def share(self) -> Tensor:
        """How far a row can move, over its length."""
        return self.reach / self.spread * UP

    @property
    def least(self) -> Tensor:
        """The least spread that is reachable."""
        return torch.clamp(self.spread - self.reach, min=self.eps**0.5) / UP

    @property
    def turned(self) -> Tensor:
        """How far each row can move, in the 2-norm."""
        return self.root * _chord(self.share)

    @property
    def steepest(self) -> Tensor:
        """How many times further than its argument a row can move, [inputs]."""
        share = self.share
        ratio = (_chord(share) / share).where((share > 0) & (share <= 1), 2.0)
        return (ratio.where(share > 0, 1.0) / self.spread).flatten(1).amax(1) * UP

    @property
    def _lead(self) -> Tensor:
        """How far the derivative leads each element."""
        return (self.shaken + self.unit.abs() * self.reach) / self.spread

    @property
    def most(self) -> Tensor:
        """How far each element can move."""
        length = self.unit.shape[-1]
        # The largest that one can be: all others are 0, or make up for it.
        largest = (length - 1 if self.centred else length) ** 0.5
        bounds = (
            self._lead * (self.spread / self.least),
            (self.shaken + largest * self.reach) / self.spread,
            self.unit.abs() + largest,
            self.turned.expand_as(self.unit),
        )
        return torch.stack(bounds).amin(0) * UP

    @property
    def bend(self) -> Tensor:
        """How far each element can be from where the derivative leads.

        With m how far the spread moves, and l what its derivative makes of that, an
        inverse spread bends by m^2 / (s^2 s') and by (l - m) / s^2.
        """
        steep = self.reach / (self.spread * self.least)
        bounds = (
            (1.5 * self.unit.abs() * self.reach + self.shaken) * steep,
            self.most + self._lead,
            self._bent.expand_as(self.unit),
        )
        return torch.stack(bounds).amin(0) * UP

    @property
    def _bent(self) -> Tensor:
        return self.root * _bent(self.share) * UP

    def bend_norm(self, norm: Tensor) -> Tensor:
        """Return the same of all elements together, [inputs]."""
        share = self.share
        ratio = (_bent(share) / share).where((share > 0) & (share <= 1), math.sqrt(5))
        steep = (ratio.where(share > 0, 0.0) / self.spread).flatten(1).amax(1)
        return torch.minimum(_all_rows(self._bent), steep * norm) * UP


def _chord(share: Tensor) -> Tensor:
    """Return how far a direction turns of a vector that moves by a share of itself."""
    sine = share.clamp(max=1.0)
    # 2 sin(a / 2) of the angle with that sine, without a difference that cancels.
    chord = sine * (2 / (1 + (1 - sine * sine).sqrt())).sqrt()
    return chord.where(share <= 1, 2.0)


def _bent(share: Tensor) -> Tensor:
    """Return how far it gets from where its derivative at the start leads.

    With x by how much the length changes and c the chord, that is at most the root of
    c^4 / 4 + c^2 x^2, where x^2 + (1 - x) c^2 <= share^2; or, as the cosine is
    1 - c^2 / 2, of c^4 / 4 and of the sine times x.
    """
    sine, chord = share.clamp(max=1.0), _chord(share)
    coarse = (chord.square().square() / 4 + (sine * share).square()).sqrt()
    fine = share.square() / (math.sqrt(3) * (1 - share))
    return torch.minimum(coarse, fine.where(share < 1, math.inf))


def _row_norms(value: Tensor) -> Tensor:
    """Return the 2-norm of each row, the last dimension, beside its elements."""
    return two_norm(value.flatten(0, -2)).reshape(*value.shape[:-1], 1)


def _all_rows(norms: Tensor) -> Tensor:
    """Return the 2-norm of each input from those of its rows."""
    return two_norm(norms)


def _lost(sizes: Tensor, size: Tensor, least: Tensor) -> Tensor:
    """Return what rounding sees beside the result: numbers less their mean cancel.

    Means are rounded as the row's own numbers are, not as the small differences from
    them; so is the variance, relative to all that was squared.
    """
    root = sizes.square().mean(-1, keepdim=True).sqrt()
    lost: Tensor = (sizes + sizes.mean(-1, keepdim=True) + size * root) / least * UP
    return lost


def _through_rows(
    unit: Tensor, gamma: Tensor, spread: Tensor, *, centred: bool
) -> Adjoint:
    """Return (g - mean g - unit mean(unit g)) / spread of g times the scale."""

    def signed(gradient: Tensor) -> tuple[Tensor, ...]:
        scaled = gradient * gamma
        pull = unit * (unit * scaled).mean(-1, keepdim=True)
        mean = scaled.mean(-1, keepdim=True) if centred else 0.0
        return ((scaled - mean - pull) / spread,)

    def absolute(gradient: Tensor) -> tuple[Tensor, ...]:
        scaled = gradient * gamma.abs()
        pull = unit.abs() * (unit.abs() * scaled).mean(-1, keepdim=True)
        mean = scaled.mean(-1, keepdim=True) if centred else 0.0
        return ((scaled + mean + pull) / spread * UP,)

    return Adjoint(signed, absolute, 2 * unit.shape[-1])


def _affine(crossing: Crossing) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scale, its errors, and the size of the shift."""
    call = crossing.call
    scale = call.arg(2)
    gamma = torch.ones(1, dtype=torch.float64) if scale is None else scale.double()
    name = call.name(2)
    error = None if name is None else crossing.errors(name)
    wrong = torch.zeros_like(gamma) if error is None else error.expand_as(gamma)
    return gamma, wrong, _shift(crossing)


def _shift(crossing: Crossing) -> Tensor:
    """Return the size of the shift; a norm without centring has none."""
    if crossing.call.step.op is torch.ops.aten.rms_norm.default:
        return torch.zeros(1, dtype=torch.float64)
    return crossing.call.size(3)


def _shift_error(crossing: Crossing) -> Tensor:
    name = crossing.call.name(3)
    if crossing.call.step.op is torch.ops.aten.rms_norm.default:
        name = None
    error = None if name is None else crossing.errors(name)
    return torch.zeros(1, dtype=torch.float64) if error is None else error
