"""How far rounding moves scores: by errors drawn by lot, and in earnest.

On average: every stored word is off by what its format really makes of it, with a sign
by lot; every computed value that is rounded is off by a number that lies evenly between
half a step below and above. The network itself is run as it is, in float64: nothing is
taken for straight. Sums inside an operator are taken for exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program, Values
from stoic.network.smooth import floats
from stoic.network.subject import Inputs
from stoic.sensitivity.operators.contract import beside
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import NotKnownError, in_format, reached, wide

__all__ = ["average_rounding", "measured_rounding", "rounded"]


@torch.no_grad()
def average_rounding(
    program: Program,
    leaves: Sequence[Any],
    scores: str,
    dtype: torch.dtype,
    probes: int = 8,
    seed: int = 0,
) -> Tensor:
    """Return the 2-norm by which scores move, as a root of mean squares, [inputs].

    Args:
        program: Captured, of a network in float32.
        leaves: The batch, one entry per input of the program, in numbers of the format.
        scores: The value that is judged.
        dtype: The format.
        probes: Runs with errors by lot.
        seed: Of the lot.

    Raises:
        NotKnownError: Of an operator it is not known whether its result is rounded.
        ValueError: A golden value is not finite.
    """
    reach = reached(program, leaves, Perturbation())
    rounded = {name for name, passed in reach.passed.items() if passed.turn.terms > 0}
    chance = torch.Generator().manual_seed(seed)
    golden, squares = reach.values[scores], []
    for _ in range(probes):
        values = _stored(reach.program, dtype, chance)
        values |= {name: reach.values[name] for name in reach.program.inputs}
        for step in reach.program.steps:
            values[step.name] = step(values.__getitem__)
            if step.name in rounded:
                values[step.name] = _shaken(values[step.name], dtype, chance)
        squares.append((values[scores] - golden).flatten(1).square().sum(1))
    mean: Tensor = torch.stack(squares).mean(0)
    return mean.sqrt()


@torch.inference_mode()
def measured_rounding(
    program: Program, leaves: Sequence[Any], scores: str, dtype: torch.dtype
) -> Tensor:
    """Return the 2-norm by which scores of a run in a format are off, [inputs].

    Args:
        program: Captured.
        leaves: The batch, one entry per input of the program, in numbers of the format.
        scores: The value that is judged.
        dtype: The format.

    Raises:
        RuntimeError: An operator does not run in the format.
    """

    def run(dtype: torch.dtype) -> Tensor:
        given = (each.to(dtype) if floats(each) else each for each in leaves)
        found: Tensor = in_format(program, dtype).run(given)[scores]
        return found.double()

    off: Tensor = (run(dtype) - run(torch.float64)).flatten(1).norm(dim=1)
    return off


def rounded(
    program: Program, part: Inputs, scores: str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return how far scores of a batch move, ``average`` and ``measured``, [inputs].

    What cannot be had is left out: an average where it is not known what is rounded, a
    measurement where an operator does not run in the format; and inputs whose numbers
    overflow have none.

    Args:
        program: Captured, of a network in float32.
        part: The batch; its numbers are rounded to the format first.
        scores: The value that is judged.
        dtype: The format.
    """
    given, fits = _given(part, dtype)
    found = {}
    with suppress(NotKnownError):
        found["average"] = average_rounding(program, given, scores, dtype)
    with suppress(RuntimeError):
        off = measured_rounding(program, given, scores, dtype)
        found["measured"] = off.where(off.isfinite(), torch.nan)
    return {name: moved.where(fits, torch.nan) for name, moved in found.items()}


def _given(part: Inputs, dtype: torch.dtype) -> tuple[list[Any], Tensor]:
    """Return a batch in numbers of a format, and which inputs do not overflow there.

    Those that do stay as they are, as a run refuses what is not finite.
    """
    given, fits = [*part.leaves], torch.ones(part.count, dtype=torch.bool)
    floating = [at for at, x in enumerate(given) if floats(x) and x.dim()]
    for at in floating:
        fits = fits & given[at].to(dtype).isfinite().flatten(1).all(1)
    for at in floating:
        x = given[at]
        given[at] = x.to(dtype).to(x.dtype).where(beside(fits, x), x)
    return given, fits


def _stored(program: Program, dtype: torch.dtype, chance: torch.Generator) -> Values:
    """Return stored values that are off by their rounding, up or down by lot."""
    return {
        name: _turned(value, dtype, chance) if floats(value) else value
        for name, value in wide(program).stored.items()
    }


def _turned(value: Tensor, dtype: torch.dtype, chance: torch.Generator) -> Tensor:
    error = value.to(dtype).double() - value
    return value + error * _lot(value, chance).sign()


def _shaken(value: Tensor, dtype: torch.dtype, chance: torch.Generator) -> Tensor:
    """Add what lies evenly within half a step of the format, where the value lies."""
    _, exponent = torch.frexp(value)
    step = torch.ldexp(torch.full_like(value, torch.finfo(dtype).eps), exponent - 1)
    return value + (step / 2 * _lot(value, chance)).where(value != 0, 0.0)


def _lot(value: Tensor, chance: torch.Generator) -> Tensor:
    """Return numbers evenly between -1 and 1."""
    return torch.rand(value.shape, generator=chance, dtype=torch.float64) * 2 - 1
