"""Values that hang on inputs which cannot move, such as ids: where bounds begin.

A word that a text names, or a picture in whole numbers, has no ball about it. What is
made of it stands still, but for wrong words and rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from stoic.network.certified.backward import fixed_values
from stoic.network.certified.contract import Call, named_ops
from stoic.network.program import First, Program, Step, Values
from stoic.network.smooth import floats

__all__ = ["Still"]

_ATEN = torch.ops.aten
_LOOK_UPS = {
    _ATEN.embedding.default,
    _ATEN.embedding_bag.padding_idx,
    _ATEN._embedding_bag.default,
}
# What multiplies by stored words, and where the value stands that it reads.
_LAYERS: dict[Any, int] = {
    **dict.fromkeys(named_ops("conv1d conv2d conv3d conv_transpose1d linear mm"), 0),
    **dict.fromkeys(named_ops("conv_transpose2d conv_transpose3d", "input"), 0),
    **dict.fromkeys(named_ops("matmul layer_norm rms_norm group_norm"), 0),
    _ATEN._native_batch_norm_legit_no_training.default: 0,
    _ATEN.addmm.default: 1,
}


@dataclass(frozen=True)
class Still:
    """Which values of a program stand still although they hang on its inputs.

    Args:
        program: In float64.
        values: Golden values so far.
        fixed: Names of those that no moving input reaches.
        count: How many inputs there are.
        calls: By name, the steps that made such values.
    """

    program: Program
    values: Values
    fixed: Collection[str]
    count: int
    calls: dict[str, Call] = field(default_factory=dict)

    @cached_property
    def own(self) -> set[str]:
        """Values that no input reaches at all."""
        return {*fixed_values(self.program)}

    def begins(self, call: Call) -> bool:
        """Say whether bounds begin at a step that looks up rows; note it otherwise."""
        step = call.step
        if self.own.issuperset(step.inputs):
            return False
        self.calls[step.name] = call
        return _plain(step) in _LOOK_UPS and self._is_first(step.name)

    def read_by(self, step: Step) -> Iterator[str]:
        """Yield the still value that a layer reads, if bounds begin there."""
        at = _LAYERS.get(_plain(step))
        name = None if at is None else getattr(step.args[at], "name", None)
        if name in self.calls and name in self.fixed and self._is_first(str(name)):
            yield str(name)

    def _is_first(self, name: str) -> bool:
        """Say whether inputs are dimension 0 of a value of floating-point numbers."""
        value = self.values[name]
        return floats(value) and value.dim() > 1 and len(value) == self.count


def _plain(step: Step) -> Any:
    return step.op.op if isinstance(step.op, First) else step.op
