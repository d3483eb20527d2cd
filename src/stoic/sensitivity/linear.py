"""Linear maps of one row: a step without its constant part, with its transpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import vjp

from stoic.sensitivity.digest import digest
from stoic.sensitivity.spectrum import largest_singular
from stoic.sensitivity.stencil import Stencil

__all__ = [
    "Blocks",
    "LinearMap",
    "Moves",
    "Scale",
    "compose",
    "dense",
    "scaled",
    "sparse",
    "stencilled",
]

Map: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scale:
    """One factor for each element.

    Args:
        factors: Float64, of a shape that spreads to that of a row.
    """

    factors: Tensor

    def upper(self) -> float:
        """Return the largest factor: the norm itself."""
        return float(self.factors.abs().max()) if self.factors.numel() else 0.0


@dataclass(frozen=True)
class Zeros:
    """Zeros around a map.

    Args:
        before: How many, along each of the last dimensions.
    """

    before: tuple[int, ...]

    def upper(self) -> float:
        """Return the norm."""
        return 1.0


@dataclass(frozen=True)
class Moves:
    """Elements that each go to one place."""

    def upper(self) -> float:
        """Return the norm."""
        return 1.0


@dataclass(frozen=True)
class Transposed:
    """A convolution from its outputs to its inputs.

    Args:
        stencil: The convolution.
    """

    stencil: Stencil

    def upper(self) -> float:
        """Return a number that the 2-norm does not exceed."""
        return self.stencil.upper()


@dataclass(frozen=True)
class Blocks:
    """The same matrix for every token of a row.

    Args:
        matrix: Float64; its columns are the features that are read.
    """

    matrix: Tensor

    def upper(self) -> float:
        """Return a number that the 2-norm does not exceed."""
        return largest_singular(self.matrix[None])


Form: TypeAlias = Scale | Blocks | Stencil | Transposed | Zeros | Moves


@dataclass(frozen=True)
class LinearMap:
    """A linear map of one row of a batch, which all rows share.

    Args:
        shape: Of a row that it reads.
        result: Of a row that it makes.
        apply: Maps float64 rows, dimension 0, to theirs.
        adjoint: The transposed map, likewise.
        absolute: Makes the map with the absolute numbers of this one.
        terms: Products in the longest sum of either direction.
        form: What else is known of it.
        entrywise: Whether ``absolute`` is exact; otherwise it is an upper bound, entry
            by entry.
        key: The same for equal maps; nothing where that is not known.
    """

    shape: tuple[int, ...]
    result: tuple[int, ...]
    apply: Map
    adjoint: Map
    absolute: Callable[[], LinearMap]
    terms: int
    form: Form | None = None
    entrywise: bool = True
    key: Hashable = None

    @property
    def single(self) -> bool:
        """Whether each element of the result hangs on no more than one."""
        return isinstance(self.form, Scale)


def scaled(shape: tuple[int, ...], factors: Tensor) -> LinearMap:
    """Return the map that multiplies every element with a factor of its own."""
    factors = factors.detach().double()

    def run(rows: Tensor) -> Tensor:
        return rows * factors

    return LinearMap(
        *(shape, shape, run, run, lambda: scaled(shape, factors.abs()), 1),
        form=Scale(factors),
        key=("scale", shape, digest(factors)),
    )


def dense(shape: tuple[int, ...], matrix: Tensor) -> LinearMap:
    """Return the map that multiplies the last dimension with a matrix from the left."""
    matrix = matrix.detach().double()
    return LinearMap(
        *(shape, (*shape[:-1], len(matrix))),
        apply=lambda rows: rows @ matrix.t(),
        adjoint=lambda rows: rows @ matrix,
        absolute=lambda: dense(shape, matrix.abs()),
        terms=max(matrix.shape),
        form=Blocks(matrix),
        key=("dense", shape, digest(matrix)),
    )


def stencilled(stencil: Stencil, *, turned: bool = False) -> LinearMap:
    """Return the map of a convolution, or of a transposed one.

    Args:
        stencil: The convolution, also where the map is its transpose.
        turned: Whether it is.
    """
    shapes, maps = (stencil.domain, stencil.range), (stencil.apply, stencil.adjoint)
    shape, result = reversed(shapes) if turned else shapes
    apply, adjoint = reversed(maps) if turned else maps
    return LinearMap(
        *(shape, result, apply, adjoint),
        absolute=lambda: stencilled(stencil.absolute, turned=turned),
        terms=stencil.terms,
        form=Transposed(stencil) if turned else stencil,
        key=("stencil", turned, stencil.key),
    )


def sparse(
    shape: tuple[int, ...],
    apply: Map,
    key: Hashable = None,
    form: Zeros | Moves | None = None,
) -> LinearMap:
    """Return a map whose numbers are not negative, from what it does to rows."""
    nothing = torch.zeros(1, *shape, dtype=torch.float64)
    result = tuple(apply(nothing).shape[1:])

    def adjoint(rows: Tensor) -> Tensor:
        with torch.enable_grad():
            _, back, *_ = vjp(apply, nothing.expand(len(rows), *shape))
            found: Tensor = back(rows)[0]
        return found

    return LinearMap(
        *(shape, result, apply, adjoint, lambda: sparse(shape, apply, key, form)),
        terms=max(math.prod(shape), math.prod(result)),
        form=form,
        key=None if key is None else ("sparse", shape, key),
    )


def compose(first: LinearMap, second: LinearMap) -> LinearMap:
    """Return the map that does one after the other.

    A scale per channel after a convolution or a matrix is taken into its numbers.

    Raises:
        ValueError: The second does not read what the first makes.
    """
    if first.result != second.shape:
        raise ValueError(
            f"second must read rows of shape {first.result}, got {second.shape}; "
            "give the maps in the order in which they are run"
        )
    folded = _folded(first, second)
    if folded is not None:
        return folded
    keys = (first.key, second.key)
    return LinearMap(
        *(first.shape, second.result),
        apply=lambda rows: second.apply(first.apply(rows)),
        adjoint=lambda rows: first.adjoint(second.adjoint(rows)),
        absolute=lambda: compose(first.absolute(), second.absolute()),
        terms=first.terms + second.terms,
        entrywise=first.entrywise and second.entrywise and second.single,
        key=None if None in keys else ("then", *keys),
    )


def _folded(first: LinearMap, second: LinearMap) -> LinearMap | None:
    """Return one map in place of two, if there is a simple one."""
    if isinstance(first.form, Zeros) and isinstance(second.form, Stencil):
        return _widened(first, first.form, second.form)
    if not isinstance(second.form, Scale):
        return None
    factors, dims = second.form.factors, len(first.result)
    factors = factors.reshape((1,) * (dims - factors.dim()) + tuple(factors.shape))
    if isinstance(first.form, Scale):
        return scaled(first.shape, first.form.factors * second.form.factors)
    if isinstance(first.form, Stencil) and factors[:1].numel() == 1:
        return stencilled(first.form.scaled(factors.flatten().expand(first.result[0])))
    if isinstance(first.form, Blocks) and factors.numel() == factors.shape[-1]:
        return dense(first.shape, first.form.matrix * factors.reshape(-1, 1))
    return None


def _widened(first: LinearMap, zeros: Zeros, stencil: Stencil) -> LinearMap:
    """Give a convolution the zeros in front of it as padding."""
    spatial = zip(stencil.padding, zeros.before, strict=True)
    padding = tuple(own + before for own, before in spatial)
    return stencilled(replace(stencil, size=first.shape[1:], padding=padding))
