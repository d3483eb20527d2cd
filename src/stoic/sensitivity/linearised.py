"""Backwards: where the golden derivative leads, and how far a run can be from there.

With f the network, J its derivative at the golden values, d the inputs' deviation, and
e all that steps add by themselves (rounding, wrong words, and how far each bends away
from its own golden derivative), it holds exactly that

    f(perturbed) - f(golden) = J d + sum over steps of J_step e_step.

Nothing is left out, so a bound of each e bounds the whole, however far the inputs move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.sensitivity.operators.contract import OWN, UP, Turn
from stoic.sensitivity.reach import Passed, Reach

__all__ = ["Linearised", "linearised"]


@dataclass(frozen=True)
class Linearised:
    """How far outputs may move, by where that comes from.

    Args:
        gradients: Of each input of the program at golden values, [outputs, *input].
        slack: What each gradient may be off by, [1, *input].
        bends: Bound of what bends move each output by, [outputs, inputs].
        rounding: The same of rounding.
        wrong: The same of wrong stored words.
        by_step: 2-norm over outputs of both, of each step by name, [inputs].
    """

    gradients: Mapping[str, Tensor]
    slack: Mapping[str, Tensor]
    bends: Tensor
    rounding: Tensor
    wrong: Tensor
    by_step: Mapping[str, Tensor]


@torch.no_grad()
def linearised(reach: Reach, scores: str, wanted: Tensor) -> Linearised:
    """Return bounds of how far the wanted sums of scores may move.

    Args:
        reach: All that is reachable.
        scores: The value that is judged.
        wanted: Weights of the scores, [outputs, inputs or 1, *scores].
    """
    value = reach.values[scores]
    seed = wanted.double().expand(-1, *value.shape)
    way = _WayBack({scores: seed}, {scores: torch.zeros_like(seed[:1])}, seed)
    for passed in reversed([*reach.passed.values()]):
        if passed.call.step.name in way.gradients:
            way.through(passed)
    bends, rounding, wrong = way.sums
    return Linearised(way.gradients, way.slack, bends, rounding, wrong, way.by_step)


class _WayBack:
    """What is known while steps are passed, last one first."""

    def __init__(
        self, gradients: dict[str, Tensor], slack: dict[str, Tensor], seed: Tensor
    ) -> None:
        self.gradients, self.slack = gradients, slack
        self.sums = [seed.new_zeros(seed.shape[:2]) for _ in range(3)]
        self.by_step: dict[str, Tensor] = {}

    def through(self, passed: Passed) -> None:
        """Add what a step adds, and go on to what it reads."""
        name, turn = passed.call.step.name, passed.turn
        gradient, slack = self.gradients.pop(name), self.slack.pop(name)
        size = gradient.abs() + slack
        parts = (
            _bent(size, turn),
            _weighted(size, passed.rounding),
            _weighted(size, passed.wrong),
        )
        self.sums = [total + part for total, part in zip(self.sums, parts, strict=True)]
        self.by_step[name] = torch.stack(parts).sum(0).norm(dim=0)
        adjoint = turn.adjoint
        blur = slack + gradient.abs().amax(0, keepdim=True) * (OWN * adjoint.fan)
        back = adjoint.signed(gradient), adjoint.absolute(blur)
        for read, signed, off in zip(passed.call.reads, *back, strict=True):
            _add(self.gradients, read, signed)
            _add(self.slack, read, off * UP)


def _bent(size: Tensor, turn: Turn) -> Tensor:
    """Bound by elements, or by the rows' norms times that of the bend."""
    if isinstance(turn.bend, float):
        return size.new_zeros(size.shape[:2])
    rows = (size * (turn.bend > 0)).flatten(2).norm(dim=2) * UP
    return torch.minimum(_weighted(size, turn.bend), _known(rows * turn.bend_norm))


def _weighted(size: Tensor, amounts: Tensor) -> Tensor:
    """Return sums of absolute gradients times amounts, [outputs, inputs]."""
    return _known((size * amounts).flatten(2).sum(2) * UP)


def _known(sizes: Tensor) -> Tensor:
    """What is not a number is not known, and so infinite."""
    return sizes.nan_to_num(torch.inf, torch.inf)


def _add(found: dict[str, Tensor], name: str, part: Tensor) -> None:
    found[name] = found[name] + part if name in found else part
