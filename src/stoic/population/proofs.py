"""Proofs: verdicts of changed words that follow from the golden run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.network.certified import (
    LastLinear,
    joined_values,
    last_linear_of,
    thresholds_of,
)
from stoic.network.program import Program, Values
from stoic.network.sites import Site
from stoic.network.subject import Inputs
from stoic.population.fields import OPEN, Some, Verdicts, numbers_of

__all__ = ["Clearance", "proofs_of"]

Clearance = Callable[[Any, int], tuple[Any, Tensor]]
"""From an output and its first input to its scores and how far each may move."""

# Thresholds of all blocks are held as long as they fit here.
_MOST_BYTES = 1 << 30
# Values of blocks that are looked at together.
_PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Proofs:
    """What is proved of changes to the stored words of a network.

    Args:
        limits: By value: changes below this turn no verdict, ``(rows, elements)``.
        layer: The last linear layer on all inputs, where its verdicts are closed.
    """

    limits: dict[str, NDArray[np.float64]]
    layer: LastLinear | None

    def of(self, site: Site) -> Verdicts | None:
        """Return what is proved of a site; nothing where nothing is."""
        limits = self.limits.get(site.value)
        layer = self.layer if self.layer and site.value in self.layer.kinds else None
        if limits is None or not (layer or limits.any()):
            return None
        return _Proved(site, limits, layer)


@dataclass(frozen=True)
class _Proved:
    """What is proved of changes to one site."""

    site: Site
    limits: NDArray[np.float64]
    layer: LastLinear | None

    @cached_property
    def _least(self) -> NDArray[np.float64]:
        return np.asarray(self.limits.min(axis=0))

    def holding(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which words may change so in every row; some of them, quickly."""
        return np.asarray(self._moved(old, new) < self._least)

    def _moved(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far words move; below no limit where they are no numbers then."""
        before, after = (numbers_of(words, self.site.dtype) for words in (old, new))
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where(np.isfinite(after), np.abs(after - before), np.inf)

    def __call__(
        self, old: NDArray[Any], new: NDArray[Any], columns: Some, rows: Some
    ) -> NDArray[np.int8]:
        """Return the verdicts of some words."""
        limits = self.limits[rows]
        if not isinstance(columns, slice):
            limits = np.take(limits, columns, axis=1)
        small = self._moved(old, new) < limits
        found = small.astype(np.int8) + np.int8(OPEN)
        if self.layer is not None:
            found = np.where(small, found, self._closed(new[0], columns, rows))
        return found

    def _closed(self, new: NDArray[Any], columns: Some, rows: Some) -> NDArray[np.int8]:
        assert self.layer is not None
        elements = torch.from_numpy(np.arange(self.site.elements)[columns])
        words = torch.from_numpy(numbers_of(new, self.site.dtype)).to(self.site.dtype)
        layer = replace(
            self.layer, x=self.layer.x[rows], scores=self.layer.scores[rows]
        )
        found = layer.verdicts(self.site.value, elements, words[:, None])
        return np.asarray(found.squeeze(-1).numpy(), np.int8)


def proofs_of(
    program: Program,
    inputs: Inputs,
    sites: Sequence[Site],
    batch: int,
    clearance: Clearance,
    *,
    closed: bool,
) -> Proofs | None:
    """Return what is proved of some stored values, block of inputs by block.

    Args:
        program: Of the network.
        inputs: All of them.
        sites: Whose words may change.
        batch: Inputs per block, as the trials will see them.
        clearance: How far scores may move without turning a verdict.
        closed: Whether a failure is another best class or a score that is not finite:
            then the last linear layer's verdicts are known both ways.
    """
    names = [site.value for site in sites]
    rows = inputs.count // batch
    size = 8 * rows * sum(site.elements for site in sites)
    if not names or size > _MOST_BYTES:
        return None
    limits = {s.value: np.zeros((rows, s.elements)) for s in sites}
    layers: list[LastLinear] = []
    row = 0
    for part in _parts(program, inputs, batch, clearance):
        some = slice(row, row := row + len(part.runs))
        for name, limit in _thresholds(program, part, names, batch).items():
            limits[name][some] = limit.numpy()
        if closed and batch == 1:
            found = [last_linear_of(program, run, part.scores) for run in part.runs]
            layers += [layer for layer in found if layer is not None]
    return Proofs(limits, _joined(layers) if len(layers) == rows else None)


@dataclass(frozen=True)
class _Part:
    """Blocks of inputs that are looked at together.

    Args:
        runs: All values of each.
        scores: Name of the value that is judged.
        room: How far its rows may move.
    """

    runs: tuple[Values, ...]
    scores: str
    room: tuple[Tensor, ...]


def _parts(
    program: Program, inputs: Inputs, batch: int, clearance: Clearance
) -> Iterator[_Part]:
    runs: list[Values] = []
    room: list[Tensor] = []
    for start in range(0, inputs.count, batch):
        own = inputs.rows(start, start + batch)
        with torch.inference_mode():
            values = program.run(own.leaves)
            output = program.answer(values.__getitem__)
            judged, free = clearance(output, start)
        scores = [name for name in program.output_names if values[name] is judged][0]
        runs.append(values)
        room.append(free)
        size = sum(getattr(values[step.name], "nbytes", 0) for step in program.steps)
        if (len(runs) + 1) * size > _PART_BYTES or start + batch >= inputs.count:
            yield _Part(tuple(runs), scores, tuple(room))
            runs, room = [], []


def _thresholds(
    program: Program, part: _Part, names: Sequence[str], batch: int
) -> dict[str, Tensor]:
    """Return how far words may move in every input of each block."""
    several = len(part.runs) > 1
    values = joined_values(program, part.runs, batch) if several else {}
    if values:
        room = torch.cat(part.room)
        found = thresholds_of(program, values, room, names, part.scores)
        return {n: t.unflatten(0, (-1, batch)).amin(1) for n, t in found.items()}
    each = [
        thresholds_of(program, run, room, names, part.scores)
        for run, room in zip(part.runs, part.room, strict=True)
    ]
    return {name: torch.stack([f[name].amin(0) for f in each]) for name in names}


def _joined(layers: Sequence[LastLinear]) -> LastLinear:
    x, scores = (
        torch.cat([getattr(layer, name) for layer in layers])
        for name in ("x", "scores")
    )
    return replace(layers[0], x=x, scores=scores)
