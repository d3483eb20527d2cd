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
from stoic.network.rules import Call, Rule, pointwise

__all__ = ["holds_at_place", "holds_on_noise"]

# Words to compare before luck is ruled out, and draws to get them from.
_WORDS: Final = 1024
_DRAWS: Final = 64
# Among so many values, some show any function that is computed in two ways.
_TRIED: Final = 1 << 14
# Vector and scalar instructions may treat these apart.
_SPECIAL: Final = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -1.0, 1e-40, -1e30)


def holds_on_noise(step: Step, changes: Changes, rule: Rule, golden: Lookup) -> bool:
    """Say whether a rule gives the words of a full run on changes of this shape."""
    special, telling = torch.tensor(_SPECIAL), _telling(step, golden)
    for bag, enough in ((special, _WORDS), (telling, math.inf)):
        if bag is not None:
            drawn = {name: _drawn(golden(name), bag) for name in changes}
            if _words_alike(step, changes, rule, _over(drawn, golden), enough) is None:
                return False
    words = 0
    for draw in range(_DRAWS):
        if words >= _WORDS:
            break
        noise = {name: _noise(golden(name), draw) for name in changes}
        enough = _WORDS - words
        alike = _words_alike(step, changes, rule, _over(noise, golden), enough)
        if alike is None:
            return False
        words += alike
    return True


def _words_alike(
    step: Step, changes: Changes, rule: Rule, values: Lookup, enough: float
) -> int | None:
    """Return in how many words a rule agrees with a full run; nothing if it does not.

    The changes are tried where they are and then elsewhere, until enough words agree.
    """
    full, words = step(values), 0
    known = _over({step.name: full}, values)
    for moved in _places(changes, values):
        parts = {name: _cut(change, values(name)) for name, change in moved.items()}
        result = rule(Call(step, parts, known, fast=False))
        if result is None or not _agrees_but_for_nan(result, full):
            return None
        words += _pair(result, full)[0].numel()
        if words >= enough:
            break
    return words


def _telling(step: Step, golden: Lookup) -> Tensor | None:
    """Return values of which a function has other words one by one than in a vector.

    The last few words of a loop, and words with gaps between them, are computed one by
    one. Such differences are rare among values, so noise alone would seldom show them.
    """
    if step.op not in pointwise.RULES or len(step.inputs) != 1:
        return None
    value = golden(step.inputs[0])
    if not value.is_floating_point():
        return None
    chance = torch.Generator(value.device).manual_seed(0)
    tried = 2 * torch.randn(_TRIED, generator=chance, device=value.device)
    # As many dimensions as the value has: conversions of layout ask for them.
    tried = tried.to(value.dtype).reshape(*[1] * (value.dim() - 1), -1)
    with_gaps = tried.repeat_interleave(2, -1)[..., ::2]
    vector, single = step(lambda _: tried), step(lambda _: with_gaps)
    found = tried[(vector != single) & ~(vector.isnan() & single.isnan())]
    return found if len(found) else None


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
    """Return a value with its words moved a little."""
    moved = value.detach().clone()
    if value.is_floating_point():
        chance = torch.Generator(value.device).manual_seed(draw)
        noise = torch.empty(value.shape, device=value.device)
        noise.uniform_(0.5, 2.0, generator=chance)
        moved.mul_(noise.to(value.dtype)).add_(noise.to(value.dtype) / 64)
    return laid_as(moved, value).requires_grad_(value.requires_grad)


def _drawn(value: Tensor, bag: Tensor) -> Tensor:
    """Return a value with every word drawn from a bag."""
    if not value.is_floating_point():
        return value
    chance = torch.Generator(value.device).manual_seed(0)
    index = torch.randint(len(bag), value.shape, generator=chance, device=value.device)
    words = bag.to(value.device, value.dtype)[index]
    return laid_as(words, value).requires_grad_(value.requires_grad)


def _agrees_but_for_nan(result: Changed, full: Tensor) -> bool:
    """Compare words; which NaN a kernel makes depends on more than its shape."""
    piece, same = _pair(result, full)
    if piece.is_floating_point() and piece.shape == same.shape:
        both = piece.isnan() & same.isnan()
        piece, same = piece.masked_fill(both, 0), same.masked_fill(both, 0)
    return same_words(piece, same)


def _pair(result: Changed, full: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(result, Patch):
        return result.piece, result.of(full)
    return result, full
