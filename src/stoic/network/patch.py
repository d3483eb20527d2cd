"""Patches: a value that differs from the golden one in a slice only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.words import as_words

__all__ = [
    "Changed",
    "Changes",
    "Lookup",
    "Patch",
    "agrees",
    "laid_as",
    "overlaid",
    "same_words",
    "shares_words",
    "whole",
    "whole_over",
    "widened",
]

Lookup: TypeAlias = Callable[[str], Any]


@dataclass(frozen=True)
class Patch:
    """A golden value with one slice replaced.

    Args:
        dim: Dimension that the slice cuts, counted from the front.
        start: First index of the slice.
        piece: What stands there; as large as the value along every other dimension.
    """

    dim: int
    start: int
    piece: Tensor

    @property
    def length(self) -> int:
        """How many indices the slice spans."""
        return int(self.piece.shape[self.dim])

    def of(self, tensor: Tensor) -> Tensor:
        """Return the same slice of another tensor of the value's shape."""
        return tensor.narrow(self.dim, self.start, self.length)

    def with_piece(self, piece: Tensor) -> Patch:
        """Return a patch of the same slice that holds another piece."""
        return Patch(self.dim, self.start, piece)


Changed: TypeAlias = Tensor | Patch
# Several results of one step, or a pending one, may stand beside tensors and patches.
Changes: TypeAlias = Mapping[str, Any]


def whole(changed: Any, golden: Any) -> Any:
    """Return the changed value as one tensor, laid out as the golden one is."""
    if not isinstance(changed, Patch):
        return changed
    full = laid_as(golden, golden)
    if not all(_alike_along(dim, changed) for dim in _shared(full)):
        full = full.contiguous()
    changed.of(_apart(full, full)).copy_(_apart(changed.piece, full))
    # Products choose their kernel by it, even where no gradient is computed.
    return full.requires_grad_(golden.requires_grad)


def laid_as(values: Tensor, like: Tensor) -> Tensor:
    """Return a copy of values in the strides of a tensor of their shape.

    Kernels choose their instructions by strides, so gaps between words, and words that
    several indices share, are kept too. Views that overlap otherwise carry no patch.
    """
    apart = _apart(values, like)
    # Products choose their kernel by whether a tensor is one of inference mode, too.
    with torch.inference_mode(like.is_inference()), torch.no_grad():
        copy = torch.empty_strided(
            apart.shape, like.stride(), dtype=values.dtype, device=values.device
        )
        copy.copy_(apart)
    # A view is another thing to them than a tensor of its own.
    return copy if copy.shape == like.shape else copy.expand(like.shape)


def _apart(values: Tensor, like: Tensor) -> Tensor:
    """Return values once for all indices that share a word in an expanded tensor."""
    for dim in _shared(like):
        values = values.narrow(dim, 0, 1)
    return values


def _alike_along(dim: int, patch: Patch) -> bool:
    """Say whether a patch fits a value whose indices of a dimension share words."""
    one = patch.piece.narrow(dim, 0, 1)
    return dim != patch.dim and same_words(patch.piece, one.expand_as(patch.piece))


def _shared(tensor: Tensor) -> list[int]:
    sizes = enumerate(tensor.shape)
    return [dim for dim, size in sizes if size > 1 and tensor.stride(dim) == 0]


def shares_words(value: Tensor, others: Iterable[Any]) -> bool:
    """Say whether a change of one word of a value may show in another place, too."""
    own = value.untyped_storage().data_ptr()
    tensors = (t for t in pytree.tree_leaves(list(others)) if isinstance(t, Tensor))
    return bool(_shared(value)) or any(
        tensor.untyped_storage().data_ptr() == own for tensor in tensors
    )


def widened(patch: Patch, width: int, golden: Tensor) -> Patch:
    """Return the same change as a slice between multiples of a width."""
    start = patch.start // width * width
    end = -(-(patch.start + patch.length) // width) * width
    end = min(end, golden.shape[patch.dim])
    piece = golden.narrow(patch.dim, start, end - start).clone()
    piece.narrow(patch.dim, patch.start - start, patch.length).copy_(patch.piece)
    return Patch(patch.dim, start, piece)


def same_words(a: Any, b: Any) -> bool:
    """Say whether two values are equal to the bit: NaN equals NaN, -0.0 is not 0.0."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return bool(a == b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(as_words(a), as_words(b))


def agrees(result: Any, full: Any) -> bool:
    """Say whether a result, or the slice it is, has the words of the full value."""
    if isinstance(result, Patch):
        return same_words(result.piece, result.of(full))
    if isinstance(result, tuple | list):
        return all(map(same_words, result, full))
    return same_words(result, full)


def whole_over(name: str, changed: Any, golden: Lookup) -> Any:
    """Return a changed value as one tensor; look the golden one up only if needed."""
    return whole(changed, golden(name)) if isinstance(changed, Patch) else changed


def overlaid(changes: Changes, golden: Lookup) -> Lookup:
    """Look values up in the golden run, with the changed ones in their place."""
    full = {name: whole_over(name, change, golden) for name, change in changes.items()}
    return lambda name: full[name] if name in full else golden(name)
