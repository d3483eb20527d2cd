"""How much a function stretches about an input: on average, and in the worst direction.

Both are about the derivative at the input itself: they say what happens for small
perturbations, and prove nothing about larger ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stoic.sensitivity.ball import lengths, unit
from stoic.sensitivity.jacobian import Function, Jacobian

__all__ = ["Frobenius", "Largest", "average", "frobenius", "largest"]


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
        raise ValueError(f"probes must be >= 2 to know their spread, got {probes}")
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
    chance = torch.Generator().manual_seed(seed)
    first = torch.randn(jacobian.y.shape, generator=chance, dtype=torch.float64)
    # What a way back gives has no part in directions that change nothing.
    v = unit(jacobian.back(first.to(jacobian.y)))
    image = jacobian.forth(v)
    for _ in range(steps):
        v = unit(jacobian.back(image))
        image = jacobian.forth(v)
    return Largest(lengths(image), v)
