"""Leads: how far an output is from another verdict, as numbers with gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.campaign.scores import scores_of
from stoic.criteria import (
    Criterion,
    Threshold,
    Tolerance,
    Top1Changed,
    Top1Wrong,
    TopKLost,
)
from stoic.network.slopes import Lead, NoSlopesError

__all__ = ["lead_of"]


def lead_of(criterion: Criterion) -> Lead:
    """Return what gives the leads of fault-free outputs under a criterion.

    They are float64, one per input, and have a gradient. For classes: how far the
    golden class is ahead of the best other one, or of the ``k``-th best. For a
    threshold: how far above it the nearest score is. For a tolerance: 1, with the
    gradient of a swing of scores that are each divided by what they may be off. For
    anything else, or scores that the criterion does not judge: the scores' root mean
    square, with the gradient of their swing.

    The *swing* is an input's sum of scores under random signs, always the same ones: it
    moves about as far as all scores do together. A lead is never closer than a rounding
    of the largest score.

    The leads raise ``NoSlopesError`` for an output without floating scores.
    """
    return partial(_lead, criterion)


def _lead(criterion: Criterion, output: Any) -> Tensor:
    scores = _floating(output)
    if scores is not scores_of(output):
        return _usual_size(scores)
    match criterion:
        case Top1Changed() | Top1Wrong() if _ranks(scores, 1):
            return _over_others(scores, 1)
        case TopKLost(k) if _ranks(scores, k):
            return _over_others(scores, k)
        case Threshold(level):
            return _over_level(scores, level)
        case Tolerance():
            return _within(scores, criterion)
    return _usual_size(scores)


def _floating(output: Any) -> Tensor:
    """Return the scores of an output, or its first tensor that can take their place."""
    found = [leaf for leaf in pytree.tree_leaves(output) if _has_rows(leaf)]
    if not found:
        raise NoSlopesError("output must hold floating scores for slopes, got none")
    scores = scores_of(output)
    return scores if _has_rows(scores) else found[0]


def _has_rows(leaf: Any) -> bool:
    floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return floating and leaf.dim() > 0 and leaf.numel() > 0


def _ranks(scores: Tensor, others: int) -> bool:
    """Say whether scores are of classes, with so many beside the golden one."""
    return scores.dim() == 2 and scores.shape[1] > others


def _over_others(scores: Tensor, rank: int) -> Tensor:
    classes, numbers = scores.detach().argmax(-1, keepdim=True), scores.double()
    own = numbers.gather(-1, classes).squeeze(-1)
    others = numbers.scatter(-1, classes, -torch.inf).topk(rank).values[:, -1]
    return _no_closer(own - others, scores)


def _over_level(scores: Tensor, level: float) -> Tensor:
    above = _flat(scores) - level
    nearest = above.detach().abs().argmin(1, keepdim=True)
    return _no_closer(above.gather(1, nearest).squeeze(1), scores)


def _within(scores: Tensor, criterion: Tolerance) -> Tensor:
    flat = _flat(scores)
    allowed = criterion.absolute + criterion.relative * flat.detach().abs()
    shares = flat / allowed.maximum(_rounding(scores)[:, None])
    return _moved_by(torch.ones_like(shares[:, 0]), -_swing(shares))


def _usual_size(scores: Tensor) -> Tensor:
    flat = _flat(scores)
    return _moved_by(flat.detach().square().mean(1).sqrt(), _swing(flat))


def _flat(scores: Tensor) -> Tensor:
    return scores.double().reshape(len(scores), -1)


def _swing(flat: Tensor) -> Tensor:
    """Return the sum of each row under signs that hang on its length alone."""
    chance = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, flat.shape[1:], generator=chance) * 2 - 1
    return flat @ signs.to(flat)


def _no_closer(lead: Tensor, scores: Tensor) -> Tensor:
    """Return leads, those that rounding may have made as far as it reaches."""
    size = lead.detach().abs().maximum(_rounding(scores))
    return _moved_by(size.copysign(lead.detach()), lead)


def _rounding(scores: Tensor) -> Tensor:
    """Return a rounding of the largest score of each row."""
    return torch.finfo(scores.dtype).eps * _flat(scores.detach()).abs().amax(1)


def _moved_by(value: Tensor, moving: Tensor) -> Tensor:
    """Return numbers that have the gradient of others."""
    return value + (moving - moving.detach())
