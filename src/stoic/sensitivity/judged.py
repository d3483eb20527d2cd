"""The value of a program that is judged, and that golden runs give numbers for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.campaign.scores import scores_of
from stoic.network.program import Program
from stoic.network.smooth import floats
from stoic.network.subject import Inputs

__all__ = ["NotFiniteError", "check_finite", "judged_value", "score_sizes"]


class NotFiniteError(ValueError):
    """Golden values of an input are not finite; the message names it and a step.

    Args:
        step: Whose result it is.
        row: The first such input.
    """

    def __init__(self, step: str, row: int) -> None:
        super().__init__(
            f"golden values must be finite, got others in {step} for input {row}; "
            "mend the network or leave that input out"
        )
        self.step, self.row = step, row

    def behind(self, count: int) -> NotFiniteError:
        """Return the same, where so many inputs come before."""
        return NotFiniteError(self.step, count + self.row)

    @classmethod
    def of(cls, step: str, value: Tensor) -> NotFiniteError:
        """Find the first row that is not finite."""
        rows = value.reshape(*value.shape[:1], -1)
        return cls(step, int((~rows.isfinite().all(-1)).nonzero()[0]))


def judged_value(program: Program, given: Inputs) -> str:
    """Return the name of the value that holds the scores.

    Raises:
        ValueError: The output is no scores.
    """
    values = program.run(given.rows(0, min(2, given.count)).leaves)
    scores = scores_of(program.answer(values.__getitem__))
    if scores.dim() != 2 or not scores.is_floating_point():
        raise ValueError(
            "output must be scores, [inputs, classes], got a tensor of shape "
            f"{tuple(scores.shape)}; wrap the network in one that gives such scores"
        )
    return next(name for name in program.output_names if values[name] is scores)


@torch.inference_mode()
def check_finite(program: Program, given: Inputs, batch: int = 32) -> None:
    """Refuse inputs on which the output is not finite.

    Raises:
        NotFiniteError: Naming the first.
    """
    for place, part in enumerate(given.batches(batch)):
        answer = program.answer(program.run(part.leaves).__getitem__)
        for leaf in filter(floats, pytree.tree_leaves(answer)):
            if not bool(leaf.isfinite().all()):
                error = NotFiniteError.of("the network's output", leaf)
                raise error.behind(place * batch)


@torch.inference_mode()
def score_sizes(
    program: Program, given: Inputs, scores: str, batch: int = 32
) -> Tensor:
    """Return the 2-norm of each input's scores; not a number where it is 0 or denormal.

    Raises:
        ValueError: No input has any other, so that nothing relative can be said.
    """
    parts = [program.run(part.leaves)[scores] for part in given.batches(batch)]
    found = torch.cat(parts).double().norm(dim=1)
    known = found >= torch.finfo(torch.float32).tiny
    if not bool(known.any()):
        raise ValueError(
            "scores must be other than 0 for a relative change, got scores that are "
            f"all 0 or denormal for each of {given.count} inputs; choose other inputs"
        )
    sizes: Tensor = found.where(known, torch.nan)
    return sizes
