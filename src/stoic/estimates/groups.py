"""Groups of trials, by where their faults were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stoic.estimates.facts import Facts, Integers, Places
from stoic.estimates.population import By, Key
from stoic.records import Manifest, bit_role

__all__ = ["Group", "groups"]


@dataclass(frozen=True)
class Group:
    """Trials whose faults have something in common.

    Args:
        key: What, in the words of the grouping.
        rows: Indices of the trials, ascending.
    """

    key: Key
    rows: Integers


def groups(
    manifest: Manifest, by: Sequence[By], facts: Facts, places: Places | None
) -> Iterator[Group]:
    """Yield the groups that have trials, in the order of the space.

    Args:
        manifest: Of the run.
        by: What the trials of a group have in common.
        facts: About the trials.
        places: Of their faults; needed for all but the network and the strata.
    """
    columns = [_column(manifest, name, facts, places) for name in by]
    inside = np.ones(len(facts.trial), bool)
    code = np.zeros(len(facts.trial), np.int64)
    for values, _ in columns:
        inside &= values >= 0
        code = code * (values.max(initial=0) + 1) + values
    rows = np.flatnonzero(inside)
    rows = rows[np.argsort(code[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(code[rows], prepend=-1))
    for part in np.split(rows, starts[1:]) if rows.size else []:
        key = tuple(names[int(values[part[0]])] for values, names in columns)
        yield Group(key, part)


_Names = Sequence[str] | range


def _column(
    manifest: Manifest, name: By, facts: Facts, places: Places | None
) -> tuple[Integers, _Names]:
    """The code of each trial, -1 where it has none, and the names of the codes."""
    if name == "network":
        return np.zeros_like(facts.trial), [manifest.network.name]
    if name == "stratum":
        return facts.stratum, [s.name for s in manifest.strata]
    assert places is not None
    sites = manifest.space.sites
    if name == "bit":
        return places.bit, range(64)
    if name == "channel":
        return _channels(manifest, places)
    if name == "role":
        roles = ["mantissa", "exponent", "magnitude", "sign"]
        codes = np.full((len(sites), 64), -1)
        for index, site in enumerate(sites):
            for bit in range(site.bits):
                codes[index, bit] = roles.index(bit_role(site.dtype, bit))
        return codes[places.site, places.bit], roles
    labels = [
        {"kind": s.kind, "component": s.component, "site": s.name}[name] for s in sites
    ]
    names = list(dict.fromkeys(labels))
    number = {label: index for index, label in enumerate(names)}
    return np.array([number[label] for label in labels])[places.site], names


def _channels(manifest: Manifest, places: Places) -> tuple[Integers, range]:
    sites = manifest.space.sites
    most = max((s.channels or 0 for s in sites), default=0)
    size = np.array([s.elements // s.channels if s.channels else 0 for s in sites])
    size = size[places.site]
    channel = np.where(size > 0, places.element // np.maximum(size, 1), -1)
    return channel, range(most)
