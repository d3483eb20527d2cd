"""From faults to changed values of a golden run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from stoic.faults.formats import read_word, write_word
from stoic.faults.space import Fault
from stoic.network.golden import Run
from stoic.network.patch import Changed, Patch, agrees, whole
from stoic.network.replay import Corrupt
from stoic.network.sites import Site

__all__ = ["changes_of", "corrupted", "words_of"]


def changes_of(
    faults: Sequence[Fault], golden: Run
) -> tuple[dict[str, Changed], dict[str, Corrupt]]:
    """Return what some faults change at the start, and what whenever it is computed.

    Args:
        faults: Of one trial; inputs are rows of the golden run's batch.
        golden: The run.
    """
    by_site: dict[Site, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_site[fault.site].append(fault)
    changes: dict[str, Changed] = {}
    corrupt: dict[str, Corrupt] = {}
    for site, together in by_site.items():
        if site.kind == "activation":
            corrupt[site.value] = Hit(tuple(together))
        else:
            for value in _values(site, golden):
                changes[value] = corrupted(together, golden(value))
    return _that_differ(changes, golden), corrupt


def _values(site: Site, golden: Run) -> list[str]:
    """Return every value that shows the storage of a site."""
    origins: Mapping[str, tuple[str, ...]] = golden.program.origins
    return [v for v, names in origins.items() if names[0] == site.name] or [site.value]


def _that_differ(changes: dict[str, Changed], golden: Run) -> dict[str, Changed]:
    """Leave out what a fault left as it was, as a stuck bit may."""
    return {
        name: change
        for name, change in changes.items()
        if not agrees(change, golden(name))
    }


@dataclass(frozen=True)
class Hit:
    """What faults of one site do to its value.

    Args:
        faults: Of one trial, or of several in different rows.
    """

    faults: tuple[Fault, ...]

    def of(self, value: Tensor) -> Changed:
        """Return what becomes of a value; the value itself stays as it is."""
        return corrupted(self.faults, value)

    def into(self, value: Tensor) -> None:
        """Change a value that nobody else reads."""
        for fault in self.faults:
            for _, element in _places(fault, value):
                _corrupt(value, element, fault)


def corrupted(faults: Sequence[Fault], value: Tensor) -> Changed:
    """Return a value with faults of one site in it; the value itself stays as it is."""
    places = [place for fault in faults for place in _places(fault, value)]
    if value.dim() == 0:
        one = Patch(0, 0, value.reshape(1).clone())
        return _placed(places, value.reshape(1), one).reshape(())
    site = faults[0].site
    dim = 1 if site.rows == 0 and value.dim() > 1 else 0
    stride = _row_major(value)[dim]
    spots = {element // stride % value.shape[dim] for _, element in places}
    start = min(spots)
    length = max(spots) + 1 - start
    if length > 1:
        # Slices of any length would have to be proved one by one.
        full = whole(Patch(0, 0, value), value)
        return _placed(places, value, Patch(0, 0, full))
    piece = value.narrow(dim, start, length).clone()
    return Patch(dim, start, _placed(places, value, Patch(dim, start, piece)))


def _places(fault: Fault, value: Tensor) -> list[tuple[Fault, int]]:
    """Return the flat indices that a fault hits in the value of a whole batch."""
    rows = fault.site.rows
    if rows is None:
        return [(fault, fault.element)]
    inner = 1
    for size in value.shape[rows + 1 :]:
        inner *= size
    count = int(value.shape[rows])
    before, after = divmod(fault.element, inner)
    hit = range(count) if fault.input is None else [fault.input]
    return [(fault, (before * count + row) * inner + after) for row in hit]


def _row_major(value: Tensor) -> list[int]:
    strides = [1]
    for size in reversed(value.shape[1:]):
        strides.insert(0, strides[0] * size)
    return strides


def _placed(places: list[tuple[Fault, int]], value: Tensor, patch: Patch) -> Tensor:
    """Write the faults of a value into the piece of a patch."""
    stride, size = _row_major(value)[patch.dim], value.shape[patch.dim]
    for fault, element in places:
        outer, rest = divmod(element, stride * size)
        spot, inner = divmod(rest, stride)
        own = (outer * patch.length + spot - patch.start) * stride + inner
        _corrupt(patch.piece, own, fault)
    return patch.piece


def _corrupt(tensor: Tensor, element: int, fault: Fault) -> None:
    write_word(tensor, element, fault.corruption(read_word(tensor, element)))


def words_of(fault: Fault, value: Tensor) -> tuple[int, int]:
    """Return the golden word that a fault hits and what it makes of it.

    For a fault in every row, those of the first.
    """
    old = read_word(value, _places(fault, value)[0][1])
    return old, fault.corruption(old)
