"""How much a function stretches about an input: on average, and in the worst direction.

Both are about the derivative at the input itself: they say what happens for small
perturbations, and prove nothing about larger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stoic.sensitivity.ball import lengths, unit
from stoic.sensitivity.jacobian import Function, Jacobian

__all__ = ["Frobenius", "Largest", "average", "frobenius", "largest", "strongest"]


class Frobenius(NamedTuple):
    """Frobenius norms of derivatives.

    Args:
        value: Of each input, [inputs].
        error: Its standard error; 0 where every output was asked, so that it is exact.
    """

    value: Tensor
    error: Tensor


class Largest(NamedTuple):
    """The strongest directions that were found.

    Args:
        value: 2-norm of what each becomes, [inputs]: no more than the spectral norm.
        direction: Of 2-norm 1, shaped like the inputs.
    """

    value: Tensor
    direction: Tensor


def frobenius(f: Function, x: Tensor, probes: int = 8, seed: int = 0) -> Frobenius:
    """Return the Frobenius norm of the derivative at each input, by Hutchinson.

    The squared norm is the mean of ``|J' u|^2`` over random signs ``u``. Where there
    are as many probes as outputs, each output is asked by itself, which is exact.

    Args:
        f: The function.
        x: Where, [inputs, ...].
        probes: Ways back, at least 2.
        seed: Of the signs.

    Raises:
        ValueError: There are fewer probes, or an output is not finite.
    """
    if probes < 2:
        raise ValueError(
            f"probes must be >= 2 to know their spread, got {probes}; choose one such "
            "as 16"
        )
    jacobian = Jacobian(f, x)
    count, width = jacobian.y.shape
    if probes >= width:
        units = torch.eye(width).to(jacobian.y)
        squares = [lengths(jacobian.back(u.expand(count, -1))) ** 2 for u in units]
        value = torch.stack(squares).sum(0).sqrt()
        return Frobenius(value, torch.zeros_like(value))
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 2, (probes, count, width), generator=chance)
    signs = (2 * drawn - 1).to(jacobian.y)
    squares = [lengths(jacobian.back(u)) ** 2 for u in signs]
    return _hutchinson(torch.stack(squares))


def _hutchinson(squares: Tensor) -> Frobenius:
    mean, spread = squares.mean(0), squares.std(0) / len(squares) ** 0.5
    value = mean.sqrt()
    error = torch.where(value > 0, spread / (2 * value), 0.0)
    return Frobenius(value, error)


def average(norms: Tensor, x: Tensor) -> Tensor:
    """Return the root mean square growth over all directions, of Frobenius norms."""
    mean: Tensor = norms / x[0].numel() ** 0.5
    return mean


def largest(f: Function, x: Tensor, steps: int = 20, seed: int = 0) -> Largest:
    """Return the spectral norm of the derivative from below, by power iteration.

    Args:
        f: The function.
        x: Where, [inputs, ...].
        steps: Each is a product and a transposed one.
        seed: Of the first direction.

    Raises:
        ValueError: An output is not finite.
    """
    jacobian = Jacobian(f, x)
    v = strongest(jacobian, unit, steps, seed)
    return Largest(lengths(jacobian.forth(v)), v)


def strongest(
    jacobian: Jacobian, steepest: Callable[[Tensor], Tensor], steps: int, seed: int
) -> Tensor:
    """Return directions that the derivative stretches most, by power iteration.

    Where there are no more outputs than steps, each is asked by itself first, which
    gives the strongest direction in the 2-norm at once.

    Args:
        jacobian: The derivative.
        steepest: From a gradient to the direction of size 1 along which a linear
            function rises most: what size is, is its own affair.
        steps: Each is a product and a transposed one.
        seed: Of the first direction.
    """
    width = jacobian.y.shape[1]
    asked = width if width <= steps else 0
    first = _leading(jacobian) if asked else _drawn(jacobian, seed)
    # What a way back gives has no part in directions that change nothing.
    v = steepest(jacobian.back(first))
    for _ in range(steps - asked):
        v = steepest(jacobian.back(jacobian.forth(v)))
    return v


def _leading(jacobian: Jacobian) -> Tensor:
    """Return the combination of outputs that moves most."""
    units = torch.eye(jacobian.y.shape[1]).to(jacobian.y)
    rows = [jacobian.back(u.expand_as(jacobian.y)).flatten(1) for u in units]
    derivative = torch.stack(rows, 1)
    # Squares of small numbers are zero.
    top = derivative.abs().amax((1, 2), keepdim=True)
    derivative = torch.where(top > 0, derivative / top, 0.0)
    directions: Tensor = torch.linalg.eigh(derivative @ derivative.mT).eigenvectors
    return directions[:, :, -1]


def _drawn(jacobian: Jacobian, seed: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.randn(jacobian.y.shape, generator=chance, dtype=torch.float64)
    return drawn.to(jacobian.y)
