"""Drifts: how much of its leads an input loses to a changed word.

A drift of 1 means that a rival is overtaken, if the rest of the network were a straight
line. What is near the word is no straight line: the channel that it moves is run again
with it, as far as channels are kept apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.channels import Reached
from stoic.sensitivity.rivals import Rivals

__all__ = ["Asked", "drifts"]

# Numbers of channels that are held at once.
_AT_ONCE = 3_000_000
# Changes by such a part of a word and less are on a straight line.
_SMALL = 2.0**-5


@dataclass(frozen=True)
class Asked:
    """Words of a stored tensor and what they may become.

    Args:
        value: Name of the stored value.
        places: Flat places of W words.
        old: Their numbers, ``[W]``, float64.
        new: What each may become, ``[W, B]``, float64.
        reached: Their way, where it is known.
    """

    value: str
    places: Tensor
    old: Tensor
    new: Tensor
    reached: Reached | None

    @property
    def change(self) -> Tensor:
        """By how much words move, ``[W, B]``."""
        return self.new - self.old[:, None]


@torch.no_grad()
def drifts(asked: Asked, rivals: Rivals) -> Tensor:
    """Return the drifts of one input, ``[W, B, rivals]``, float64.

    There is but one, which decides, where a word moves one score alone. Drifts are
    infinite where a channel is not finite any more. A word whose way is not known
    drifts by its slope alone.
    """
    if asked.reached is None:
        return _straight(asked, rivals.words[asked.value])
    near, far = _columns(asked)
    ran = _run(asked.reached, rivals, asked.places, asked.new[:, near])
    found = ran.new_zeros(*asked.new.shape, ran.shape[-1])
    found[:, near] = ran
    if far:
        found[:, far] = _scaled(asked.change, near[0], far, found[:, near[0]])
    return found


def _straight(asked: Asked, slopes: Tensor) -> Tensor:
    found = asked.change[:, :, None] * slopes.double().T[:, None]
    return found.masked_fill(~asked.new.isfinite()[:, :, None], math.inf)


def _columns(asked: Asked) -> tuple[list[int], list[int]]:
    """Return the changes that are run, and those on a line with the first of them."""
    sizes = asked.change.abs()
    small = (sizes <= _SMALL * asked.old.abs()[:, None]).all(0)
    columns = small.nonzero().flatten().tolist()
    if len(columns) < 2:
        return list(range(asked.new.shape[1])), []
    largest = max(columns, key=lambda b: float(sizes[:, b].sum()))
    others = (~small).nonzero().flatten().tolist()
    return [largest, *others], [b for b in columns if b != largest]


def _scaled(change: Tensor, by: int, far: list[int], found: Tensor) -> Tensor:
    share = (change[:, far] / change[:, by : by + 1]).nan_to_num(0.0, 0.0, 0.0)
    return share[:, :, None] * found[:, None]


def _run(reached: Reached, rivals: Rivals, places: Tensor, new: Tensor) -> Tensor:
    if reached.value == rivals.scores:
        return _alone(reached, rivals, places, new)
    each = max(_size(reached, rivals), 1) * new.shape[1]
    some = max(1, _AT_ONCE // each)
    return torch.cat([*_parts(reached, rivals, places, new, some)])


def _alone(reached: Reached, rivals: Rivals, places: Tensor, new: Tensor) -> Tensor:
    """Return the drift of a score that no other score follows: exactly."""
    after = reached.channels(rivals.values, places, new)
    golden = reached.golden(rivals.values[reached.value], places)
    loss = (after - golden[:, None]).flatten(2).squeeze(2).double()
    found = rivals.alone(reached.channel(places), loss)
    found = found.masked_fill(~loss.isfinite(), math.inf)
    return found[:, :, None]


def _size(reached: Reached, rivals: Rivals) -> int:
    """Return the numbers of one channel where the way begins."""
    value = rivals.values[reached.first]
    return int(value.numel() // value.shape[reached.dim])


def _parts(
    reached: Reached, rivals: Rivals, places: Tensor, new: Tensor, some: int
) -> Iterator[Tensor]:
    golden, towards = (
        rivals.values[reached.value],
        rivals.towards[reached.value],
    )
    for start in range(0, len(places), some):
        own, words = places[start : start + some], new[start : start + some]
        after = reached.channels(rivals.values, own, words)
        moved = (after - reached.golden(golden, own)[:, None]).flatten(2)
        slopes = torch.stack([reached.golden(each, own) for each in towards], 1)
        found = moved.double() @ slopes.double().flatten(2).mT
        yield found.masked_fill(~moved.isfinite().all(2)[:, :, None], math.inf)
