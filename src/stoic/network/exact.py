"""Exact steps: narrow where a rule is proved to give the words of a full run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stoic.network.golden import Golden
from stoic.network.patch import Changed, Changes, Patch, agrees, overlaid, widened
from stoic.network.program import Step
from stoic.network.rules import Call, Rule, rule_for

__all__ = ["ExactStepper"]

# Rows of a product are computed alike in blocks of the widest registers.
_WIDTHS = (1, 16, 64)


class ExactStepper:
    """Run steps so that every bit is that of a full run at the native batch size.

    Args:
        golden: The run.
        narrow: Whether to compute only the touched channel or row where an operator
            allows it; the whole operator otherwise.
    """

    def __init__(self, golden: Golden, *, narrow: bool = True) -> None:
        self.golden = golden
        self._narrow = narrow
        self._proofs: dict[Any, bool] = {}
        self._widths: dict[Any, int] = {}

    def __call__(self, step: Step, changes: Changes) -> tuple[Any, bool]:
        """Return the step's result under changes."""
        narrow = self.narrowed(step, changes)
        if narrow is not None:
            return narrow, True
        return step(overlaid(changes, self.golden)), True

    def narrowed(self, step: Step, changes: Changes) -> Changed | None:
        """Return the result by a rule, if one is proved for these changes."""
        rule = rule_for(step) if self._narrow else None
        patched = any(isinstance(change, Patch) for change in changes.values())
        if rule is None or not patched:
            return None
        kind = (step.name, *changes)
        first = self._widths.get(kind, 0)
        for number, width in enumerate(_WIDTHS[first:], first):
            wide = self._widened(changes, width)
            result = self._ruled(step, wide, rule)
            if result is None:
                return None
            if self._proved(step, wide, rule):
                self._widths[kind] = number
                return result
        return None

    def _widened(self, changes: Changes, width: int) -> Changes:
        if width == 1:
            return changes
        return {
            name: widened(change, width, self.golden(name))
            if isinstance(change, Patch)
            else change
            for name, change in changes.items()
        }

    def _ruled(self, step: Step, changes: Changes, rule: Rule) -> Changed | None:
        return rule(Call(step, changes, self.golden, fast=False))

    def _proved(self, step: Step, changes: Changes, rule: Rule) -> bool:
        """Say whether a rule gives the words of a full run, tried out beforehand.

        Kernels choose their instructions by shape, stride and place, not by value. So
        one full run on noise speaks for all slices of a shape, and golden slices that
        give the golden slice speak for each place.
        """
        shape = (step.name, *((n, *_shape(c)) for n, c in changes.items()))
        if shape not in self._proofs:
            noisy = {n: _noisy(c, self.golden(n)) for n, c in changes.items()}
            full = step(overlaid(noisy, self.golden))
            self._proofs[shape] = agrees(self._ruled(step, noisy, rule), full)
        place = (step.name, *((n, *_place(c)) for n, c in changes.items()))
        if self._proofs[shape] and place not in self._proofs:
            same = {n: _of_golden(c, self.golden(n)) for n, c in changes.items()}
            result = self._ruled(step, same, rule)
            self._proofs[place] = agrees(result, self.golden(step.name))
        return self._proofs[shape] and self._proofs[place]


def _shape(change: Changed) -> tuple[Any, ...]:
    if isinstance(change, Patch):
        return ("slice", change.dim, change.length, change.piece.stride())
    return ("whole",)


def _place(change: Changed) -> tuple[int, ...]:
    if isinstance(change, Patch):
        return (change.dim, change.start, change.length)
    return ()


def _of_golden(change: Changed, golden: Tensor) -> Changed:
    if not isinstance(change, Patch):
        return golden
    # In the strides of the real piece, by which kernels choose their path.
    return change.with_piece(torch.empty_like(change.piece).copy_(change.of(golden)))


def _noisy(change: Changed, golden: Tensor) -> Changed:
    """Return a golden value, or slice of it, with its values moved a little."""
    same = _of_golden(change, golden)
    piece = same.piece if isinstance(same, Patch) else same.clone()
    if piece.is_floating_point():
        chance = torch.Generator(piece.device).manual_seed(0)
        noise = torch.empty(piece.shape, device=piece.device)
        noise.uniform_(0.5, 2.0, generator=chance)
        piece.mul_(noise.to(piece.dtype)).add_(noise.to(piece.dtype) / 64)
    return change.with_piece(piece) if isinstance(change, Patch) else piece
