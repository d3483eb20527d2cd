"""The least width that provably keeps a decision, by any certified bound on scores.

The weights' errors are known to the word, so a proof holds for the network with these
very weights, in the arithmetic that the bound speaks of. Rounded *values* are not
covered: a value that leaves the range seen without rounding is cut off, by how much
no step bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from stoic.sensitivity.golden import Scored
from stoic.sensitivity.quantised import Family, NarrowFormat

__all__ = ["CertifiedShift", "proved_shares", "weight_errors"]


class CertifiedShift(Protocol):
    """How far scores may move at most: whoever can prove it gives such a function."""

    def __call__(self, errors: Mapping[str, float]) -> Tensor:
        """Return an upper bound for each input on how far any two scores may part.

        Args:
            errors: By name of the stored value, how far each of its words may be from
                where it was, at most.
        """
        ...


def weight_errors(scored: Scored, format: NarrowFormat) -> dict[str, float]:
    """Return the largest error of any word, by the name of the stored weight."""
    found = {}
    for layer in scored.layers:
        weight = scored.program.stored[layer.weight].detach()
        rounded = format.of_weights(weight)(weight)
        # In float64 the difference of two narrower numbers loses nothing that matters.
        error = (rounded.double() - weight.double()).abs().max()
        found[layer.weight] = float(torch.nextafter(error, error + 1))
    return found


def proved_shares(
    scored: Scored,
    family: Family,
    widths: Sequence[int],
    shift: CertifiedShift,
    keep: float = 1.0,
) -> dict[int, float]:
    """Return the share of the decisions that is proved to be kept, by width.

    A bit more halves every error, and what may move with it: so the range of widths is
    halved in turn, and only those are tried that decide where enough is proved.

    Args:
        scored: Network and inputs.
        family: Of the formats.
        widths: To try, in rising order.
        shift: The bound.
        keep: Share that is enough.
    """
    best = scored.scores.double().topk(2, dim=1).values
    leads = best[:, 0] - best[:, 1]
    found: dict[int, float] = {}

    low, high = 0, len(widths) - 1
    while low <= high:
        middle = (low + high) // 2
        moved = shift(weight_errors(scored, family(widths[middle])))
        # Not less than the lead may be as much as it, or NaN.
        found[widths[middle]] = float((moved.double() < leads).double().mean())
        if found[widths[middle]] >= keep:
            high = middle - 1
        else:
            low = middle + 1
    return dict(sorted(found.items()))
