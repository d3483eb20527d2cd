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

from stoic.sensitivity.amounts import Amounts, Weights
from stoic.sensitivity.operators.contract import OWN, UP, Alone, two_norm
from stoic.sensitivity.reach import Passed, Reach

__all__ = ["Linearised", "linearised", "linearised_by"]

_SINGLE = 2.0**-23
# Numbers of the largest gradient at once: what is larger does not stay in a cache.
_AT_ONCE = 1 << 22


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
    (found,) = linearised_by([reach], scores, wanted)
    return found


@torch.no_grad()
def linearised_by(
    reaches: Sequence[Reach], scores: str, wanted: Tensor
) -> list[Linearised]:
    """Return the same for several perturbations of one golden run."""
    legs = _legs(reaches, scores)
    value = reaches[0].values[scores]
    seed = wanted.float().expand(-1, *value.shape)
    largest = max(reaches[0].values[name].numel() for name in (scores, *legs))
    parts = [
        _way_back(legs, scores, part)
        for part in seed.split(max(1, _AT_ONCE // largest))
    ]
    return [_of_parts(parts, at) for at in range(len(reaches))]


@dataclass(frozen=True)
class _Leg:
    """Steps that gradients pass at once.

    Args:
        passed: The last of them, for each perturbation.
        reads: What the first of them reads.
        moved: 2-norm of how far each of that may move, [perturbations, inputs].
        amounts: What they add, and what came to them element by element.
        alone: Their derivative, if elements are kept apart.
    """

    passed: Passed
    reads: tuple[str, ...]
    moved: tuple[Tensor, ...]
    amounts: tuple[Amounts, ...]
    alone: Alone | None


def _legs(reaches: Sequence[Reach], scores: str) -> dict[str, _Leg]:
    """Join steps that keep elements apart, by the value that they end with."""
    every = [*reaches[0].passed.values()]
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
        carried = tuple(each.through(alone) for each in before.amounts)
        if before.alone is None:
            legs[read] = replace(before, amounts=())
        else:
            del legs[read]
            both = alone.after(before.alone)
            leg = replace(leg, reads=before.reads, moved=before.moved, alone=both)
        legs[name] = replace(leg, amounts=carried + leg.amounts)
    return legs


def _leg(reaches: Sequence[Reach], passed: Passed) -> _Leg:
    name, reads = passed.call.step.name, passed.call.reads
    each = [reach.passed[name] for reach in reaches]
    moved = tuple(
        torch.stack([reach.moved(read).norm for reach in reaches]) for read in reads
    )
    amounts = []
    if any(isinstance(one.source, Tensor) for one in each):
        zero = torch.zeros_like(passed.call.result)
        amounts.append(Amounts.of(name, [zero + one.source for one in each]))
    turns = [one.turn for one in each]
    bends = [turn.bend for turn in turns if isinstance(turn.bend, Tensor)]
    if len(bends) == len(turns) and any(bool(bend.any()) for bend in bends):
        bent = Amounts.of(name, bends, convex=passed.turn.convex)
        norms = [turn.bend_norm for turn in turns if isinstance(turn.bend_norm, Tensor)]
        amounts.append(bent.bounded(norms) if len(norms) == len(turns) else bent)
    return _Leg(passed, reads, moved, tuple(amounts), passed.turn.alone)


@dataclass(frozen=True)
class _Back:
    """What one way back found, of some outputs."""

    gradients: Mapping[str, Tensor]
    rise: Tensor
    fall: Tensor
    by_step: Mapping[str, Tensor]


def _way_back(legs: Mapping[str, _Leg], scores: str, seed: Tensor) -> _Back:
    gradients = {scores: seed}
    rise = fall = torch.zeros(())
    by_step: dict[str, Tensor] = {}
    for name, leg in reversed([*legs.items()]):
        if name not in gradients:
            continue
        gradient = gradients.pop(name)
        weights = Weights(gradient) if leg.amounts else None
        for amounts in leg.amounts:
            assert weights is not None
            up, down = weights.of(amounts)
            rise, fall = rise + up, fall + down
            most = torch.maximum(up, down)
            by_step[amounts.step] = by_step.get(amounts.step, 0.0) + most
        for moved, (read, found, off) in zip(
            leg.moved, _back(leg, gradient), strict=True
        ):
            if read in gradients:
                found = gradients[read] + found
                off = off + _largest(found) * _SINGLE
            gradients[read] = found
            lost = _lost(off, moved)
            rise, fall = rise + lost, fall + lost
    return _Back(gradients, rise, fall, by_step)


def _back(leg: _Leg, gradient: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield gradients of what is read, and what elements of all may be off by."""
    if leg.alone is not None:
        found = leg.alone.spread(gradient) * leg.alone.weights
        # Each weight is rounded, and so is the product.
        yield leg.reads[0], found, _largest(found) * (4 * leg.alone.steps * _SINGLE)
        return
    adjoint, size = leg.passed.turn.adjoint, _largest(gradient)
    if adjoint.single:
        parts, share = adjoint.signed(gradient), (adjoint.fan + 8) * _SINGLE
    else:
        parts, share = adjoint.signed(gradient.double()), adjoint.fan * OWN
    blurs = adjoint.absolute(size * share)
    for read, part, blur in zip(leg.reads, parts, blurs, strict=True):
        single = part.float()
        yield read, single, (blur + _largest(single) * _SINGLE) * UP


def _largest(gradient: Tensor) -> Tensor:
    """Return the largest size of each element over all outputs, and a floor."""
    return gradient.abs().amax(0, keepdim=True).double() + 1e-37


def _lost(off: Tensor, moved: Tensor) -> Tensor:
    """Bound what is left out with parts of gradients, [perturbations, 1, inputs]."""
    lost = two_norm(off[0]) * moved * UP
    return lost.nan_to_num(torch.inf, torch.inf)[:, None]


def _of_parts(parts: Sequence[_Back], at: int) -> Linearised:
    """Put together what was found of some outputs at a time."""
    names = parts[0].gradients
    return Linearised(
        {name: torch.cat([part.gradients[name] for part in parts]) for name in names},
        torch.cat([part.rise[at] for part in parts]),
        torch.cat([part.fall[at] for part in parts]),
        {
            step: torch.cat([part.by_step[step][at] for part in parts]).norm(dim=0)
            for step in parts[0].by_step
        },
    )
