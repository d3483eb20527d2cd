"""How far the scores of a network can move under a perturbation, by three bounds.

Each holds for everything that the perturbation allows, however far that is, and so does
the smallest of them:

- *product*: norms of operators multiplied, from step to step;
- *interval*: how far each element can move, or all together, whichever is less;
- *linearised*: where the golden derivative leads, and how far the rest can bend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program
from stoic.network.smooth import floats
from stoic.sensitivity.gains import gain_by_norms
from stoic.sensitivity.linearised import Linearised, linearised, linearised_by
from stoic.sensitivity.norms import Store
from stoic.sensitivity.operators.contract import OWN, UP, two_norm
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import Reach, Reaches, reached, reached_by

__all__ = ["Condition", "condition", "conditions", "inputs_at_once", "kept"]

# More scores than these are not followed back one by one.
_MOST_SCORES = 128
# Differences of scores times inputs that are followed back at once, for memory's sake.
_MOST_ROWS = 128
# Numbers of the largest value of all inputs that are bounded together.
_CACHED = 1 << 18


@dataclass(frozen=True)
class Condition:
    """How far the scores of each input move, in the 2-norm; all [inputs], float64.

    Args:
        product: At most, by norms of operators alone.
        interval: At most, by elements and norms.
        linearised: At most, by the golden derivative and what bends away from it;
            infinite where there are too many scores to follow each.
        local: What the golden derivative alone makes of the worst deviation of the
            inputs: reached by small ones, up to what bends.
        average: The same of a random deviation, as a root of mean squares.
        perturbed: 2-norm of the inputs' deviation.
        scores: 2-norm of the scores.
        by_step: What each step adds at most, by name: rounding, wrong words and bends.
    """

    product: Tensor
    interval: Tensor
    linearised: Tensor
    local: Tensor
    average: Tensor
    perturbed: Tensor
    scores: Tensor
    by_step: Mapping[str, Tensor]

    @property
    def certified(self) -> Tensor:
        """The smallest bound."""
        bounds = torch.stack([self.product, self.interval, self.linearised])
        return bounds.nan_to_num(math.inf, math.inf).amin(0)

    def number(self, moved: Tensor, relative: float) -> Tensor:
        """Return the condition number: relative change of scores per relative size.

        Scores that are all 0, or denormal, have no relative change: NaN.
        """
        tiny = torch.finfo(torch.float32).tiny
        number = moved / self.scores / relative
        return torch.where(self.scores >= tiny, number, math.nan)


def condition(
    program: Program,
    leaves: Sequence[Any],
    scores: str,
    perturbation: Perturbation,
    store: Store | None = None,
) -> Condition:
    """Bound how far the scores of a batch can move.

    Args:
        program: Captured.
        leaves: The batch, one entry per input of the program.
        scores: The value that is judged, [inputs, scores].
        perturbation: What may differ.
        store: Norms that are kept from batch to batch.

    Raises:
        NotKnownError: An operator has no bound.
        ValueError: A golden value is not finite.
    """
    (found,) = conditions(program, leaves, scores, [perturbation], store)
    return found


def inputs_at_once(program: Program, leaves: Sequence[Any]) -> int:
    """Return how many inputs are best bounded together: few enough for a cache.

    Args:
        program: Captured.
        leaves: One input.
    """
    values = program.run(leaves)
    made = [values[step.name] for step in program.steps if step.name in values]
    largest: int = max((each.numel() for each in made if floats(each)), default=1)
    return max(1, _CACHED // largest)


def conditions(
    program: Program,
    leaves: Sequence[Any],
    scores: str,
    perturbations: Sequence[Perturbation],
    store: Store | None = None,
) -> list[Condition]:
    """Return the same for several perturbations, in one golden run and one way back.

    Arguments and errors are those of `condition`.
    """
    gain = gain_by_norms({} if store is None else store)
    reaches = reached_by(program, leaves, perturbations, gain)
    judged = reaches.values[scores]
    # Scores that nothing moves are refused before any way back.
    reaches.moved(scores)
    count = judged[0].numel()
    if count > _MOST_SCORES:
        return [_condition(reaches, at, scores) for at in range(len(perturbations))]
    wanted = torch.eye(count).reshape(count, 1, *judged.shape[1:])
    ways = linearised_by(reaches, scores, wanted)
    golden = _Golden.of(ways[0], reaches)
    return [_condition(reaches, at, scores, way, golden) for at, way in enumerate(ways)]


def _condition(
    reaches: Reaches,
    at: int,
    scores: str,
    way: Linearised | None = None,
    golden: _Golden | None = None,
) -> Condition:
    judged = reaches.values[scores]
    unknown = torch.full((len(judged),), math.inf, dtype=torch.float64)
    bound = local = average = unknown
    if way is not None and golden is not None:
        local, average = golden.local[at], golden.average[at]
        bound = _total(way.most, local, golden.boxed[at]) * UP
    norms = [moved.norm[at] for moved in reaches.given.values()]
    return Condition(
        product=reaches.product(scores)[at],
        interval=reaches.moved(scores).norm[at],
        linearised=bound,
        local=local,
        average=average,
        perturbed=_root_of_squares(norms, len(judged)),
        scores=two_norm(judged.abs()),
        by_step={} if way is None else way.by_step,
    )


@dataclass(frozen=True)
class _Golden:
    """What the golden derivative makes of deviations, by perturbation.

    Args:
        local: Of the worst one of the inputs, [perturbations, inputs].
        average: Of a random one, likewise.
        boxed: Of each output at most, by elements,
            [perturbations, outputs, inputs].
    """

    local: Tensor
    average: Tensor
    boxed: Tensor

    @classmethod
    def of(cls, way: Linearised, reaches: Reaches) -> _Golden:
        """Look at the gradients of all inputs, which are those of any perturbation."""
        outputs, inputs = way.rise.shape
        local = square = way.rise.new_zeros(len(reaches.wrong), inputs)
        boxed = local[:, None].expand(-1, outputs, -1)
        for name, moved in reaches.given.items():
            if name not in way.gradients:
                continue
            rows = way.gradients[name].flatten(2).transpose(0, 1).double()
            local = local + _spectral(rows) * moved.norm
            mean = rows.square().sum((1, 2)) / rows.shape[2]
            square = square + mean * moved.norm.square()
            most = moved.most.double().flatten(2).permute(1, 2, 0)
            boxed = boxed + torch.bmm(rows.abs(), most).permute(2, 1, 0)
        return cls(local, square.nan_to_num(math.inf, math.inf).sqrt(), boxed)


def _spectral(rows: Tensor) -> Tensor:
    """Return the 2-norm of [inputs, outputs, elements], rounded up.

    It is infinite where a slope is: of a root at 0.
    """
    top = rows.abs().amax((1, 2))
    known = top.isfinite()
    scale = top.where(known & (top > 0), 1.0)
    scaled = (rows / scale[:, None, None]).where(known[:, None, None], 0.0)
    gram = scaled @ scaled.mT
    largest: Tensor = torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0.0)
    # A product is off by as many roundings as it has terms, in each of the columns.
    slack = rows.shape[1] * (rows.shape[1] + rows.shape[2]) * OWN
    return ((largest * (1 + slack)).sqrt() * scale * UP).where(known, math.inf)


def _total(rest: Tensor, local: Tensor, boxed: Tensor) -> Tensor:
    """Add what was left out of the golden derivative, [outputs, inputs].

    A box about the inputs is bounded by elements as well.
    """
    least = torch.minimum(local + rest.norm(dim=0), (rest + boxed).norm(dim=0))
    return least.nan_to_num(math.inf, math.inf)


def _root_of_squares(norms: Sequence[Tensor], count: int) -> Tensor:
    """Return the 2-norm of several values of each input; 0 of none."""
    if not norms:
        return torch.zeros(count, dtype=torch.float64)
    found: Tensor = torch.stack([*norms]).norm(dim=0)
    return found


def kept(
    program: Program,
    leaves: Sequence[Any],
    scores: str,
    perturbation: Perturbation,
    store: Store | None = None,
    decisions: Tensor | None = None,
) -> Tensor:
    """Return for which inputs the best score provably stays the best, [inputs].

    Arguments and errors are those of `condition`; the perturbation is one of stored
    words or values, not of the inputs. With ``decisions``, [inputs], these scores have
    to be the best, whichever are.
    """
    gain = gain_by_norms({} if store is None else store)
    reach = reached(program, leaves, perturbation, gain)
    judged, most = reach.values[scores], reach.moved(scores).most
    best = (judged.argmax(1) if decisions is None else decisions)[:, None]
    lead = judged.gather(1, best) - judged
    # The interval bound alone keeps all others behind.
    near = (lead <= (most.gather(1, best) + most) * UP).scatter(1, best, False)
    order = lead.where(near, math.inf).argsort(1)
    lost = torch.zeros(len(judged), dtype=torch.bool)
    for ranks in _in_turn(int(near.sum(1).max()), _MOST_ROWS // len(judged)):
        rivals = order[:, ranks]
        asked = near.gather(1, rivals) & ~lost[:, None]
        if not bool(asked.any()):
            break
        shift = _shift(reach, scores, best, rivals, asked)
        lost |= (asked & ~(shift < lead.gather(1, rivals))).any(1)
    return ~lost


def _in_turn(count: int, at_once: int) -> Iterator[slice]:
    """Yield ranks: the first alone, as most that are lost are lost to it."""
    yield slice(0, 1)
    for start in range(1, count, max(at_once, 1)):
        yield slice(start, min(start + max(at_once, 1), count))


def _shift(
    reach: Reach, scores: str, best: Tensor, rivals: Tensor, asked: Tensor
) -> Tensor:
    """Return how far the best score may lose on each rival, [inputs, rivals]."""
    ours = torch.eye(reach.values[scores].shape[1], dtype=torch.float64)
    wanted = (ours[best] - ours[rivals]) * asked[..., None]
    way = linearised(reach, scores, wanted.transpose(0, 1))
    return way.fall.T
