"""Proof by trial: whether a rule gives the words of a full run, whatever the values.

Kernels choose their instructions by shape, stride and place. So a rule is run on noise
beside the whole operator, and what holds there holds for every value of that shape.
Two orders of a short sum agree in most words: a few that do prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

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

__all__ = [
    "agrees_on_noise",
    "holds_at_place",
    "holds_on_noise",
    "same_but_for_nan",
]

# Words to compare before luck is ruled out, and draws to get them from.
_WORDS: Final = 1024
_DRAWS: Final = 64
# Among so many values, some show any function that is computed in two ways.
_TRIED: Final = 1 << 14
# Words that are drawn: a prime, so that they come to lie elsewhere in every row.
_BLOCK: Final = 65521
# Vector and scalar instructions may treat these apart.
_SPECIAL: Final = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -1.0, 1e-40, -1e30)


Compare: TypeAlias = Callable[[Mapping[str, Tensor], float], int | None]


def agrees_on_noise(
    step: Step,
    names: Iterable[str],
    golden: Lookup,
    compare: Compare,
    *,
    special: bool = True,
) -> bool:
    """Say whether two ways to run a step agree, whatever some of its values are.

    Args:
        step: What is run.
        names: Of the values that are replaced by others.
        golden: Finds the values that those are like.
        compare: Runs both ways on replaced values; returns in how many words they
            agree, of which so many are enough, or nothing if they do not.
        special: Whether to try values that vector and scalar instructions may treat
            apart, too.
    """
    names = list(names)
    odd, telling = torch.tensor(_SPECIAL) if special else None, _telling(step, golden)
    for bag, enough in ((odd, _WORDS), (telling, math.inf)):
        if bag is not None:
            drawn = {name: _drawn(golden(name), bag) for name in names}
            if compare(drawn, enough) is None:
                return False
    words = 0
    for draw in range(_DRAWS):
        if words >= _WORDS:
            break
        noise = {name: _noise(golden(name), draw) for name in names}
        alike = compare(noise, _WORDS - words)
        if alike is None:
            return False
        words += alike
    return True


def holds_on_noise(step: Step, changes: Changes, rule: Rule, golden: Lookup) -> bool:
    """Say whether a rule gives the words of a full run on changes of this shape."""

    def compare(drawn: Mapping[str, Tensor], enough: float) -> int | None:
        return _words_alike(step, changes, rule, _over(drawn, golden), enough)

    return agrees_on_noise(step, changes, golden, compare)


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
        if result is None or not same_but_for_nan(*_pair(result, full)):
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
        noise = torch.empty(_BLOCK, device=value.device)
        noise.uniform_(0.5, 2.0, generator=chance)
        noise = _spread(noise.to(value.dtype), value)
        moved.mul_(noise).add_(noise, alpha=1 / 64)
    return laid_as(moved, value).requires_grad_(value.requires_grad)


def _drawn(value: Tensor, bag: Tensor) -> Tensor:
    """Return a value with every word drawn from a bag."""
    if not value.is_floating_point():
        return value
    chance = torch.Generator(value.device).manual_seed(0)
    index = torch.randint(len(bag), (_BLOCK,), generator=chance, device=value.device)
    words = _spread(bag.to(value.device, value.dtype)[index], value)
    return laid_as(words, value).requires_grad_(value.requires_grad)


def _spread(block: Tensor, value: Tensor) -> Tensor:
    """Return words over and over in the shape of a value: drawing takes longer."""
    times = -(-value.numel() // len(block))
    return block.repeat(times)[: value.numel()].reshape(value.shape)


def same_but_for_nan(a: Tensor, b: Tensor) -> bool:
    """Compare words; which NaN a kernel makes depends on more than its shape."""
    if a.is_floating_point() and a.shape == b.shape:
        both = a.isnan() & b.isnan()
        a, b = a.masked_fill(both, 0), b.masked_fill(both, 0)
    return same_words(a, b)


def _pair(result: Changed, full: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(result, Patch):
        return result.piece, result.of(full)
    return result, full
