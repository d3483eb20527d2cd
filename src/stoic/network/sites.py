"""Sites: the stored tensors and computed values that a fault can hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Kind", "LeftOut", "Site"]

Kind = Literal["parameter", "buffer", "activation", "input"]


@dataclass(frozen=True)
class Site:
    """A tensor with storage of its own, by a name that a user recognises.

    Args:
        name: Dotted, such as ``layer4.1.conv2.weight`` or ``layer4.1.conv2:out``.
        kind: What it is.
        component: The module it belongs to.
        dtype: Its format.
        shape: Of the tensor; of one row where the value has one row per input.
        rows: Dimension along which the inputs lie, or nothing where all inputs
            share the value: then a fault in it hits every one of them.
        order: Depth: position of the first step that reads or makes it.
        value: Its name in the program; for the slow path, the site's own name.
        aliases: Further names of the same storage.
    """

    name: str
    kind: Kind
    component: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    rows: int | None
    order: int
    value: str
    aliases: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """Words of the tensor; of one row where the value has rows."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def per_input(self) -> bool:
        """Whether a fault can hit the value of one input alone."""
        return self.rows is not None


@dataclass(frozen=True)
class LeftOut:
    """A tensor of the network that is no site, and why."""

    name: str
    reason: str
