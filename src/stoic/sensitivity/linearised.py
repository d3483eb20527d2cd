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

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoic.network.certified.rounding import is_plain
from stoic.sensitivity.amounts import Amounts, Sums, Weights
from stoic.sensitivity.operators.contract import OWN, UP, Alone, two_norm
from stoic.sensitivity.reach import Passed, Reach, Reaches

__all__ = ["Linearised", "linearised", "linearised_by"]

_SINGLE = 2.0**-23
# Of what float32 has no normal numbers for: some operations flush it to 0.
_FLOOR = 1e-37
# Numbers of the largest gradient at once: few enough for a cache, and for few calls.
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
    (found,) = linearised_by(reach.whole, scores, wanted)
    return found


@torch.no_grad()
def linearised_by(reaches: Reaches, scores: str, wanted: Tensor) -> list[Linearised]:
    """Return the same for several perturbations of one golden run."""
    legs = _legs(reaches, scores)
    added = {name: leg.arrived() for name, leg in legs.items()}
    value = reaches.values[scores]
    seed = wanted.float().expand(-1, *value.shape)
    largest = max(reaches.values[name].numel() for name in (scores, *legs))
    tops, plain = _Tops({}), is_plain(seed.device)
    parts = [
        _way_back(legs, added, scores, part, tops, plain=plain)
        for part in seed.split(max(1, _AT_ONCE // largest))
    ]
    lost = torch.zeros_like(reaches.moved(scores).norm)
    for name in tops.reached(legs):
        lost = lost + _lost_of(legs[name], tops)
    names = parts[0].gradients
    gradients = {name: torch.cat([p.gradients[name] for p in parts]) for name in names}
    return _together(gradients, _added(parts, added, tops), lost)


@dataclass(frozen=True)
class _Tops:
    """The largest sizes of elements of gradients over all outputs, as far as known.

    Args:
        sizes: By the name of what gradients are of, and of what was added or rounded.
    """

    sizes: dict[Hashable, Tensor]

    def note(self, name: Hashable, size: Tensor) -> None:
        """Take in those of some more outputs."""
        before = self.sizes.get(name)
        self.sizes[name] = size if before is None else torch.maximum(before, size)

    def reached(self, names: Iterable[str]) -> list[str]:
        """Return those of some values that gradients came to."""
        return [name for name in names if name in self.sizes]


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

    @property
    def name(self) -> str:
        """Of what it ends with."""
        return self.passed.call.step.name

    def arrived(self) -> list[Amounts]:
        """Return what they add, where gradients meet it."""
        return [
            amounts if way is None else amounts.through(way)
            for amounts, way in self.amounts
        ]


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
    """What one way back found, of some outputs.

    Args:
        gradients: Of each input of the program, by name.
        sums: Of what legs add, by their name.
    """

    gradients: Mapping[str, Tensor]
    sums: Mapping[str, Sequence[Sums]]


def _way_back(
    legs: Mapping[str, _Leg],
    added: Mapping[str, Sequence[Amounts]],
    scores: str,
    seed: Tensor,
    tops: _Tops,
    *,
    plain: bool,
) -> _Back:
    gradients, sums = {scores: seed}, {}
    for name, leg in reversed([*legs.items()]):
        if name not in gradients:
            continue
        gradient = gradients.pop(name)
        weights = Weights(gradient, plain=plain)
        tops.note(name, weights.top)
        sums[name] = [weights.of(amounts) for amounts in added[name]]
        for at, (read, found) in enumerate(_back(leg, gradient, tops)):
            if read in gradients:
                found = gradients[read] + found
                tops.note((name, at, "added"), found.abs().amax(0))
            gradients[read] = found
    return _Back(gradients, sums)


def _back(leg: _Leg, gradient: Tensor, tops: _Tops) -> Iterator[tuple[str, Tensor]]:
    """Yield gradients of what is read, of some outputs."""
    if leg.alone is not None:
        yield leg.reads[0], leg.alone.back(gradient)
        return
    adjoint = leg.passed.turn.adjoint
    if adjoint.single:
        yield from zip(leg.reads, adjoint.signed(gradient), strict=True)
        return
    parts = adjoint.signed(gradient.double())
    for at, (read, part) in enumerate(zip(leg.reads, parts, strict=True)):
        rounded = part.float()
        tops.note((leg.name, at, "rounded"), rounded.abs().amax(0))
        yield read, rounded


def _lost_of(leg: _Leg, tops: _Tops) -> Tensor:
    """Bound what a leg leaves out with parts of gradients, [perturbations, inputs]."""
    blurs, lost = _blurs(leg, tops.sizes[leg.name]), torch.zeros(())
    for at, (off, moved) in enumerate(zip(blurs, leg.moved, strict=True)):
        for kind in ("rounded", "added"):
            # Both are one rounding to float32 each.
            if (leg.name, at, kind) in tops.sizes:
                off = off + tops.sizes[leg.name, at, kind].double() * _SINGLE + _FLOOR
        lost = lost + (two_norm(off) * moved * UP).nan_to_num(torch.inf, torch.inf)
    return lost


def _blurs(leg: _Leg, top: Tensor) -> Iterator[Tensor]:
    """Yield what elements of gradients of what is read may be off by, of all outputs.

    Args:
        leg: What is passed.
        top: The largest size of each element of the gradient of its result.
    """
    if leg.alone is not None:
        # Each weight is rounded, and so are products: three times for a step.
        share = 2 * leg.alone.steps * _SINGLE
        yield leg.alone.onto(top, leg.alone.weights.abs()).double() * share + _FLOOR
        return
    adjoint, size = leg.passed.turn.adjoint, top.double()[None] + _FLOOR
    share = _gamma(adjoint.fan + 8) if adjoint.single else adjoint.fan * OWN
    for blur in adjoint.absolute(size * share):
        yield blur[0] * UP


def _gamma(terms: int) -> float:
    """Return what sums of so many float32 products are off by, weights rounded, too."""
    share = terms * _SINGLE / 2
    return share / (1 - share) if share < 1 else math.inf


def _added(
    parts: Sequence[_Back], added: Mapping[str, Sequence[Amounts]], tops: _Tops
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield how far each step lifts and lowers outputs, by name."""
    for name in parts[0].sums:
        every = zip(*(part.sums[name] for part in parts), strict=True)
        for amounts, sums in zip(added[name], every, strict=True):
            both = Sums.joined(sums).bounds(amounts, tops.sizes[name])
            yield amounts.step, *both


def _together(
    gradients: Mapping[str, Tensor],
    added: Iterable[tuple[str, Tensor, Tensor]],
    lost: Tensor,
) -> list[Linearised]:
    """Add up what steps add and what was lost, by perturbation."""
    by_step: dict[str, Tensor] = {}
    rise = fall = lost[:, None]
    for step, up, down in added:
        rise, fall = rise + up, fall + down
        by_step[step] = by_step.get(step, 0.0) + torch.maximum(up, down)
    norms = {step: most.norm(dim=1) for step, most in by_step.items()}
    return [
        Linearised(
            *(gradients, rise[at], fall[at]),
            {step: norm[at] for step, norm in norms.items()},
        )
        for at in range(len(lost))
    ]
