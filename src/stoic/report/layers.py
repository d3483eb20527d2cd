"""Layers: components in network order, joined where there are too many to read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stoic.estimates import About, By, Row, pvf
from stoic.records import Run, SiteRecord

__all__ = ["MOST", "Layers", "layers_of", "rows_by"]

MOST = 60
# Fewer than this tell too little of a network that has more than `MOST` layers.
_FEWEST = 12
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Layers:
    """The lines of a plot by layer.

    Args:
        labels: By component.
        note: How components were joined; empty if they were not.
    """

    labels: dict[str, str]
    note: str

    def of(self, site: SiteRecord) -> str:
        """Return the label of the layer that a site belongs to."""
        return self.labels[site.component]

    def ordered(self, sites: Sequence[SiteRecord]) -> list[str]:
        """Return the labels in network order."""
        return list(dict.fromkeys(self.labels[c] for c in _components(sites)))


def layers_of(sites: Sequence[SiteRecord], most: int = MOST) -> Layers:
    """Join components until there are no more than ``most``.

    By the first parts of their names; where these leave too many or too few, the next
    ones in network order.
    """
    names = _components(sites)
    whole = {name: name or "(top level)" for name in names}
    if len(names) <= most:
        return Layers(whole, "")
    depth = max(name.count(".") for name in names)
    labels = list(whole.values())
    while depth and len(set(labels)) > most:
        coarser = [".".join(label.split(".")[:depth]) for label in labels]
        if len(set(coarser)) < min(_FEWEST, most):
            break
        labels, depth = coarser, depth - 1
    note = f"The {len(names):,} layers are joined by the first parts of their names"
    if len(set(labels)) > most:
        labels = _in_runs(labels, most)
        note = f"The {len(names):,} layers are joined with their neighbours"
    return Layers(
        dict(zip(names, labels, strict=True)), f"{note}: {len(set(labels))} lines."
    )


def rows_by(
    run: Run,
    key_of: Callable[[SiteRecord], _Key],
    *by: By,
    about: About = "inputs",
) -> Iterator[tuple[_Key, Row]]:
    """Estimate the vulnerability of groups of sites that no table of a run knows.

    Args:
        run: With one fault per trial.
        key_of: The group of a site.
        *by: What further parts the faults of a group, such as ``bit``.
        about: As for `stoic.estimates.pvf`.
    """
    space = run.manifest.space
    keys = list(dict.fromkeys(map(key_of, space.sites)))
    number = {key: str(index) for index, key in enumerate(keys)}
    sites = [
        site.model_copy(update={"component": number[key_of(site)]})
        for site in space.sites
    ]
    grouped = run.manifest.model_copy(
        update={"space": space.model_copy(update={"sites": sites})}
    )
    run = dataclasses.replace(run, manifest=grouped)
    for row in pvf(run, ("component", *by), about=about):
        yield keys[int(row.key[0])], dataclasses.replace(row, key=row.key[1:])


def _components(sites: Sequence[SiteRecord]) -> list[str]:
    """The components in network order."""
    ordered = sorted(sites, key=lambda site: site.order)
    return list(dict.fromkeys(site.component for site in ordered))


def _in_runs(labels: Sequence[str], most: int) -> list[str]:
    """Join neighbours, as many at a time as need be."""
    distinct = list(dict.fromkeys(labels))
    length = math.ceil(len(distinct) / most)
    joined: dict[str, str] = {}
    for start in range(0, len(distinct), length):
        part = distinct[start : start + length]
        label = part[0] if len(part) == 1 else f"{part[0]} – {part[-1]}"
        joined |= dict.fromkeys(part, label)
    return [joined[label] for label in labels]
