"""Rounding up: of single numbers, and of lengths."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["OWN", "ROOM", "UP", "beside", "length", "single", "two_norm"]

OWN = 2.0**-50
"""What one operation of float64 may be off by, relative: eight times its rounding."""

UP = 1 + 1e-9
"""Rounds a few operations of float64 up."""

ROOM = 1 + 2.0**-20
"""Rounds a few operations of float32 up: each is off by a sixteenth of that."""

# Squares of what is smaller are not to be trusted, in float64 and in float32.
_SMALL, _SMALL_SINGLE = 1e-140, 1e-12
# More squares than these are not added up in float32.
_MOST = 4096


def beside(numbers: Tensor, value: Tensor) -> Tensor:
    """Return numbers, [inputs], in the dimensions of a value."""
    return numbers.reshape(-1, *[1] * (value.dim() - 1))


def single(sizes: Tensor) -> Tensor:
    """Return float64 numbers that are not negative in float32, rounded up."""
    found: Tensor = (sizes * (1 + 2**-22)).float()
    return found


def two_norm(most: Tensor) -> Tensor:
    """Return the 2-norm of each input's elements, rounded up."""
    flat = most.flatten(1)
    norm: Tensor = torch.linalg.vector_norm(flat, dim=1) * UP
    norm = norm.nan_to_num(torch.inf, torch.inf)
    if not bool((norm < _SMALL).any()):
        return norm
    largest = flat.amax(1).clamp(min=1e-300)
    scaled = torch.linalg.vector_norm(flat / largest[:, None], dim=1) * largest * UP
    return torch.where(norm < _SMALL, scaled, norm)


def length(most: Tensor) -> Tensor:
    """Return the same of float32 numbers, [perturbations, *value], in float64.

    Squares of a few rows are added up in float32, and those of all in float64.
    """
    rows = _rows(most)
    share = (rows.shape[-1] + 8) * 2.0**-24
    parts = torch.linalg.vector_norm(rows, dim=-1).double()
    norm: Tensor = torch.linalg.vector_norm(parts.flatten(2), dim=2)
    norm = norm * ((1 + share) * UP)
    trusted = (norm >= _SMALL_SINGLE) & norm.isfinite()
    if not bool(trusted.all()):
        for at in (~trusted.all(1)).nonzero().flatten().tolist():
            # Most are so small because they are 0.
            if bool(most[at].any()):
                norm[at] = two_norm(most[at].double().reshape(norm.shape[1], -1))
    return norm


def _rows(most: Tensor) -> Tensor:
    """Return them as [perturbations, inputs, rows, elements], of few elements each."""
    if most.dim() < 4:
        flat = most.flatten(2) if most.dim() > 2 else most[..., None]
        return flat[:, :, None] if flat.shape[2] <= _MOST else flat[..., None]
    rows = most.flatten(3)
    return rows if rows.shape[3] <= _MOST else most.flatten(2, -2)
