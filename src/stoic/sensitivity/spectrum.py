"""Largest singular values of many matrices at once, from above."""

from __future__ import annotations

import torch
from torch import Tensor

from stoic.sensitivity.bracket import outward, rounding

__all__ = ["largest_singular"]

# Narrower matrices are decomposed; of wider ones a guess is proved.
_DECOMPOSED = 48
# Steps of a power iteration, and its vectors, for many matrices and for few.
_MANY, _FEW = (30, 2), (80, 6)
# Steps after which vectors are made orthogonal again.
_APART = 5
# Of many matrices the largest few are looked at first.
_FIRST = 12
_MARGINS = (2e-4, 1e-3, 3e-3, 8e-3, 0.02, 0.05, 0.2, 1.0)
_CHUNK = 1 << 22


def largest_singular(matrices: Tensor, known: float = 0.0) -> float:
    """Return a number that no singular value of any of the matrices exceeds.

    Args:
        matrices: Of shape [..., rows, columns]; float64 or complex128.
        known: No smaller number is asked for.
    """
    many = matrices.flatten(0, -3)
    if many.shape[-2] > many.shape[-1]:
        many = many.mT
    each = max(1, _CHUNK // max(1, many[0].numel()))
    found = known
    for part in many.split(each):
        found = max(found, _largest(part, found))
    return found


def _largest(many: Tensor, known: float) -> float:
    """Return a bound of some matrices with no more rows than columns."""
    rows, columns = many.shape[-2:]
    scale = float(many.abs().max())
    if scale == 0:
        return 0.0
    if rows == 1:
        norms = torch.linalg.vector_norm(many / scale, dim=(-2, -1))
        return outward(scale * float(norms.max()), rounding(columns))
    gram = _gram(many / scale)
    off = rounding(columns + rows) * float(_trace(gram).max())
    if rows <= _DECOMPOSED and len(gram) <= _FIRST:
        square = float(torch.linalg.eigvalsh(gram).max())
    else:
        square = _proved(gram, (known / scale) ** 2)
    # Both ways are off by roundings of the trace at most.
    return outward(scale * (square + off) ** 0.5, 1e-15)


def _gram(many: Tensor) -> Tensor:
    gram = many @ many.mH
    return (gram + gram.mH) / 2


def _trace(gram: Tensor) -> Tensor:
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1).real


def _proved(gram: Tensor, known: float) -> float:
    """Return a bound of eigenvalues: where a Cholesky decomposition succeeds.

    It succeeds for ``bound * I - gram`` only if that has no negative eigenvalue, up to
    roundings of its trace (Rump 2006).
    """
    # No eigenvalue is above the norm of all numbers.
    sizes = torch.linalg.vector_norm(gram, dim=(-2, -1)) * (1 + 1e-9)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    # Of the shifted matrix, too, the trace is what roundings are relative to.
    off = rounding(gram.shape[-1]) * gram.shape[-1]
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
    return _guess(gram)


def _guess(gram: Tensor) -> float:
    """Return about the largest eigenvalue of all."""
    chance = torch.Generator().manual_seed(0)
    steps, beside = _FEW if len(gram) <= 4 else _MANY
    shape = (len(gram), gram.shape[-1], beside)
    start = torch.randn(shape, generator=chance, dtype=torch.float64)
    vectors = start.to(gram.dtype)
    for step in range(steps):
        vectors = gram @ vectors
        if step % _APART == _APART - 1:
            vectors, _ = torch.linalg.qr(vectors)
    small = vectors.mH @ gram @ vectors
    return float(torch.linalg.eigvalsh(small).max())
