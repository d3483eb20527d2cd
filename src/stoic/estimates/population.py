"""How many faults of the space belong to a group, by stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stoic.plans import Stratified, read_plan
from stoic.records import Manifest, SiteRecord, bit_role

__all__ = ["By", "Cell", "Key", "cells", "coarse", "group_sizes", "stratified"]

By: TypeAlias = Literal[
    "network", "stratum", "kind", "component", "site", "channel", "bit", "role"
]
Key: TypeAlias = tuple[str | int, ...]

# Fault models of which every fault touches one bit of the word.
_SINGLE = {"flip", "stuck-at"}
_EVERYWHERE: dict[int, list[int] | None] = {0: None}


@dataclass(frozen=True)
class Cell:
    """The faults of one site, or of one bit of its words.

    Args:
        site: Where.
        bit: Which; -1 for all.
        stratum: Index of the stratum that holds them; 0 where nobody asks.
        faults: How many.
    """

    site: SiteRecord
    bit: int
    stratum: int
    faults: int


def stratified(manifest: Manifest) -> bool:
    """Whether the strata of a run were drawn from apart."""
    plan = read_plan(manifest.plan)
    return isinstance(plan, Stratified) and len(manifest.strata) > 1


def coarse(by: Sequence[By]) -> bool:
    """Whether a grouping does not ask where in the network faults are."""
    return set(by) <= {"network", "stratum"}


def group_sizes(manifest: Manifest, by: Sequence[By]) -> dict[Key, Counter[int]]:
    """Return the number of faults of every group, by index of the stratum.

    Channels are left out of the key: those of a site are of one size.
    """
    sizes: dict[Key, Counter[int]] = {}
    if coarse(by):
        for number, record in enumerate(manifest.strata):
            names = {"network": manifest.network.name, "stratum": record.name}
            key: Key = tuple(names[name] for name in by)
            sizes.setdefault(key, Counter())[number] += record.size
        return sizes
    by_bit = "bit" in by or "role" in by
    for cell in cells(manifest, by_bit=by_bit, by_stratum="stratum" in by):
        channels = cell.site.channels or 0 if "channel" in by else 1
        if channels:
            key = tuple(_name(manifest, cell, n) for n in by if n != "channel")
            faults = cell.faults // channels
            sizes.setdefault(key, Counter())[cell.stratum] += faults
    return sizes


def cells(manifest: Manifest, *, by_bit: bool, by_stratum: bool) -> Iterator[Cell]:
    """Yield the cells of the fault space.

    Raises:
        ValueError: Bits are asked for, and the faults have no single bit; or strata
            are, and the manifest does not say which faults they hold.
    """
    by_stratum = by_stratum or stratified(manifest)
    for site in manifest.space.sites:
        homes = _homes(manifest, site) if by_stratum else _EVERYWHERE
        bits = _bits(manifest, site) if by_bit or len(homes) > 1 else [-1]
        for bit in bits:
            yield Cell(site, bit, _home(homes, site, bit), site.faults // len(bits))


def _bits(manifest: Manifest, site: SiteRecord) -> list[int]:
    bits = site.positions
    if bits is None and manifest.space.fault_model.get("name") in _SINGLE:
        chosen = manifest.space.bits
        bits = [b for b in range(site.bits) if chosen is None or b in chosen]
    if not bits or site.faults % len(bits):
        raise ValueError(
            "tables by bit must have faults of one bit each, "
            f"got {manifest.space.fault_model} in {site.name}; ask for sites"
        )
    return bits


def _homes(manifest: Manifest, site: SiteRecord) -> dict[int, list[int] | None]:
    """The strata that hold faults of a site, and of which bits."""
    return {
        number: stratum.bits
        for number, stratum in enumerate(manifest.strata)
        if stratum.sites is None or site.name in stratum.sites
    }


def _home(homes: dict[int, list[int] | None], site: SiteRecord, bit: int) -> int:
    found = [n for n, bits in homes.items() if bit == -1 or bits is None or bit in bits]
    if len(found) != 1:
        raise ValueError(
            "strata must hold every fault once for tables by site or bit, got "
            f"{len(found)} strata for {site.name}, bit {bit}; ask for strata"
        )
    return found[0]


def _name(manifest: Manifest, cell: Cell, name: By) -> str | int:
    match name:
        case "network":
            return manifest.network.name
        case "stratum":
            return manifest.strata[cell.stratum].name
        case "kind":
            return cell.site.kind
        case "component":
            return cell.site.component
        case "bit":
            return cell.bit
        case "role":
            return bit_role(cell.site.dtype, cell.bit)
        case _:
            return cell.site.name
