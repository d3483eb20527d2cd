"""Rules for one perturbation, asked for each of several in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import (
    ROOM,
    UP,
    Crossings,
    OpRule,
    Turn,
    Turns,
    rounding_of,
    single,
)
from stoic.sensitivity.perturbation import Perturbation

__all__ = ["TogetherRule", "each"]

TogetherRule: TypeAlias = Callable[[Crossings], Turns | None]


def each(rules: Sequence[OpRule], crossings: Crossings) -> Turns | None:
    """Ask the first rule that knows a step for every perturbation.

    Args:
        rules: For one perturbation.
        crossings: The step, with how far what it reads may move.
    """
    asked = [crossings.of(at) for at in range(len(crossings.wrong))]
    for rule in rules:
        found = [rule(one) for one in asked]
        turns = [turn for turn in found if turn is not None]
        if len(turns) == len(asked):
            return _together(crossings, turns)
    return None


def _together(crossings: Crossings, turns: Sequence[Turn]) -> Turns:
    first, source = turns[0], _source(crossings, turns)
    most = _stacked([turn.most for turn in turns])
    bends = [turn.bend for turn in turns if isinstance(turn.bend, Tensor)]
    norms = [turn.bend_norm for turn in turns if isinstance(turn.bend_norm, Tensor)]

    def stretch(*norms: Tensor) -> Tensor:
        return torch.stack(
            [
                turn.stretch(*(norm[at] for norm in norms))
                for at, turn in enumerate(turns)
            ]
        )

    def carry(sizes: Tensor) -> Tensor:
        assert first.carry is not None
        return _stacked([first.carry(one.double()) for one in sizes])

    return Turns(
        most=most if source is None else torch.add(source, most, alpha=ROOM),
        stretch=stretch,
        adjoint=first.adjoint,
        source=source,
        bend=_stacked(bends) if len(bends) == len(turns) else None,
        bend_norm=torch.stack(norms) if len(norms) == len(turns) else None,
        convex=first.convex,
        alone=first.alone,
        terms=first.terms,
        carry=None if first.carry is None else carry,
    )


def _stacked(sizes: Sequence[Tensor]) -> Tensor:
    return torch.stack([single(each) for each in sizes])


def _source(crossings: Crossings, turns: Sequence[Turn]) -> Tensor | None:
    """Return what a step adds: rounding, inside and of its result, and wrong words."""
    perturbations = [wrong.perturbation for wrong in crossings.wrong]
    found = [_added(*both) for both in zip(turns, perturbations, strict=True)]
    if all(one is None for one in found):
        return None
    result = crossings.call.result
    none = torch.zeros_like(result)
    every = (none if one is None else one.expand_as(result) for one in found)
    return torch.stack([single(one * ROOM) for one in every])


def _added(turn: Turn, perturbation: Perturbation) -> Tensor | None:
    if turn.size is not None:
        rounding = turn.size * rounding_of(turn.terms, perturbation)
        return (rounding + turn.errors) * UP
    return turn.errors * UP if isinstance(turn.errors, Tensor) else None
