"""Thresholds: how far a stored word may move before a verdict could turn.

A changed weight moves the result of the one step that reads it in proportion to the
change. From there on every step carries bounds of deviations in absolute numbers, so
the most that a score can move is a sum over the places where the weight acts, each with
a gain. The gains of all places come from one pass backwards over the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stoic.network.certified.backward import backward
from stoic.network.certified.rounding import is_plain
from stoic.network.program import Program, Values, refs
from stoic.network.subject import Inputs

__all__ = ["is_alone", "thresholds", "thresholds_of"]


@torch.no_grad()
def thresholds(
    program: Program,
    inputs: Inputs,
    clearance: Tensor,
    names: Sequence[str],
    scores: str,
) -> dict[str, Tensor]:
    """Return how far each stored word may move with no verdict turned.

    What is proved: if the word of element e becomes a finite one that is less than
    T[i, e] away, then every score of input i stays finite and moves by less than the
    clearance of that input. It holds for runs on the same inputs in the same number,
    threads and layout: what the fault does not reach must have the same words, upstream
    and in the other channels of the step that reads it.

    Args:
        program: What is run, on a CPU.
        inputs: On which it is run.
        clearance: Of each input: a change of its scores below this turns no verdict.
        names: Stored values whose words may change, one word at a time.
        scores: The value that is judged, with one row per input.

    Returns:
        By name, float64 of shape [inputs, elements], elements in row-major order: T,
        which is 0 where nothing is proved, and at most 1e60.
    """
    with torch.inference_mode():
        values = program.run(inputs.leaves)
    return thresholds_of(program, values, clearance, names, scores)


@torch.no_grad()
def thresholds_of(
    program: Program,
    values: Values,
    clearance: Tensor,
    names: Sequence[str],
    scores: str,
) -> dict[str, Tensor]:
    """Return the same as `thresholds` for all values of a run, or of several."""
    found = {
        name: torch.zeros(len(clearance), values[name].numel(), dtype=torch.float64)
        for name in names
    }
    if not is_plain(values[scores].device):
        return found
    alone = {name for name in names if is_alone(program, name)}
    with torch.inference_mode(False), torch.no_grad():
        for place in backward(program, values, clearance.double(), scores):
            for name in alone & place.bound.stored.keys():
                found[name] = place.limit(name)
    return found


def is_alone(program: Program, name: str) -> bool:
    """Say whether one step reads a stored value, in one place, and nobody shares it."""
    readers = program.readers.get(name, ())
    places = [n for s in readers for n in refs((s.args, dict(s.kwargs))) if n == name]
    tensor = program.stored[name]
    storage = tensor.untyped_storage().data_ptr()
    sharing = [
        other
        for other in program.stored.values()
        if isinstance(other, Tensor) and other.untyped_storage().data_ptr() == storage
    ]
    layout = zip(tensor.shape, tensor.stride(), strict=True)
    repeats = any(size > 1 and stride == 0 for size, stride in layout)
    shown = name in program.output_names
    return len(places) == len(sharing) == 1 and not repeats and not shown
