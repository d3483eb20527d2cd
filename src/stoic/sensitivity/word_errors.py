"""What words that are off by a share of their own size really do to the scores.

Nothing is bounded here: the derivative with regard to all stored words says what small
errors do on average, and in the worst direction that is found; and that is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program
from stoic.network.smooth import floats, smoothed
from stoic.network.subject import Inputs
from stoic.sensitivity.ball import Ball, lengths
from stoic.sensitivity.jacobian import Function, Jacobian, outputs
from stoic.sensitivity.local import frobenius, strongest
from stoic.sensitivity.reach import wide

__all__ = ["WordErrors", "word_errors"]

# Ways back: outputs are asked one by one where there are no more than that.
_STEPS = 10


@dataclass(frozen=True)
class WordErrors:
    """How far scores move per relative error of the words, in the 2-norm; [inputs].

    Args:
        local: By the derivative, in the worst direction that was found.
        average: By the derivative, with the sign of each word's error drawn by lot.
        measured: By words that are off so far in that direction.
    """

    local: Tensor
    average: Tensor
    measured: Tensor


def word_errors(
    program: Program, given: Inputs, scores: str, size: float, seed: int = 0
) -> WordErrors:
    """Ask each input for itself: words that are bad for one are not for another.

    Args:
        program: Captured.
        given: The inputs.
        scores: The value that is judged, [inputs, scores].
        size: Relative error of every word, at most.
        seed: Of directions and signs.
    """
    rows = [given.rows(row, row + 1).leaves for row in range(given.count)]
    found = [_of_one(*_of_words(program, own, scores), size, seed) for own in rows]
    return WordErrors(*(torch.cat(each) for each in zip(*found, strict=True)))


def _of_one(
    f: Function, still: Tensor, size: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    if not still.numel():
        nothing = torch.zeros(1, dtype=torch.float64)
        return nothing, nothing, nothing
    ball = Ball(torch.tensor([size], dtype=torch.float64), torch.inf)
    jacobian = Jacobian(f, still)
    worst = strongest(jacobian, ball.steepest, _STEPS, seed)
    moved = [outputs(f, ball.edge(still, way)) - jacobian.y for way in (worst, -worst)]
    measured = torch.stack([*map(lengths, moved)]).amax(0) / size
    average = frobenius(f, still, seed=seed).value
    return lengths(jacobian.forth(worst)).detach(), average, measured


def _of_words(
    program: Program, leaves: Sequence[Any], scores: str
) -> tuple[Function, Tensor]:
    """Return scores as a function of all words' relative errors, and no errors."""
    ours = wide(smoothed(program))
    golden = ours.given([leaf.double() if floats(leaf) else leaf for leaf in leaves])
    # Stored values that are one tensor of the network are off together.
    places = {n: ours.origins.get(n, (n,))[0] for n, v in ours.stored.items()}
    sizes = {places[n]: v.numel() for n, v in ours.stored.items() if floats(v)}

    def f(errors: Tensor) -> Tensor:
        parts = errors[0].split([*sizes.values()])
        off = dict(zip(sizes, parts, strict=True))
        values = dict(golden)
        for name, value in ours.stored.items():
            if floats(value):
                values[name] = value * (1 + off[places[name]].reshape(value.shape))
        for step in ours.steps:
            values[step.name] = step(values.__getitem__)
        found: Tensor = values[scores]
        return found

    return f, torch.zeros(1, sum(sizes.values()), dtype=torch.float64)
