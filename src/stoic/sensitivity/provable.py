"""The least width that provably keeps a decision, by any certified bound on scores.

Errors of weights are known to the word, so a proof holds for the network with these
very weights, in the arithmetic that the bound speaks of. Values that layers read are
rounded to numbers that lie between ends, wherever they come to lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from stoic.faults.formats import format_of
from stoic.sensitivity.golden import Scored
from stoic.sensitivity.quantised import Family, Grid, NarrowFormat

__all__ = ["Proof", "own_widths", "proved_shares", "value_grids", "weight_errors"]


class Proof(Protocol):
    """Which decisions cannot change: whoever can prove it gives such a function."""

    def __call__(
        self, errors: Mapping[str, Tensor], grids: Mapping[str, Grid]
    ) -> Tensor:
        """Return for each input whether its best class provably stays the best.

        Args:
            errors: By name of the stored value, how far each of its words may be from
                where it was, at most; float64.
            grids: By name of the layer, the numbers that what it reads is rounded to.
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


def value_grids(scored: Scored, format: NarrowFormat) -> dict[str, Grid]:
    """Return the numbers of a format for what each layer reads, by the layer's name."""
    return {
        layer.name: format.of_values(*scored.ranges[layer.name])
        for layer in scored.layers
    }


def own_widths(scored: Scored, format: str, widths: Sequence[int]) -> list[int]:
    """Return the widths of a family up to that of the network's own fraction.

    Args:
        scored: The network.
        format: Name of the family.
        widths: That it is commonly tried at; a single one is tried alone.
    """
    if len(widths) == 1:
        return list(widths)
    own = format_of(scored.program.stored[scored.layers[0].weight].dtype)
    fraction = own.mantissa + 1 if own else 24
    # A floating format has a sign and an exponent beside its fraction.
    beside = widths[0] if format.startswith("e") else 0
    return list(range(widths[0], min(beside + fraction - 1, beside + 23) + 1))


def proved_shares(
    scored: Scored,
    family: Family,
    widths: Sequence[int],
    proof: Proof,
    keep: float = 1.0,
    parts: str = "weights",
) -> dict[int, float]:
    """Return the share of the decisions that is proved to be kept, by width.

    A bit more halves every error, and what may move with it: where the widest suffices
    the range of widths is halved in turn, and only those are tried that decide where
    enough is proved.

    Args:
        scored: Network and inputs.
        family: Of the formats.
        widths: To try, in rising order.
        proof: The bound.
        keep: Share that is enough.
        parts: What is rounded: ``weights``, ``values`` that layers read, or ``both``.
    """
    found: dict[int, float] = {}
    low, high, turn = 0, len(widths) - 1, len(widths) - 1
    while low <= high:
        format = family(widths[turn])
        errors = weight_errors(scored, format) if parts != "values" else {}
        grids = value_grids(scored, format) if parts != "weights" else {}
        share = float(proof(errors, grids).double().mean())
        found[widths[turn]] = share
        low, high = (low, turn - 1) if share >= keep else (turn + 1, high)
        turn = (low + high) // 2
    return dict(sorted(found.items()))
