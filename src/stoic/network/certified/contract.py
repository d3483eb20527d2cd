"""What a rule is: a bound on how one operator carries deviations, rounding included."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.func import vjp

from stoic.network.program import Ref, Step, filled, refs

__all__ = ["Absolute", "Call", "Carry", "Rule", "Spread"]
__all__ += ["each_along", "named_ops", "per_channel", "transposed"]

# From one deviation of each value that a step reads to that of its result.
Carry: TypeAlias = Callable[..., Tensor]
# From weights of the result's deviation, [inputs, ...], to the weighted deviation per
# unit of change of each stored word, [inputs, elements].
Spread: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Absolute:
    """An operator without its signs: it carries bounds in place of values.

    Where what it reads moves by at most ``d``, the exact result moves by at most
    ``carry(d)``. The computed one is off by at most ``terms`` roundings of
    ``carry(|values|) + offset``.

    Args:
        carry: Linear and without negative factors; its arguments, float64, are the
            values that deviate, in the order in which the step reads them. It keeps
            inputs, dimension 0, apart.
        growth: How many times larger the largest deviation may become, and the largest
            number that comes up while the result is computed.
        terms: Roundings in a row; 0 where the result is exact.
        offset: What the result has without the values, in absolute numbers.
        worst: As ``carry``, for the largest deviation of each input alone.
        apart: Whether channels, dimension 1, are kept apart as well.
        stored: How a change of a stored word spreads, by the name of its tensor.
        narrow: Whether such a word moves one channel alone.
    """

    carry: Carry
    growth: float
    terms: int = 0
    offset: Tensor | float = 0.0
    worst: Carry | None = None
    apart: bool = False
    stored: Mapping[str, Spread] = field(default_factory=dict)
    narrow: bool = False


@dataclass(frozen=True)
class Call:
    """One operator call on golden values.

    Args:
        step: The call.
        golden: Finds any value of the fault-free run.
        fixed: Names of the values that no input reaches: the same for every batch.
    """

    step: Step
    golden: Callable[[str], Any]
    fixed: Collection[str]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values that deviate, each once."""
        return tuple(name for name in self.step.inputs if name not in self.fixed)

    @property
    def result(self) -> Tensor:
        """The golden result."""
        found = self.golden(self.step.name)
        assert isinstance(found, Tensor)
        return found

    def arg(self, position: int, default: Any = None) -> Any:
        """Return a positional argument with its golden values."""
        args = self.step.args
        return filled(args[position], self.golden) if position < len(args) else default

    def name(self, position: int) -> str | None:
        """Return the name of the value at a position, if one is there."""
        args = self.step.args
        arg = args[position] if position < len(args) else None
        return arg.name if isinstance(arg, Ref) else None

    def deviates(self, position: int) -> bool:
        """Say whether the value at a position may deviate."""
        return self.name(position) in self.reads

    def only(self, position: int) -> bool:
        """Say whether the value at a position alone deviates, in that place alone."""
        places = list(refs((self.step.args, dict(self.step.kwargs))))
        name = self.name(position)
        return self.reads == (name,) and places.count(str(name)) == 1

    def size(self, position: int) -> Tensor:
        """Return the absolute numbers of an argument, in float64; 0 for no argument."""
        value = self.arg(position)
        number = torch.as_tensor(0.0 if value is None else value)
        return number.detach().double().abs()

    def spreads(self, at: Mapping[int, Spread]) -> dict[str, Spread]:
        """Return how stored words spread, by the names of their tensors."""
        names = {position: self.name(position) for position in at}
        return {name: at[i] for i, name in names.items() if name is not None}

    def again(self, *deviations: Tensor) -> Tensor:
        """Run the operator on deviations; what does not deviate counts as 0."""
        moved = dict(zip(self.reads, deviations, strict=True))

        def lookup(name: str) -> Any:
            value = moved[name] if name in moved else self.golden(name)
            constant = isinstance(value, Tensor) and name not in moved
            return torch.zeros_like(value, dtype=torch.float64) if constant else value

        result: Tensor = self.step(lookup)
        return result


Rule: TypeAlias = Callable[[Call], Absolute | None]


def transposed(
    linear: Carry, *at: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
    """Return what a linear map makes of some values, and its transpose."""
    result, adjoint, *_ = vjp(linear, *at)
    return result, adjoint


def each_along(option: Any, dims: int) -> tuple[int, ...]:
    """Return an option for each dimension, which may be given once for all."""
    given = tuple(option) if isinstance(option, list | tuple) else (option,)
    return given * dims if len(given) == 1 else given


def named_ops(names: str, overload: str = "default") -> list[Any]:
    """Return operators of torch by their names, separated by spaces."""
    return [getattr(getattr(torch.ops.aten, n), overload) for n in names.split()]


def per_channel(weights: Tensor) -> Tensor:
    """Sum over all but inputs and channels, the first two dimensions."""
    return weights.flatten(2).sum(2) if weights.dim() > 2 else weights
