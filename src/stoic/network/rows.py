"""The halves test: which dimension of each value holds the inputs.

The program is run on x, on x' (its first row repeated) and on both joined. A value is
the `same` in all runs, has `rows` along the one dimension in which the joined run holds
the two others, or is `odd`: its rows cannot be told apart and it must be recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from stoic.network.program import Program, Values

__all__ = ["ODD", "SAME", "RowDims", "halves_test"]

SAME: Final = -1
ODD: Final = -2
RowDims = dict[str, int]


def halves_test(program: Program, leaves: Sequence[Any]) -> RowDims | None:
    """Return the row dimension of every value, ``SAME`` or ``ODD``.

    Args:
        program: With a free batch size.
        leaves: Inputs of at least two rows along dimension 0 of every tensor.

    Returns:
        Nothing where inputs of another size make the program fail: then its values
        cannot be stacked at all.
    """
    found: RowDims | None = None
    # Each row must be seen to be missed: the largest one alone may decide a maximum.
    for pair in ([0, 0], [1, 1], [1, 0]):
        dims = _row_dims(program, leaves, pair)
        if dims is None:
            return None
        found = {
            name: dim if found is None or found[name] == dim else ODD
            for name, dim in dims.items()
        }
    return found


def _row_dims(
    program: Program, leaves: Sequence[Any], pair: list[int]
) -> RowDims | None:
    """Compare the first two rows, a pair made of them, and all four together."""
    first = [_rows(leaf, slice(0, 2)) for leaf in leaves]
    other = [_rows(leaf, pair) for leaf in leaves]
    joined = [_joined(a, b) for a, b in zip(first, other, strict=True)]
    try:
        one, two, both = (program.run(run) for run in (first, other, joined))
    except (RuntimeError, IndexError, ValueError):
        return None
    return {name: _row_dim(name, one, two, both) for name in both}


def _rows(leaf: Any, which: slice | list[int]) -> Any:
    return leaf[which] if isinstance(leaf, Tensor) and leaf.dim() else leaf


def _joined(a: Any, b: Any) -> Any:
    return torch.cat([a, b]) if isinstance(a, Tensor) and a.dim() else a


def _row_dim(name: str, one: Values, two: Values, both: Values) -> int:
    a, b, c = one[name], two[name], both[name]
    if not isinstance(c, Tensor):
        plain = isinstance(c, int | float | bool | torch.dtype | torch.device)
        return SAME if plain and a == b == c else ODD
    if a.shape == b.shape == c.shape:
        return SAME if _alike(a, b) and _alike(a, c) else ODD
    if a.dim() != c.dim() or a.shape != b.shape:
        return ODD
    grown = [d for d in range(c.dim()) if c.shape[d] != a.shape[d]]
    if len(grown) != 1 or c.shape[grown[0]] != 2 * a.shape[grown[0]]:
        return ODD
    halves = c.chunk(2, grown[0])
    paired = a.shape[grown[0]] == 2
    return grown[0] if paired and _alike(halves[0], a) and _alike(halves[1], b) else ODD


def _alike(a: Tensor, b: Tensor) -> bool:
    """Compare up to the last bits, which kernels for other batch sizes may change."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = a.abs().nan_to_num(0, 0, 0).max().item() if a.numel() else 0.0
    eps = 64 * torch.finfo(a.dtype).eps
    return torch.allclose(a, b, rtol=eps, atol=eps * scale, equal_nan=True)
