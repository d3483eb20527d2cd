"""Smaller batches: rows that have the same words in them as in the native batch.

Kernels choose their instructions by the size of a batch, too. So every step is run on
noise in both sizes; one that does not agree to the bit is run in the native size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.golden import Golden, Selected, parts_with_rows
from stoic.network.memory import now
from stoic.network.patch import Changes, laid_as, overlaid
from stoic.network.program import Step
from stoic.network.proof import agrees_on_noise, same_but_for_nan
from stoic.network.rules import contraction

__all__ = ["RowStepper", "Smaller"]

# Of the time of a golden run, for steps that must be run in the native size.
_NATIVE_SHARE = 0.1


@dataclass(frozen=True)
class Smaller:
    """Batches of some inputs, and what they have of the native one.

    Args:
        size: How many inputs a smaller batch has.
        like: Tensors without words that lie as the values of a smaller batch do.
        proved: Names of the steps whose rows have the same words in it.
        pays: Whether those are nearly all of the work.
    """

    size: int
    like: Mapping[str, Tensor]
    proved: frozenset[str]
    pays: bool

    @classmethod
    def of(cls, golden: Golden, size: int) -> Smaller:
        """Find out by trial which steps agree."""
        like = _layouts(golden, size)
        proved, spent = set(), {}
        for step in golden.program.steps:
            begun = now()
            if _is_proved(step, golden, size, like):
                proved.add(step.name)
            spent[step.name] = now() - begun
        native = sum(s for name, s in spent.items() if name not in proved)
        pays = native < _NATIVE_SHARE * sum(spent.values())
        return cls(size, like, frozenset(proved), pays)


class RowStepper:
    """Run steps on a smaller batch so that every bit is that of a native run.

    Args:
        native: The golden run.
        smaller: What is known of such batches.
        rows: Inputs that the batch has, each once: as many as its size.
    """

    def __init__(self, native: Golden, smaller: Smaller, rows: Tensor) -> None:
        self.golden = Selected(native, rows, smaller.like)
        self._native = native
        self._smaller = smaller
        self._rows = rows

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        """Return the step's result under changes."""
        values = overlaid(changes, self.golden)
        if step.name in self._smaller.proved:
            return step(values), True
        full = {name: self._widened(name, values(name)) for name in changes}
        result = step(overlaid(full, self._native))
        return self.golden.picked(step.name, result), True

    def _widened(self, name: str, value: Any) -> Any:
        """Return a value of the native batch with the rows of this one in it."""
        dim = self._native.dim(name)
        if dim is None:
            return value
        golden = self._native(name)
        full = laid_as(golden, golden)
        dim.put(full, self._rows, value)
        return full


def _is_proved(
    step: Step, golden: Golden, size: int, like: Mapping[str, Tensor]
) -> bool:
    """Say whether rows of a step have the same words in a smaller batch."""
    parts = parts_with_rows(golden, step.name)
    if not parts:
        return True
    rowed = [name for name in step.inputs if golden.dim(name) is not None]
    samples = [Selected(golden, rows, like) for rows in _samples(golden.inputs, size)]

    def agreeing(drawn: Mapping[str, Tensor], enough: float) -> int | None:
        full, words = step(overlaid(drawn, golden)), 0
        for small in samples:
            picked = {name: small.picked(name, value) for name, value in drawn.items()}
            ours = step(overlaid(picked, small))
            for place, name in parts.items():
                mine, right = _part(ours, place), _part(full, place)
                if mine.stride() != like[name].stride():
                    # Later steps would be tried on another layout than they meet.
                    return None
                if not same_but_for_nan(mine, small.picked(name, right)):
                    return None
                words += mine.numel()
        return words

    # Sums and products are the same for all words, and slow for some of the odd ones.
    special = step.op not in contraction.RULES
    return agrees_on_noise(step, rowed, golden, agreeing, special=special)


def _part(result: Any, place: int) -> Tensor:
    part: Tensor = result if isinstance(result, Tensor) else result[place]
    return part


def _samples(inputs: int, size: int) -> list[Tensor]:
    """Return batches that together have every input, at another place than its own."""
    chance = torch.Generator().manual_seed(0)
    mixed = torch.randperm(inputs, generator=chance)
    # The last inputs of a batch may be computed in another way than the first.
    parts = [mixed[start : start + size] for start in range(0, inputs - size, size)]
    return [*parts, mixed[-size:], torch.arange(inputs - size, inputs)]


def _layouts(golden: Golden, size: int) -> dict[str, Tensor]:
    """Return tensors without words, laid out as the values of a smaller batch."""
    leaves = [_first_rows(golden(name), size) for name in golden.program.inputs]
    small = Golden(golden.program, leaves, golden.rows)
    names = [*golden.program.inputs, *(step.name for step in golden.program.steps)]
    values = {name: small(name) for name in names}
    return {n: _without_words(v) for n, v in values.items() if isinstance(v, Tensor)}


def _without_words(value: Tensor) -> Tensor:
    return torch.empty_strided(
        value.shape, value.stride(), dtype=value.dtype, device="meta"
    )


def _first_rows(leaf: Any, size: int) -> Any:
    return leaf[:size] if isinstance(leaf, Tensor) and leaf.dim() else leaf
