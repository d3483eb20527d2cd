"""Derivatives that keep elements apart: several of them in a row are one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Alone"]


def _same(value: Tensor) -> Tensor:
    return value


def _product(value: Tensor, numbers: Tensor) -> Tensor:
    return value * numbers


@dataclass(frozen=True)
class Alone:
    """A derivative by which no two elements of the result hang on the same element.

    Args:
        weights: Of each element of the value that is read, shaped as that; float32,
            each off by a rounding at most.
        sums: Multiplies elements of a value with numbers, and adds up those that make
            one of the result.
        spread: From elements of the result to the value's, in their places, with any
            dimensions in front.
        steps: In how many steps in a row.
        times: Multiplies elements of the value with those of the result in their
            places, where that is faster than spreading them first.
    """

    weights: Tensor
    sums: Callable[[Tensor, Tensor], Tensor] = _product
    spread: Callable[[Tensor], Tensor] = _same
    steps: int = 1
    times: Callable[[Tensor, Tensor], Tensor] | None = None

    def back(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the value that is read, of one of the result."""
        return self.onto(gradient, self.weights)

    def onto(self, result: Tensor, numbers: Tensor) -> Tensor:
        """Multiply numbers of elements of the value with those of the result."""
        if self.times is not None:
            return self.times(result, numbers)
        return self.spread(result) * numbers

    def added(self, value: Tensor) -> Tensor:
        """Add up elements of the value that make one of the result."""
        return self.sums(value, torch.ones(()).expand(value.shape))

    def after(self, before: Alone) -> Alone:
        """Return both in a row."""
        weights = before.onto(self.weights, before.weights)
        steps = self.steps + before.steps
        if before.spread is _same:
            return replace(self, weights=weights, steps=steps)
        return Alone(
            weights,
            lambda value, numbers: self.added(before.sums(value, numbers)),
            lambda result: before.spread(self.spread(result)),
            steps,
            lambda result, numbers: before.onto(self.spread(result), numbers),
        )
