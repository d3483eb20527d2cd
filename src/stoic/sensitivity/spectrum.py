"""Largest singular values of many matrices at once, from above."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stoic.sensitivity.bracket import outward, rounding

__all__ = ["about_largest", "largest_singular"]

# Narrower matrices are decomposed, also where it is one of real numbers; of wider ones
# a guess is proved.
_DECOMPOSED, _ONE = 48, 256
# Steps of a power iteration, and its vectors, for many matrices, for few, and where
# little hangs on it.
_MANY, _FEW, _ROUGH = (30, 2), (80, 6), (10, 2)
# Steps after which vectors are made orthogonal again.
_APART = 5
# Of many matrices the largest few are looked at first.
_FIRST = 12
_MARGINS = (2e-4, 1e-3, 3e-3, 8e-3, 0.02, 0.05, 0.2, 1.0)
_CHUNK = 1 << 22
# Numbers between this and its inverse can be squared as they are.
_PLAIN = 1e-8


def largest_singular(matrices: Tensor, known: float = 0.0) -> float:
    """Return a number that no singular value of any of the matrices exceeds.

    Args:
        matrices: Of shape [..., rows, columns]; float64, complex128, or complex64, of
            which rounding is part of the bound, too.
        known: No smaller number is asked for.
    """
    many = _lying(matrices)
    each = max(1, _CHUNK // max(1, many[0].numel()))
    found = known
    for part in many.split(each):
        found = max(found, _largest(part, found))
    return found


def about_largest(matrices: Tensor) -> float:
    """Return about the same, and no more than roundings above it, in less time."""
    many = matrices.flatten(0, -3)
    sizes = torch.linalg.vector_norm(_reals(many).flatten(1), dim=1)
    gram = _gram(_lying(many[sizes.topk(min(_FIRST, len(many))).indices]))
    return math.sqrt(max(_guess(gram, _ROUGH), 0.0))


def _lying(matrices: Tensor) -> Tensor:
    """Return [many, rows, columns] with no more rows than columns."""
    many = matrices.flatten(0, -3)
    return many.mT if many.shape[-2] > many.shape[-1] else many


def _reals(numbers: Tensor) -> Tensor:
    """Return parts of complex numbers: kernels of those themselves are slow."""
    return torch.view_as_real(numbers) if numbers.is_complex() else numbers


def _unit(matrices: Tensor) -> float:
    return torch.finfo(matrices.dtype).eps / 2


def _complex(terms: int, unit: float) -> float:
    """Return what a sum of so many complex products is off by, of their sizes.

    Both parts are sums of twice as many real products: the root of 2 times that.
    """
    share = 3 * (terms + 8) * unit
    return share / (1 - share)


def _largest(many: Tensor, known: float) -> float:
    """Return a bound of some matrices with no more rows than columns."""
    rows, columns = many.shape[-2:]
    scale = float(_reals(many).abs().max())
    if not math.isfinite(scale):
        return math.inf
    if scale == 0:
        return 0.0
    if _PLAIN < scale < 1 / _PLAIN:
        scale = 1.0
    else:
        many = many / scale
    if rows == 1:
        norms = torch.linalg.vector_norm(_reals(many).flatten(1), dim=1)
        return outward(scale * float(norms.max()), rounding(2 * columns, _unit(many)))
    gram = _gram(many)
    off = _complex(columns + rows, _unit(many)) * float(_trace(gram).max())
    if len(gram) <= _FIRST and rows <= (_ONE if _is_one(gram) else _DECOMPOSED):
        square = float(torch.linalg.eigvalsh(gram).max())
    else:
        square = _proved(gram, (known / scale) ** 2)
    # Both ways are off by roundings of the trace at most.
    return outward(scale * (max(square, 0.0) + off) ** 0.5, 1e-15)


def _is_one(gram: Tensor) -> bool:
    return len(gram) == 1 and not gram.is_complex()


def _gram(many: Tensor) -> Tensor:
    """Return products with the transpose; what is above the diagonal is not read."""
    return many @ many.mH


def _trace(gram: Tensor) -> Tensor:
    return gram.diagonal(dim1=-2, dim2=-1).real.sum(-1)


def _proved(gram: Tensor, known: float) -> float:
    """Return a bound of eigenvalues: where a Cholesky decomposition succeeds.

    It succeeds for ``bound * I - gram`` only if that has no negative eigenvalue, up to
    roundings of its trace (Rump 2006).
    """
    width, unit = gram.shape[-1], _unit(gram)
    # No eigenvalue is above the norm of all numbers.
    sizes = torch.linalg.vector_norm(_reals(gram).flatten(1), dim=1).double()
    sizes = sizes * (1 + rounding(2 * width**2, unit))
    identity = torch.eye(width, dtype=gram.dtype)
    # Of the shifted matrix, too, the trace is what roundings are relative to.
    off = _complex(width, unit) * width
    guess = known
    for margin in _MARGINS:
        guess = max(guess, _about(gram[sizes.topk(min(_FIRST, len(gram))).indices]))
        bound = guess * (1 + margin)
        gram, sizes = gram[sizes > bound], sizes[sizes > bound]
        _, failed = torch.linalg.cholesky_ex(bound * identity - gram)
        gram, sizes = gram[failed != 0], sizes[failed != 0]
        if not len(gram):
            return bound * (1 + off)
    return float(torch.linalg.eigvalsh(gram).max()) * (1 + off)


def _about(gram: Tensor) -> float:
    """Return about the largest eigenvalue of some matrices."""
    if gram.shape[-1] <= _DECOMPOSED:
        return float(torch.linalg.eigvalsh(gram).max())
    return _guess(gram, _FEW if len(gram) <= 4 else _MANY)


def _guess(gram: Tensor, how: tuple[int, int]) -> float:
    """Return about the largest eigenvalue of all."""
    chance = torch.Generator().manual_seed(0)
    steps, beside = how
    shape = (len(gram), gram.shape[-1], min(beside, gram.shape[-1]))
    start = torch.randn(shape, generator=chance, dtype=torch.float64)
    scale, vectors = float(_trace(gram).max()), start.to(gram.dtype)
    if scale == 0:
        return 0.0
    gram = gram / scale
    for step in range(steps):
        vectors = gram @ vectors
        if step % _APART == _APART - 1:
            vectors, _ = torch.linalg.qr(vectors)
    small = vectors.mH @ gram @ vectors
    return float(torch.linalg.eigvalsh(small).max()) * scale
