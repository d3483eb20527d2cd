"""Strata within strata: coarse ones to begin with, split where that pays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from stoic.plans.contract import Stratum

__all__ = ["nested"]


def nested(
    leaves: Sequence[Stratum], keys: Sequence[Sequence[Hashable]]
) -> tuple[Stratum, ...]:
    """Return strata whose parts share the first key, the parts' parts the second, ...

    Args:
        leaves: The smallest strata.
        keys: Of each leaf, as many as there shall be levels above the leaves; leaves
            with equal keys must stand together, so that their order stays.
    """
    if not keys or not keys[0]:
        return tuple(leaves)
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key[0], []).append(number)
    found = []
    for name, members in groups.items():
        if members[-1] - members[0] != len(members) - 1:
            raise ValueError(
                f"strata of one key must stand together, got {name} apart; sort them"
            )
        parts = nested([leaves[i] for i in members], [keys[i][1:] for i in members])
        found.append(_joined(str(name), parts))
    return tuple(found)


def _joined(name: str, parts: tuple[Stratum, ...]) -> Stratum:
    if len(parts) == 1:
        return parts[0]
    size = sum(part.size for part in parts)
    hint = sum(part.size * part.hint for part in parts) / size
    return Stratum(f"{name}, {len(parts)} parts", size, parts, hint)
