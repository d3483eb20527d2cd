"""Rules: how the relevance of sums is shared out among what was weighed and summed.

Each is a frozen value. A sum ``z`` of products ``x w`` and a bias hands its relevance
on in proportion to some of the products; the rules differ in which ones.

References:
    Bach et al., "On pixel-wise explanations ... by layer-wise relevance propagation",
    2015 (epsilon, alpha-beta). Montavon et al., "Explaining nonlinear classification
    decisions with deep Taylor decomposition", 2017 (z+, w², box). Montavon et al.,
    "Layer-wise relevance propagation: an overview", 2019 (gamma).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stoic.causes.relevance.weighed import Share, Term, Weighed, shared

__all__ = ["AlphaBeta", "Box", "Epsilon", "Flat", "Gamma", "Rule", "WSquare", "ZPlus"]

STEADY = 1e-6
"""What keeps a sum from being 0, if a rule is told nothing."""


class Rule(Protocol):
    """Shares out what has reached the result of a step that weighs."""

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Return the relevance of what was weighed, and what others take of it."""
        ...


@dataclass(frozen=True)
class Epsilon:
    """In proportion to all products, ``x w / (z ± epsilon)``; the bias takes part."""

    epsilon: float = STEADY

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        term = layer.term(layer.value, layer.weight, layer.bias)
        return shared(relevance, [term], self.epsilon)


@dataclass(frozen=True)
class AlphaBeta:
    """Positive products get ``alpha`` of all, negative ones ``-beta``.

    Args:
        alpha: One more than ``beta``, or relevance is not conserved.
        beta: 0 is the rule z+.
        epsilon: Keeps sums from being 0.
        bias: Whether the bias takes part.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = STEADY
    bias: bool = True

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9 or self.beta < 0:
            raise ValueError(
                "alpha must be beta + 1, and beta at least 0, "
                f"got {self.alpha} and {self.beta}"
            )

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        up = _signed(layer, up=True, bias=self.bias)
        found = shared(relevance, up, self.epsilon).times(self.alpha)
        if not self.beta:
            return found
        down = _signed(layer, up=False, bias=self.bias)
        return found + shared(relevance, down, self.epsilon).times(-self.beta)


@dataclass(frozen=True)
class ZPlus:
    """In proportion to positive products alone: alpha-beta with 1 and 0."""

    epsilon: float = STEADY
    bias: bool = True

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        rule = AlphaBeta(1.0, 0.0, self.epsilon, self.bias)
        return rule(layer, relevance)


@dataclass(frozen=True)
class Gamma:
    """Products that push a sum to the side where it is count ``1 + gamma`` times."""

    gamma: float = 0.25
    epsilon: float = STEADY

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        above = layer.term(layer.value, layer.weight, layer.bias).result > 0
        up = shared(relevance * above, self._terms(layer, up=True), self.epsilon)
        down = shared(relevance * ~above, self._terms(layer, up=False), self.epsilon)
        return up + down

    def _terms(self, layer: Weighed, *, up: bool) -> list[Term]:
        """Return all products, those that push upwards (or downwards) stronger."""
        bias = layer.bias
        with_sign = None if bias is None else bias + self.gamma * _side(bias, up)
        weights = [
            layer.weight + self.gamma * _side(layer.weight, w) for w in (up, not up)
        ]
        return _halves(layer, weights[0], weights[1], with_sign)


@dataclass(frozen=True)
class Flat:
    """To all that a sum reads alike, whatever it weighs: for the first layer."""

    epsilon: float = STEADY

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        ones = torch.ones_like(layer.value), torch.ones_like(layer.weight)
        return shared(relevance, [layer.term(*ones, None)], self.epsilon)


@dataclass(frozen=True)
class WSquare:
    """In proportion to squared weights, whatever the values: for the first layer."""

    epsilon: float = STEADY

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        ones, squares = torch.ones_like(layer.value), layer.weight.square()
        return shared(relevance, [layer.term(ones, squares, None)], self.epsilon)


@dataclass(frozen=True)
class Box:
    """By how far products lie above the least that pixels in a box allow (z^B).

    Args:
        low: The least number that a pixel can have.
        high: The largest.
        epsilon: Keeps sums from being 0.
    """

    low: float
    high: float
    epsilon: float = STEADY

    def __call__(self, layer: Weighed, relevance: Tensor) -> Share:
        """Share relevance out."""
        low = torch.full_like(layer.value, self.low)
        high = torch.full_like(layer.value, self.high)
        terms = [
            layer.term(layer.value, layer.weight, layer.bias),
            layer.term(low, -layer.weight.clamp(min=0), None),
            layer.term(high, -layer.weight.clamp(max=0), None),
        ]
        return shared(relevance, terms, self.epsilon)


def _side(numbers: Tensor, up: bool) -> Tensor:
    return numbers.clamp(min=0) if up else numbers.clamp(max=0)


def _signed(layer: Weighed, *, up: bool, bias: bool) -> list[Term]:
    """Return the products of one sign."""
    own = layer.bias if bias else None
    weights = _side(layer.weight, up), _side(layer.weight, not up)
    return _halves(layer, *weights, None if own is None else _side(own, up))


def _halves(
    layer: Weighed, above: Tensor, below: Tensor, bias: Tensor | None
) -> list[Term]:
    """Weigh positive values with some weights, and negative ones with others."""
    terms = [layer.term(layer.value.clamp(min=0), above, bias)]
    negative = layer.value.clamp(max=0)
    # After a ReLU there are none, and half the work is saved.
    if bool((negative < 0).any()):
        terms.append(layer.term(negative, below, None))
    return terms
