"""Proof by trial: whether a rule gives the words of a full run, whatever the values.

Kernels choose their instructions by shape, stride and place. So a rule is run on noise
beside the whole operator, and what holds there holds for every value of that shape.
Two orders of a short sum agree in most words: a few that do prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from stoic.network.patch import (
    Changed,
    Changes,
    Lookup,
    Patch,
    agrees,
    laid_as,
    same_words,
)
from stoic.network.program import Step
from stoic.network.rules import Call, Rule

__all__ = ["holds_at_place", "holds_on_noise"]

# Words to compare before luck is ruled out, and draws to get them from.
_WORDS: Final = 4096
_DRAWS: Final = 64
# Vector and scalar instructions may treat these apart.
_SPECIAL: Final = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -1.0, 1e-40, -1e30)


def holds_on_noise(step: Step, changes: Changes, rule: Rule, golden: Lookup) -> bool:
    """Say whether a rule gives the words of a full run on changes of this shape."""
    words = 0
    for draw in range(_DRAWS):
        noise = {name: _noise(golden(name), draw) for name in changes}
        noisy = _over(noise, golden)
        full = step(noisy)
        for moved in _places(changes, golden):
            parts = {name: _cut(change, noise[name]) for name, change in moved.items()}
            call = Call(step, parts, _over({step.name: full}, noisy), fast=False)
            result = rule(call)
            if not _agrees_but_for_nan(result, full):
                return False
            words += _known_words(result)
            if words > _WORDS or draw == 0:
                break
        if words > _WORDS:
            break
    return True


def holds_at_place(step: Step, changes: Changes, rule: Rule, golden: Lookup) -> bool:
    """Say whether golden slices at the place of the changes give the golden slice."""
    parts = {name: _cut(change, golden(name)) for name, change in changes.items()}
    return agrees(rule(Call(step, parts, golden, fast=False)), golden(step.name))


def _over(values: Changes, golden: Lookup) -> Lookup:
    return lambda name: values[name] if name in values else golden(name)


def _places(changes: Changes, golden: Lookup) -> Iterator[Changes]:
    """Yield changes where they are, then wherever else slices of their size fit."""
    yield changes
    patches = {n: c for n, c in changes.items() if isinstance(c, Patch)}
    spans = {(patch.start, patch.length) for patch in patches.values()}
    if len(spans) > 1:
        return
    ((own, length),) = spans
    room = min(golden(n).shape[patch.dim] for n, patch in patches.items()) - length
    for start in range(own % length, room + 1, length):
        if start != own:
            moved = {n: replace(patch, start=start) for n, patch in patches.items()}
            yield {**changes, **moved}


def _cut(change: Changed, value: Tensor) -> Changed:
    """Return a value, or the slice of it that a patch replaces, in its strides."""
    if not isinstance(change, Patch):
        return value
    return change.with_piece(laid_as(change.of(value), change.piece))


def _noise(value: Tensor, draw: int) -> Tensor:
    """Return a value with its words moved a little; by the first draw, wildly."""
    moved = value.detach().clone()
    if value.is_floating_point():
        chance = torch.Generator(value.device).manual_seed(draw)
        if draw == 0:
            special = torch.tensor(_SPECIAL, device=value.device).to(value.dtype)
            moved = special[torch.randint(len(special), value.shape, generator=chance)]
        else:
            noise = torch.empty(value.shape, device=value.device)
            noise.uniform_(0.5, 2.0, generator=chance)
            moved.mul_(noise.to(value.dtype)).add_(noise.to(value.dtype) / 64)
    return laid_as(moved, value).requires_grad_(value.requires_grad)


def _agrees_but_for_nan(result: Changed | None, full: Tensor) -> bool:
    """Compare words; which NaN a kernel makes depends on more than its shape."""
    if result is None:
        return False
    piece, same = _pair(result, full)
    if piece.is_floating_point() and piece.shape == same.shape:
        both = piece.isnan() & same.isnan()
        piece, same = piece.masked_fill(both, 0), same.masked_fill(both, 0)
    return same_words(piece, same)


def _pair(result: Changed, full: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(result, Patch):
        return result.piece, result.of(full)
    return result, full


def _known_words(result: Changed | None) -> int:
    piece = result.piece if isinstance(result, Patch) else result
    assert piece is not None
    return int((~piece.isnan()).sum())
