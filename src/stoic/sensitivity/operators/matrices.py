"""Products of two matrices of values that deviate, as attention has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import (
    OWN,
    UP,
    Adjoint,
    Crossing,
    Moved,
    Turn,
    two_norm,
)

__all__ = ["matmul"]

# The smaller side of matrices whose eigenvalues are worth their time.
_SMALL = 512


def matmul(crossing: Crossing) -> Turn | None:
    """Multiply two matrices of values, batch by batch."""
    call = crossing.call
    if len(crossing.moved) != 2 or call.step.kwargs:
        return None
    (a, of_a), (b, of_b) = ((call.golden(n), moved) for n, moved in crossing.named)
    if a.dim() < 3 or a.dim() != b.dim():
        return None
    if a.shape[:-2] != b.shape[:-2] or call.name(0) != call.reads[0]:
        return None

    def back(a: Tensor, b: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient @ b.mT, a.mT @ gradient

    moves = _Moves.of(crossing, _Factor(a, of_a), _Factor(b, of_b))
    return Turn(
        most=moves.most * UP,
        stretch=moves.stretch,
        adjoint=Adjoint(
            lambda g: back(a, b, g),
            lambda g: back(a.abs() * UP, b.abs() * UP, g),
            max(call.result.shape[-2:]),
        ),
        bend=moves.bend * UP,
        bend_norm=of_a.norm * of_b.norm * UP,
        size=(a.abs() + of_a.most) @ (b.abs() + of_b.most),
        terms=a.shape[-1] + 2,
    )


@dataclass(frozen=True)
class _Factor:
    """Matrices, and how far they move."""

    golden: Tensor
    moved: Moved


@dataclass(frozen=True)
class _Moves:
    """How far a product A B moves: by the move of A times B, and A' times that of B.

    Args:
        most: Of every element.
        bend: What both moves make together.
        stretch: From the 2-norms of both moves, [inputs], to that of the result's.
    """

    most: Tensor
    bend: Tensor
    stretch: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, crossing: Crossing, a: _Factor, b: _Factor) -> _Moves:
        """Bound them by absolute numbers, and by the norms of matrices."""
        long_a = crossing.once("longest of a", lambda: _longest(a.golden))
        long_b = crossing.once("longest of b", lambda: _longest(b.golden))
        reach, bend = long_a + a.moved.norm, a.moved.most @ b.moved.most
        if a.moved.always.shares is not None:
            return cls._of_means(a, b, reach, long_b, a.moved.always.shares)
        return cls(
            a.moved.most @ b.golden.abs() + a.golden.abs() @ b.moved.most + bend,
            bend,
            lambda ours, theirs: (ours * long_b + reach * theirs) * UP,
        )

    @classmethod
    def _of_means(
        cls, a: _Factor, b: _Factor, reach: Tensor, long_b: Tensor, slack: float
    ) -> _Moves:
        """Bound means of the rows of B, by weights that are the rows of A.

        Weights move by 2 in all at most, and their sum does not: what all rows of B
        have in common counts by the slack of sums alone. A mean moves no further than
        the furthest of its terms.
        """
        low, high = (b.golden.amin(-2, True), b.golden.amax(-2, True))
        middle = (low + high) / 2
        weights = a.moved.most.sum(-1, keepdim=True).clamp(max=2 + 2 * slack)
        widest = b.moved.most.amax(-2, keepdim=True)
        away = torch.minimum(
            a.moved.most @ (b.golden - middle).abs(), weights * ((high - low) / 2)
        )
        along = (a.golden.abs() + a.moved.most) @ b.moved.most
        along = torch.minimum(along, widest * (1 + slack))
        rows = math.sqrt(a.golden.shape[-2])
        apart = _longest(b.golden - middle)
        common = two_norm(middle.expand_as(b.golden).abs()) * (2 * slack * rows)
        reach = reach.clamp(max=rows * (1 + slack))
        return cls(
            away + middle.abs() * (2 * slack) + along,
            torch.minimum(a.moved.most @ b.moved.most, weights * widest),
            lambda ours, theirs: (
                (torch.minimum(ours * long_b, ours * apart + common) + reach * theirs)
                * UP
            ),
        )


def _longest(value: Tensor) -> Tensor:
    """Return the largest 2-norm of the matrices of each input, rounded up: [inputs]."""
    narrow = value if value.shape[-1] >= value.shape[-2] else value.mT
    flat = narrow.flatten(1, -3) if narrow.dim() > 3 else narrow[:, None]
    if narrow.shape[-2] > _SMALL:
        return two_norm(flat.flatten(0, 1)).reshape(flat.shape[:2]).amax(1)
    top = flat.abs().amax((-2, -1), keepdim=True)
    scaled = flat / top.where(top > 0, 1.0)
    largest = torch.linalg.eigvalsh(scaled @ scaled.mT)[..., -1].clamp(min=0.0)
    # A product is off by as many roundings as it has terms, in each of the columns.
    slack = narrow.shape[-2] * (narrow.shape[-2] + narrow.shape[-1]) * OWN
    lengths: Tensor = (largest * (1 + slack)).sqrt() * top[..., 0, 0] * UP
    return lengths.amax(1)
