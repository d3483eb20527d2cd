"""The 1-, 2- and infinity-norm of a linear map, between bounds that hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, MutableMapping
from typing import TypeAlias

import torch
from torch import Tensor

from stoic.sensitivity.bracket import Bracket, outward, rounding
from stoic.sensitivity.linear import Blocks, LinearMap, Moves, Scale
from stoic.sensitivity.spectrum import largest_singular

__all__ = ["Order", "Store", "norm", "upper_norm"]

Order: TypeAlias = float
"""Of a norm: 1, 2 or infinity."""

Store: TypeAlias = MutableMapping[Hashable, Bracket]
"""Norms that are known already, by what they are of."""

_STEPS = 60
_STARTS = 2
# Maps with no more elements on their smaller side, and numbers in all, are written out.
_SMALL, _NUMBERS = 512, 1 << 21
# Those of fewer are written out where an upper bound is all that is asked for.
_FEW = 160
# Relative growth of the square, in three steps, below which the search ends.
_SETTLED = 1e-4
_WEIGHINGS = 8
# First weights are seldom off by as much.
_FAR = 1.5


@torch.no_grad()
def norm(linear: LinearMap, order: Order, store: Store | None = None) -> Bracket:
    """Return the operator norm of a map of one row, between two bounds.

    In the 1- and infinity-norm both are sums of absolute numbers, and equal but for
    rounding, unless a map is made of two that are not folded into one. In the 2-norm
    the lower bound is what the map makes of a vector; the upper one is the lowest of
    those of its form and of its absolute numbers.

    Args:
        linear: The map.
        order: 1, 2 or ``math.inf``.
        store: Where what is found is kept, and looked for, if given.

    Raises:
        ValueError: The order is another one.
    """
    if order not in (1, 2, math.inf):
        raise ValueError(f"order must be 1, 2 or infinity, got {order}; choose one")
    key = None if linear.key is None else (order, linear.key)
    if store is None or key is None:
        return _norm(linear, order)
    if key not in store:
        store[key] = _norm(linear, order)
    return store[key]


@torch.no_grad()
def upper_norm(linear: LinearMap, store: Store | None = None) -> float:
    """Return the upper bound of the 2-norm alone, in much less time than a bracket.

    It may be larger than that of `norm` by as much as brackets are wide.

    Args:
        linear: The map.
        store: Where what is found is kept, and looked for, if given.
    """
    key = ("upper", linear.key)
    if store is None or linear.key is None:
        return _upper(linear)
    if key not in store:
        known = store.get((2, linear.key))
        store[key] = Bracket(0.0, _upper(linear)) if known is None else known
    return store[key].upper


def _upper(linear: LinearMap) -> float:
    if not math.prod(linear.shape) or not math.prod(linear.result):
        return 0.0
    if isinstance(linear.form, Moves):
        return linear.form.upper()
    if not _sums(linear, 1).isfinite().all():
        return math.inf
    if linear.form is None:
        return _weighed(linear.absolute(), 0.0)
    side = min(math.prod(linear.shape), math.prod(linear.result))
    small = side <= _FEW and not isinstance(linear.form, Scale | Blocks)
    return _written(linear) if small else linear.form.upper()


def _written(linear: LinearMap) -> float:
    """Bound the matrix of a small map, written out."""
    matrix = _matrix(linear)
    off = rounding(linear.terms) * float(matrix.norm())
    return outward(largest_singular(matrix[None]) + off)


def _norm(linear: LinearMap, order: Order) -> Bracket:
    if not math.prod(linear.shape) or not math.prod(linear.result):
        return Bracket(0.0, 0.0)
    sums = _sums(linear, order) if order != 2 else _sums(linear, 1)
    if not sums.isfinite().all():
        return Bracket(0.0, math.inf)
    return _euclidean(linear) if order == 2 else _by_sums(linear, order, sums)


def _sums(linear: LinearMap, order: Order) -> Tensor:
    """Return the sums of absolute numbers of each column (1) or row (infinity)."""
    absolute = linear.absolute()
    if order == 1:
        ones = torch.ones(1, *linear.result, dtype=torch.float64)
        return absolute.adjoint(ones).flatten()
    ones = torch.ones(1, *linear.shape, dtype=torch.float64)
    return absolute.apply(ones).flatten()


def _by_sums(linear: LinearMap, order: Order, sums: Tensor) -> Bracket:
    off = rounding(linear.terms)
    most, place = float(sums.max()), int(sums.argmax())
    if linear.entrywise:
        return Bracket.around(most, off)
    # Sums of a product of maps, without signs, are too large: of one column or row
    # they are taken with signs.
    shape, run = (
        (linear.shape, linear.apply) if order == 1 else (linear.result, linear.adjoint)
    )
    unit = torch.zeros(math.prod(shape), dtype=torch.float64)
    unit[place] = 1.0
    own = float(run(unit.reshape(1, *shape)).abs().sum())
    return Bracket(max(own - off * most, 0.0), outward(most, off))


def _euclidean(linear: LinearMap) -> Bracket:
    if isinstance(linear.form, Scale):
        return Bracket.around(linear.form.upper())
    sides = sorted((math.prod(linear.shape), math.prod(linear.result)))
    if sides[0] <= _SMALL and sides[0] * sides[1] <= _NUMBERS:
        return _written_out(linear)
    own = math.inf if linear.form is None else linear.form.upper()
    weighed = _weighed(linear.absolute(), own)
    # What a vector becomes is off by roundings of what the map without signs makes.
    lower = _largest_growth(linear) - rounding(linear.terms) * weighed
    upper = min(weighed, own)
    return Bracket(max(min(lower, upper), 0.0), upper)


def _written_out(linear: LinearMap) -> Bracket:
    """Decompose the matrix of a small map."""
    matrix = _matrix(linear)
    values = torch.linalg.svdvals(matrix)
    # Backward errors, of the matrix and of the decomposition, are relative to the norm
    # of all its numbers.
    off = rounding(linear.terms + sum(matrix.shape)) * float(matrix.norm())
    value = float(values.max())
    return Bracket(max(value - off, 0.0), outward(value + off))


def _matrix(linear: LinearMap) -> Tensor:
    """Return the matrix of a map, or its transpose."""
    inwards = math.prod(linear.shape) <= math.prod(linear.result)
    shape, run = (
        (linear.shape, linear.apply) if inwards else (linear.result, linear.adjoint)
    )
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return run(units).flatten(1)


def _weighed(absolute: LinearMap, known: float) -> float:
    """Return a bound of a map without negative numbers, and of all with its sizes.

    For any positive weights ``v`` the square of the norm is at most the largest element
    of ``absolute.adjoint(absolute.apply(v)) / v`` (Schur); with all ones it is at most
    the product of the 1- and infinity-norm. Weights come closer to the best ones when
    they are replaced by what they become.

    Args:
        absolute: The map.
        known: Another bound; what is far from it is not made better.
    """
    weights = torch.ones(1, *absolute.shape, dtype=torch.float64)
    best = math.inf
    for _ in range(_WEIGHINGS):
        image = absolute.adjoint(absolute.apply(weights))
        seen = weights > 0
        if not seen.any():
            return 0.0
        ratios = torch.where(seen, image / weights.clamp(min=1e-300), 0.0)
        largest = float(ratios.max())
        if largest == 0:
            return 0.0
        # A weight may vanish only where its column is empty.
        best = min(best, largest)
        if best**0.5 > _FAR * known:
            break
        weights = torch.where(image > 0, (image / image.max()).clamp(min=1e-12), 0.0)
    return outward(best**0.5, 2 * rounding(2 * absolute.terms))


def _largest_growth(linear: LinearMap) -> float:
    """Return what the best of the vectors that were tried grows by."""
    chance = torch.Generator().manual_seed(0)
    starts = torch.randn(_STARTS, *linear.shape, generator=chance, dtype=torch.float64)
    return max(_climb(linear, start[None]) for start in starts)


def _climb(linear: LinearMap, vector: Tensor) -> float:
    """Raise a vector's growth: each step takes the best mix of three directions.

    These are the vector itself, its gradient and the last step, as in the locally
    optimal conjugate gradients of Knyazev (2001).
    """
    shape = vector.shape
    basis = vector.flatten()[None] / vector.norm()
    images = linear.apply(vector / vector.norm()).flatten()[None]
    growths = [float(images.norm())]
    for _ in range(_STEPS):
        pull = linear.adjoint(images[:1].reshape(1, *linear.result)).flatten()
        new = _orthogonal(pull, basis)
        if new is None:
            break
        image = linear.apply(new.reshape(shape)).flatten()
        basis, images = _best(
            torch.cat([basis, new[None]]), torch.cat([images, image[None]])
        )
        growths.append(float(images[0].norm()))
        if len(growths) > 3 and growths[-1] <= growths[-4] * (1 + _SETTLED):
            break
    best = basis[:1].reshape(shape)
    return float(linear.apply(best).norm() / best.norm()) if best.norm() > 0 else 0.0


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor | None:
    """Return the part of a vector that is new, as a unit vector, if there is any."""
    size = float(vector.norm())
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    new = float(vector.norm())
    return vector / new if new > 1e-10 * size and new > 0 else None


def _best(basis: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vector of a span that grows most, and the step that led there.

    Both are orthogonal to each other; so is the basis.
    """
    _, vectors = torch.linalg.eigh(images @ images.t())
    mix = vectors[:, -1]
    # The step is the new vector less its part of the old one, made orthogonal to it.
    step = mix.clone()
    step[0] = 0.0
    step = step - (step @ mix) * mix
    if float(step.norm()) < 1e-12:
        return mix[None] @ basis, mix[None] @ images
    both = torch.stack([mix, step / step.norm()])
    return both @ basis, both @ images
