"""Rivals: verdicts close to the golden one, and what moves an input towards them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.campaign.leads import lead_of
from stoic.campaign.scores import scores_of
from stoic.criteria import Criterion, Top1Changed, Top1Wrong, TopKLost
from stoic.network.program import Program, Values
from stoic.network.slopes import NoSlopesError
from stoic.network.smooth import aliased, floats, smoothed
from stoic.network.subject import Inputs

__all__ = ["Gather", "Rivals", "rivals_of"]

# Closer leads count as so close: the inverse leaves float32 room for what it scales.
_CLOSEST = 1e-18

Gather: TypeAlias = Mapping[str, Tensor]
"""Flat places of the words whose slopes are wanted, by stored value."""


@dataclass(frozen=True)
class Rivals:
    """How values move the leads of one input over its rivals, to first order.

    Args:
        values: Of the golden run.
        towards: By computed value, ``[rivals, *shape]``: the part of a lead that is
            lost per unit that a word rises.
        words: The same by stored value, ``[rivals, words]``, for words asked for.
        leads: Over each rival.
        others: Over the classes that were left out, ascending.
        scores: Name of the scores that are judged, where they are of classes.
        lost: So many rivals must overtake for another verdict; 0 where there is but
            one lead, and a change of it either way counts.
    """

    values: Values
    towards: Mapping[str, Tensor]
    words: Mapping[str, Tensor]
    leads: Tensor
    others: Tensor
    lost: int
    scores: str | None = None

    def alone(self, channel: Tensor, loss: Tensor) -> Tensor:
        """Return the one drift that decides where a fault moves one score alone.

        Args:
            channel: Of the score, ``[W]``.
            loss: By how much it rises, ``[W, B]``.
        """
        scores = self.values[str(self.scores)][0].double()
        order = scores.argsort(descending=True)
        best, rank = order[0], max(self.lost, 1)
        falls = -loss / (scores[best] - scores[order[rank]]).clamp(min=_CLOSEST)
        lead = (scores[best] - scores[channel])[:, None].clamp(min=_CLOSEST)
        rises = loss / lead if rank == 1 else torch.zeros_like(loss)
        return torch.where((channel == best)[:, None], falls, rises)


def rivals_of(
    program: Program,
    row: Inputs,
    criterion: Criterion,
    names: Collection[str],
    most: int,
    gather: Gather | None = None,
) -> Rivals:
    """Return the rivals of an input: one run forwards, and one backwards for each.

    Where classes are more than the rivals asked for, half of these are the closest
    ones, the others evenly spaced in the order of the leads.

    Args:
        program: Of a network whose inputs do not depend on each other.
        row: One input.
        criterion: What counts as a failure. The best class has rivals; any other
            criterion has the one lead of `lead_of`.
        names: Of computed values whose slopes are wanted.
        most: Rivals at most.
        gather: Places of words in stored values whose slopes are wanted.

    Raises:
        NoSlopesError: The network has no gradients.
    """
    gather = gather or {}
    smooth = smoothed(program, gather)
    with torch.inference_mode(False), torch.enable_grad():
        values = _run(smooth, row, names)
        output = smooth.answer(values.__getitem__)
        leads, others, lost = _leads(criterion, output, most)
        if not leads.requires_grad:
            raise NoSlopesError("network must have gradients, got a lead without any")
        towards, words = _towards(leads, values, [*names], gather)
    golden = {n: v.detach() if isinstance(v, Tensor) else v for n, v in values.items()}
    judged = scores_of(output)
    scores = [n for n in program.output_names if lost and values[n] is judged]
    name = scores[0] if scores else None
    return Rivals(golden, towards, words, leads.detach(), others, lost, name)


def _run(program: Program, row: Inputs, names: Collection[str]) -> Values:
    values = program.given(map(aliased, row.leaves))
    for step in program.steps:
        value = step(values.__getitem__)
        values[step.name] = _apart(value) if step.name in names else value
    return values


def _apart(value: Any) -> Any:
    """Return a value whose gradient is its own, also where nothing before has one."""
    if not floats(value):
        return value
    if value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def _leads(criterion: Criterion, output: Any, most: int) -> tuple[Tensor, Tensor, int]:
    """Return the leads over the rivals and over the others, and how many must win."""
    scores = scores_of(output)
    classes = isinstance(criterion, Top1Changed | Top1Wrong | TopKLost)
    if not classes or not isinstance(scores, Tensor) or scores.dim() != 2:
        return lead_of(criterion)(output), torch.empty(0, dtype=torch.float64), 0
    numbers = scores[0].double()
    order = numbers.detach().argsort(descending=True)
    leads = (numbers[order[0]] - numbers[order[1:]]).reshape(-1)
    chosen = torch.zeros(len(leads), dtype=torch.bool)
    lost = criterion.k if isinstance(criterion, TopKLost) else 1
    chosen[_places(len(leads), max(most, lost))] = True
    return leads[chosen], leads.detach()[~chosen], lost


def _places(classes: int, most: int) -> list[int]:
    """Return the closest rivals, and some evenly spaced among the others."""
    if classes <= most:
        return list(range(classes))
    near = (most + 1) // 2
    far = torch.linspace(near, classes - 1, most - near).round().long().tolist()
    return [*range(near), *far]


def _towards(
    leads: Tensor, values: Values, names: Sequence[str], gather: Gather
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    sought = [values[name] for name in (*names, *gather)]
    scales = -leads.detach().abs().clamp(min=_CLOSEST).reciprocal()
    towards: dict[str, list[Tensor]] = {name: [] for name in names}
    words: dict[str, list[Tensor]] = {name: [] for name in gather}
    for lead, scale in zip(leads, scales, strict=True):
        found = torch.autograd.grad(
            lead, sought, scale, retain_graph=True, materialize_grads=True
        )
        for name, slope in zip(names, found[: len(names)], strict=True):
            towards[name].append(slope)
        for name, slope in zip(gather, found[len(names) :], strict=True):
            words[name].append(slope.to_dense().reshape(-1)[gather[name]])
    return (
        {name: torch.stack(each) for name, each in towards.items()},
        {name: torch.stack(each) for name, each in words.items()},
    )
