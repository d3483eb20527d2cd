"""Steps that stand for one: their names, and their constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.program import Ref, Step, Values, filled

__all__ = ["Making", "Recipe"]


@dataclass(frozen=True)
class Making:
    """What is made of one step.

    Args:
        step: That one.
        values: Golden values so far; constants are added.
        fixed: Names of those that no input reaches; likewise.
        steps: What was made, in order.
        several: The results of a step with several.
    """

    step: Step
    values: Values
    fixed: set[str]
    steps: list[Step] = field(default_factory=list)
    several: list[Any] = field(default_factory=list)

    def arg(self, position: int, default: Any = None) -> Any:
        """Return a positional argument with golden values."""
        args = self.step.args
        if position >= len(args):
            return default
        return filled(args[position], self.values.__getitem__)

    def ref(self, position: int) -> Any:
        """Return an argument as it was given, or nothing."""
        args = self.step.args
        return args[position] if position < len(args) else None

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument given by place or by name."""
        if name in self.step.kwargs:
            return filled(self.step.kwargs[name], self.values.__getitem__)
        return self.arg(position, default)

    def make(
        self, op: Callable[..., Any], *args: Any, last: bool = False, **kwargs: Any
    ) -> Ref:
        """Add a step; the last one has the name of that which is replaced."""
        ours = self.step
        name = ours.name if last else f"{ours.name}.{len(self.steps)}"
        made = Step(name, op, args, kwargs, ours.path, ours.leaf, ours.order)
        self.steps.append(made)
        return Ref(name)

    def constant(self, value: Tensor) -> Ref:
        """Add a value that no input reaches."""
        name = f"{self.step.name}.constant{len(self.values)}"
        exact = value.double() if value.is_floating_point() else value
        self.values[name] = exact
        self.fixed.add(name)
        return Ref(name)

    def reshaped(self, ref: Any, *shape: int, last: bool = False) -> Ref:
        """Add a step that gives a value another shape."""
        return self.make(torch.ops.aten.reshape.default, ref, list(shape), last=last)


Recipe: TypeAlias = Callable[[Making], bool]
"""Makes steps of one, and says whether it did."""
