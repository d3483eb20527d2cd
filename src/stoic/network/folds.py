"""Folding: a convolution and the batch norm that follows it as one convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stoic.network.golden import Golden
from stoic.network.program import First, Program, Ref, Step
from stoic.network.rules.channels import BATCH_NORM
from stoic.network.rules.contraction import CONVOLUTIONS
from stoic.network.sizes import near_overflow

__all__ = ["Fold", "find_folds", "only_norm"]


@dataclass(frozen=True)
class Fold:
    """A convolution whose result only a batch norm reads.

    Args:
        convolution: The first step.
        norm: The second.
        weight: Filters with the scale of the norm in them.
        bias: Its shift.
        growth: How many times larger than its input either result may be.
    """

    convolution: Step
    norm: Step
    weight: Tensor
    bias: Tensor
    growth: float

    @property
    def source(self) -> str:
        """The value that the convolution reads."""
        return str(self.convolution.args[0].name)

    @property
    def grouped(self) -> bool:
        """Whether filters read groups of channels."""
        return len(self.convolution.args) > 6 and self.convolution.args[6] != 1

    def __call__(self, value: Tensor) -> Tensor:
        """Return the norm's result for a whole value."""
        return self._run(value, self.weight, self.bias)

    def part(self, deviation: Tensor, start: int, length: int) -> Tensor:
        """Return what a deviation of some input channels adds to the norm's result."""
        return self._run(deviation, self.weight.narrow(1, start, length), None)

    def _run(self, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = self.convolution.op(
            value, weight, bias, *self.convolution.args[3:]
        )
        return result


def find_folds(golden: Golden, layout: torch.memory_format) -> dict[str, Fold]:
    """Return the folds of a program, by the names of both of their values."""
    folds: dict[str, Fold] = {}
    for step in golden.program.steps:
        norm = only_norm(golden.program, step)
        ours = step.op in CONVOLUTIONS and not step.kwargs
        if norm is not None and ours and _are_stored(step, norm, golden.program):
            fold = _folded(step, norm, golden, layout)
            folds[step.name] = folds[norm.name] = fold
    return folds


def _are_stored(convolution: Step, norm: Step, program: Program) -> bool:
    """Say whether all but the value is stored, and so the same for every batch."""
    read = {*convolution.inputs[1:], *norm.inputs[1:]}
    return read <= program.stored.keys()


def only_norm(program: Program, step: Step) -> Step | None:
    """Return the batch norm that alone reads a step's value, if one does."""
    readers = program.readers.get(step.name, ())
    if len(readers) != 1 or step.name in program.output_names:
        return None
    op = readers[0].op
    ours = readers[0].args[0] == Ref(step.name)
    is_norm = isinstance(op, First) and op.op is BATCH_NORM
    return readers[0] if is_norm and ours else None


def _folded(
    step: Step, norm: Step, golden: Golden, layout: torch.memory_format
) -> Fold:
    """Fold in double precision, so that only one rounding is added."""
    weight = golden(step.args[1].name).double()
    bias = _given(step, 2, golden)
    scale, shift, mean, variance = (_given(norm, i, golden) for i in range(1, 5))
    gain = torch.rsqrt(_required(variance) + norm.args[-1])
    gain = gain if scale is None else gain * scale
    offset = (0 if bias is None else bias) - _required(mean)
    offset = offset * gain + (0 if shift is None else shift)
    dtype = golden(step.args[1].name).dtype
    whole = (weight * gain.reshape(-1, *[1] * (weight.dim() - 1))).to(dtype)
    if whole.dim() == 4:
        whole = whole.contiguous(memory_format=layout)
    growth = max(float(each.abs().flatten(1).sum(1).max()) for each in (weight, whole))
    if near_overflow(offset.to(dtype)):
        growth = math.inf
    return Fold(step, norm, whole, offset.to(dtype), growth)


def _given(step: Step, position: int, golden: Golden) -> Any:
    arg = step.args[position] if position < len(step.args) else None
    return golden(arg.name).double() if isinstance(arg, Ref) else None


def _required(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor
