"""Backwards: where the golden derivative leads, and how far a run can be from there.

With f the network, J its derivative at the golden values, d the inputs' deviation, and
e all that steps add by themselves (rounding, wrong words, and how far each bends away
from its own golden derivative), it holds exactly that

    f(perturbed) - f(golden) = J d + sum over steps of J_step e_step.

Nothing is left out, so a bound of each e bounds the whole, however far the inputs move.

Gradients are rounded to float32 on their way, and it holds for them, too: what a step
makes of a gradient is off by r from what was gone on with, and r times the deviation of
what the step reads is added. Golden gradients are the same for every perturbation, so
several are bounded by one way back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoic.sensitivity.amounts import Amounts, Columns, Weights
from stoic.sensitivity.operators.contract import OWN, UP, Alone, two_norm
from stoic.sensitivity.reach import Passed, Reach, Reaches

__all__ = ["Linearised", "linearised", "linearised_by"]

_SINGLE = 2.0**-23
# Numbers of the largest gradient at once: what is done once for all shares them.
_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Linearised:
    """How far outputs may move, beside what the derivative makes of the inputs.

    Args:
        gradients: Of each input of the program at golden values, [outputs, *input].
        rise: Bound of what all that is added lifts each output by, [outputs, inputs].
        fall: Bound of what it lowers each by.
        by_step: 2-norm over outputs of the larger of both, of each step by name,
            [inputs]; what steps pass on element by element counts for the last of them.
    """

    gradients: Mapping[str, Tensor]
    rise: Tensor
    fall: Tensor
    by_step: Mapping[str, Tensor]

    @property
    def most(self) -> Tensor:
        """The larger of both."""
        return torch.maximum(self.rise, self.fall)


def linearised(reach: Reach, scores: str, wanted: Tensor) -> Linearised:
    """Return bounds of how far the wanted sums of scores may move.

    Args:
        reach: All that is reachable.
        scores: The value that is judged.
        wanted: Weights of the scores, [outputs, inputs or 1, *scores].
    """
    (found,) = linearised_by(reach.whole, scores, wanted)
    return found


@torch.no_grad()
def linearised_by(reaches: Reaches, scores: str, wanted: Tensor) -> list[Linearised]:
    """Return the same for several perturbations of one golden run."""
    legs = _legs(reaches, scores)
    columns = {name: leg.arrived() for name, leg in legs.items() if leg.amounts}
    value = reaches.values[scores]
    seed = wanted.float().expand(-1, *value.shape)
    largest = max(reaches.values[name].numel() for name in (scores, *legs))
    parts = [
        _way_back(legs, columns, scores, part)
        for part in seed.split(max(1, _AT_ONCE // largest))
    ]
    return _of_parts(parts, len(reaches.moved(scores).norm))


@dataclass(frozen=True)
class _Leg:
    """Steps that gradients pass at once.

    Args:
        passed: The last of them.
        reads: What the first of them reads.
        moved: 2-norm of how far each of that may move, [perturbations, inputs].
        amounts: What they add, and what came to them element by element, with what it
            has passed since.
        alone: Their derivative, if elements are kept apart.
    """

    passed: Passed
    reads: tuple[str, ...]
    moved: tuple[Tensor, ...]
    amounts: tuple[tuple[Amounts, Alone | None], ...]
    alone: Alone | None

    def arrived(self) -> Columns:
        """Return what they add, where gradients meet it."""
        return Columns.of(
            [
                amounts if way is None else amounts.through(way)
                for amounts, way in self.amounts
            ]
        )


def _legs(reaches: Reaches, scores: str) -> dict[str, _Leg]:
    """Join steps that keep elements apart, by the value that they end with."""
    every = [*reaches.passed.values()]
    readers = Counter(name for each in every for name in each.call.reads)
    legs: dict[str, _Leg] = {}
    for passed in every:
        name, alone = passed.call.step.name, passed.turn.alone
        leg = _leg(reaches, passed)
        read = passed.call.reads[0] if alone is not None else ""
        before = legs.get(read)
        if alone is None or before is None or readers[read] > 1 or read == scores:
            legs[name] = leg
            continue
        carried = tuple(
            (amounts, alone if way is None else alone.after(way))
            for amounts, way in before.amounts
        )
        if before.alone is None:
            legs[read] = replace(before, amounts=())
        else:
            del legs[read]
            both = alone.after(before.alone)
            leg = replace(leg, reads=before.reads, moved=before.moved, alone=both)
        legs[name] = replace(leg, amounts=carried + leg.amounts)
    return legs


def _leg(reaches: Reaches, passed: Passed) -> _Leg:
    name, reads, turn = passed.call.step.name, passed.call.reads, passed.turn
    amounts = []
    if turn.source is not None:
        amounts.append(Amounts.of(name, turn.source))
    if turn.bend is not None:
        bent = Amounts.of(name, turn.bend, convex=turn.convex)
        if bool(bent.largest.any()):
            norm = turn.bend_norm
            amounts.append(bent if norm is None else bent.bounded(norm))
    return _Leg(
        *(passed, reads, tuple(reaches.moved(read).norm for read in reads)),
        *(tuple((each, None) for each in amounts), turn.alone),
    )


@dataclass(frozen=True)
class _Back:
    """What one way back found, of some outputs."""

    gradients: Mapping[str, Tensor]
    rise: Tensor
    fall: Tensor
    by_step: Mapping[str, Tensor]


def _way_back(
    legs: Mapping[str, _Leg],
    columns: Mapping[str, Columns],
    scores: str,
    seed: Tensor,
) -> _Back:
    gradients = {scores: seed}
    rise = fall = torch.zeros(())
    by_step: dict[str, Tensor] = {}
    for name, leg in reversed([*legs.items()]):
        if name not in gradients:
            continue
        gradient = gradients.pop(name)
        weights = Weights(gradient)
        if name in columns:
            ours = columns[name]
            sums = weights.each(ours)
            for amounts, (up, down) in zip(ours.amounts, sums, strict=True):
                rise, fall = rise + up, fall + down
                most = torch.maximum(up, down)
                by_step[amounts.step] = by_step.get(amounts.step, 0.0) + most
        for moved, (read, found, off) in zip(
            leg.moved, _back(leg, gradient, weights.top), strict=True
        ):
            if read in gradients:
                found = gradients[read] + found
                off = off + _floored(found.abs().amax(0)) * _SINGLE
            gradients[read] = found
            lost = _lost(off, moved)
            rise, fall = rise + lost, fall + lost
    return _Back(gradients, rise, fall, by_step)


def _back(
    leg: _Leg, gradient: Tensor, top: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield gradients of what is read, and what elements of all may be off by.

    Args:
        leg: What is passed.
        gradient: Of its result, [outputs, *result].
        top: The largest size of each element over all outputs.
    """
    if leg.alone is not None:
        # Each weight is rounded, and so is the product.
        share = 4 * leg.alone.steps * _SINGLE
        size = leg.alone.onto(top, leg.alone.weights.abs())
        yield leg.reads[0], leg.alone.back(gradient), _floored(size) * share
        return
    adjoint, size = leg.passed.turn.adjoint, _floored(top)[None]
    if adjoint.single:
        # Its result is float32 already: that rounding is one of these.
        blurs = adjoint.absolute(size * ((adjoint.fan + 8) * _SINGLE))
        for read, part, blur in zip(
            leg.reads, adjoint.signed(gradient), blurs, strict=True
        ):
            yield read, part, blur[0] * UP
        return
    blurs = adjoint.absolute(size * (adjoint.fan * OWN))
    parts = adjoint.signed(gradient.double())
    for read, part, blur in zip(leg.reads, parts, blurs, strict=True):
        single = part.float()
        largest = _floored(single.abs().amax(0))
        yield read, single, (blur[0] + largest * _SINGLE) * UP


def _floored(largest: Tensor) -> Tensor:
    """Return it in float64, with room for what float32 has no numbers for."""
    return largest.double() + 1e-37


def _lost(off: Tensor, moved: Tensor) -> Tensor:
    """Bound what is left out with parts of gradients, [perturbations, 1, inputs]."""
    lost = two_norm(off) * moved * UP
    return lost.nan_to_num(torch.inf, torch.inf)[:, None]


def _of_parts(parts: Sequence[_Back], count: int) -> list[Linearised]:
    """Put together what was found of some outputs at a time, by perturbation."""
    names, steps = parts[0].gradients, parts[0].by_step
    gradients = {name: _joined([p.gradients[name] for p in parts], 0) for name in names}
    by_step = {
        step: _joined([p.by_step[step] for p in parts], 1).norm(dim=1) for step in steps
    }
    rise, fall = (
        _joined([getattr(part, name) for part in parts], 1) for name in ("rise", "fall")
    )
    return [
        Linearised(
            *(gradients, rise[at], fall[at]),
            {step: norms[at] for step, norms in by_step.items()},
        )
        for at in range(count)
    ]


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim)
