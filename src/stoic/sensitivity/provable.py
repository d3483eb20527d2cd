"""The least width that provably keeps a decision, by any certified bound on scores.

The weights' errors are known to the word, so a proof holds for the network with these
very weights, in the arithmetic that the bound speaks of. Rounded *values* are not
covered: one that leaves the range seen without rounding is cut off, and that bends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from stoic.sensitivity.golden import Scored
from stoic.sensitivity.quantised import Family, NarrowFormat

__all__ = ["Proof", "proved_shares", "weight_errors"]


class Proof(Protocol):
    """Which decisions cannot change: whoever can prove it gives such a function."""

    def __call__(self, errors: Mapping[str, Tensor]) -> Tensor:
        """Return for each input whether its best class provably stays the best.

        Args:
            errors: By name of the stored value, how far each of its words may be from
                where it was, at most; float64.
        """
        ...


def weight_errors(scored: Scored, format: NarrowFormat) -> dict[str, Tensor]:
    """Return the error of every word in a format, by the name of the stored weight."""
    found = {}
    for layer in scored.layers:
        weight = scored.program.stored[layer.weight].detach()
        rounded = format.of_weights(weight)(weight)
        error = (rounded.double() - weight.double()).abs()
        # Outwards: a difference of two float32 numbers may need more than 53 bits.
        found[layer.weight] = error * (1 + 2**-50)
    return found


def proved_shares(
    scored: Scored,
    family: Family,
    widths: Sequence[int],
    proof: Proof,
    keep: float = 1.0,
) -> dict[int, float]:
    """Return the share of the decisions that is proved to be kept, by width.

    A bit more halves every error, and what may move with it: so the range of widths is
    halved in turn, and only those are tried that decide where enough is proved.

    Args:
        scored: Network and inputs.
        family: Of the formats.
        widths: To try, in rising order.
        proof: The bound.
        keep: Share that is enough.
    """
    found: dict[int, float] = {}
    low, high = 0, len(widths) - 1
    while low <= high:
        middle = (low + high) // 2
        kept = proof(weight_errors(scored, family(widths[middle])))
        found[widths[middle]] = float(kept.double().mean())
        if found[widths[middle]] >= keep:
            high = middle - 1
        else:
            low = middle + 1
    return dict(sorted(found.items()))
