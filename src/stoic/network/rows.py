"""The halves test: which dimension of each value holds the inputs.

The program is run on x, on x' (made of rows of x) and on both joined. A value is the
`same` in all runs, has its rows along the one dimension in which the joined run holds
the two others, or is `odd`: its rows cannot be told apart and it must be recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from stoic.network.patch import same_words
from stoic.network.program import Program

__all__ = ["ODD", "SAME", "RowDim", "RowDims", "halves_test"]


@dataclass(frozen=True)
class RowDim:
    """Where the inputs lie in a value.

    Args:
        dim: The dimension.
        times: How often all inputs follow one another in it, as where tokens come
            before them.
        each: How many entries side by side each input then has, as where the heads of
            an attention layer come after them.
    """

    dim: int
    times: int = 1
    each: int = 1

    @property
    def alone(self) -> bool:
        """Whether nothing else lies in the dimension."""
        return self.times == self.each == 1

    def take(self, value: Tensor, inputs: Tensor) -> Tensor:
        """Return the rows of some inputs, in the memory layout that the value has."""
        inputs = inputs.to(value.device)
        if not self.alone:
            picked = self.apart(value).index_select(self.dim + 1, inputs)
            return picked.flatten(self.dim, self.dim + 2)
        picked = value.index_select(self.dim, inputs)
        if value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last):
            return picked.contiguous(memory_format=torch.channels_last)
        return picked

    def put(self, value: Tensor, inputs: Tensor, rows: Tensor) -> None:
        """Overwrite the rows of some inputs."""
        inputs = inputs.to(value.device)
        self.apart(value).index_copy_(self.dim + 1, inputs, self.apart(rows))

    def all_of(self, values: Sequence[Tensor]) -> Tensor:
        """Return the values of several batches as that of one."""
        if self.alone:
            return torch.cat(list(values), self.dim)
        parts = [self.apart(value) for value in values]
        return torch.cat(parts, self.dim + 1).flatten(self.dim, self.dim + 2)

    def joined(self, versions: Tensor) -> Tensor:
        """Return many versions of a value, along dimension 0, as one larger batch."""
        place = self.dim + 1
        apart: Tensor = versions.unflatten(place, (self.times, -1, self.each))
        return apart.movedim(0, place).flatten(self.dim, place + 2)

    def apart(self, value: Tensor) -> Tensor:
        """Return a view with the inputs alone in the dimension after this one."""
        view: Tensor = value.unflatten(self.dim, (self.times, -1, self.each))
        return view


SAME: Final = RowDim(-1)
ODD: Final = RowDim(-2)
RowDims = dict[str, RowDim]


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
    swap = torch.tensor(pair)
    return {n: _row_dim(one[n], two[n], both[n], swap) for n in both}


def _rows(leaf: Any, which: slice | list[int]) -> Any:
    return leaf[which] if isinstance(leaf, Tensor) and leaf.dim() else leaf


def _joined(a: Any, b: Any) -> Any:
    return torch.cat([a, b]) if isinstance(a, Tensor) and a.dim() else a


def _row_dim(a: Any, b: Any, c: Any, pair: Tensor) -> RowDim:
    """Compare a value of the first two rows, of a pair of them, and of all four."""
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
    (dim,) = grown
    ways = [way for way in _ways(dim, a.shape[dim]) if _holds(way, a, b, c, pair)]
    # Words that repeat fit several ways: on other inputs one of them would be wrong.
    return ways[0] if len(ways) == 1 else ODD


def _ways(dim: int, size: int) -> list[RowDim]:
    """Return all ways in which two inputs may lie in a dimension."""
    if size % 2:
        return []
    others = size // 2
    times = (n for n in range(1, others + 1) if others % n == 0)
    return [RowDim(dim, n, others // n) for n in times]


def _holds(way: RowDim, a: Tensor, b: Tensor, c: Tensor, pair: Tensor) -> bool:
    """Say whether the second and the joined run have the rows that they should."""
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    return (
        _alike(way.take(a, pair), b)
        and _alike(way.take(c, first), a)
        and _alike(way.take(c, second), b)
    )


def _alike(a: Tensor, b: Tensor) -> bool:
    """Compare up to the last bits, which kernels for other batch sizes may change."""
    if same_words(a, b):
        return True
    if not a.is_floating_point() or a.itemsize == 1:
        return False
    scale = a.abs().nan_to_num(0, 0, 0).max().item() if a.numel() else 0.0
    eps = 64 * torch.finfo(a.dtype).eps
    return torch.allclose(a, b, rtol=eps, atol=eps * scale, equal_nan=True)
