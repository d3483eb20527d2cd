"""Where elements come from, of values that only move those of another."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, named_ops
from stoic.network.program import as_reshape

__all__ = ["Layout", "Rows", "moved_layout"]

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Layout:
    """A value, or several, whose elements are those of another one.

    Args:
        root: Name of that one; inputs are its dimension 0.
        places: For each element its place in the flat root.
        size: Elements of an input in the root.
    """

    root: str
    places: Tensor
    size: int

    @property
    def owners(self) -> Tensor:
        """The input that each element belongs to."""
        return self.places.div(self.size, rounding_mode="floor")

    def rows(self, count: int) -> Tensor | None:
        """Return places in a row, if inputs are dimension 0 and all alike."""
        places = self.places if self.places.dim() > 1 else self.places[..., None]
        if len(places) != count:
            return None
        starts = torch.arange(count).reshape(-1, *[1] * (places.dim() - 1)) * self.size
        within = places - starts
        inside = bool(((within >= 0) & (within < self.size)).all())
        return within[0] if inside and bool((within == within[:1]).all()) else None


@dataclass(frozen=True, eq=False)
class Rows:
    """An operator that takes elements of every input from the same places.

    Args:
        places: In an input's flat elements.
    """

    places: Tensor
    __name__ = "rows"

    def __call__(self, value: Tensor) -> Tensor:
        """Return the elements of each input."""
        found = value.flatten(1).index_select(1, self.places.flatten())
        return found.reshape(len(value), *self.places.shape)


Found: TypeAlias = Layout | list[Layout]


def moved_layout(call: Call, layout: Found) -> Found | None:
    """Return where elements of a step's result come from, if it only moves them.

    Args:
        call: A step that reads one deviating value.
        layout: Of what it reads.
    """
    op = call.step.op
    if op is operator.getitem:
        return layout[call.step.args[1]] if isinstance(layout, list) else None
    if isinstance(layout, list) or op not in _MOVES or not call.only(0):
        return None
    # Float64 holds places exactly, and has kernels where integers have none.
    places = layout.places.double()
    result = _MOVES[op](call, places)
    if isinstance(result, Tensor):
        return Layout(layout.root, result.long(), layout.size)
    return [Layout(layout.root, part.long(), layout.size) for part in result]


def _again(call: Call, value: Tensor) -> Any:
    name = call.reads[0]
    return call.step(lambda other: value if other == name else call.golden(other))


def _same(call: Call, value: Tensor) -> Tensor:
    return value


_Run: TypeAlias = Callable[[Call, Tensor], Any]


_MOVES: dict[Any, _Run] = {
    as_reshape: _again,
    **dict.fromkeys(
        named_ops(
            "reshape permute unsqueeze expand repeat roll flip pixel_shuffle "
            "pixel_unshuffle channel_shuffle chunk squeeze t"
        ),
        _again,
    ),
    **dict.fromkeys(named_ops("clone alias detach contiguous _to_copy"), _same),
    **dict.fromkeys(named_ops("transpose select unflatten unbind", "int"), _again),
    **dict.fromkeys(named_ops("slice split index", "Tensor"), _again),
    _ATEN.split_with_sizes.default: _again,
    _ATEN.flatten.using_ints: _again,
    _ATEN.squeeze.dim: _again,
    _ATEN.squeeze.dims: _again,
}
