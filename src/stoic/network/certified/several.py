"""Golden values of several runs as those of one, to be looked at together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stoic.network.certified.backward import fixed_values
from stoic.network.program import Program, Values

__all__ = ["joined_values"]


@torch.inference_mode()
def joined_values(program: Program, runs: Sequence[Values], inputs: int) -> Values:
    """Return the values of runs on as many inputs each, with all of their rows.

    Args:
        program: What was run.
        runs: All values of each.
        inputs: Of each run.

    Returns:
        All values; none where rows lie elsewhere than in dimension 0.
    """
    fixed, first = fixed_values(program), runs[0]
    joined: Values = {name: first[name] for name in program.stored}
    computed = {step.name: step for step in program.steps}
    for name in (*program.inputs, *computed):
        value = first[name]
        if name in fixed and name in computed:
            # Numbers that hang on how many inputs there are only.
            joined[name] = computed[name](joined.__getitem__)
        elif isinstance(value, Tensor) and value.shape[:1] == (inputs,):
            joined[name] = torch.cat([run[name] for run in runs])
        else:
            return {}
    return joined
