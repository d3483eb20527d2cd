"""Steps that weigh one value with stored numbers: convolutions and matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.network.certified.contract import Call

__all__ = ["Share", "Term", "Weighed", "is_convolution", "shared", "stabilised"]
__all__ += ["weighed"]

_CONVOLUTIONS = frozenset(
    f"conv{turned}{dims}d" for turned in ("", "_transpose") for dims in (1, 2, 3)
)
_MATRICES = frozenset({"linear", "addmm", "mm", "matmul"})


@dataclass(frozen=True)
class Term:
    """A sum of products, and the way back from it.

    Args:
        value: What is weighed.
        result: The sums, those of the bias among them.
        bias: What the bias adds to each sum; nothing if there is none.
        back: From a number for each sum to the same, weighed, for each of the value.
    """

    value: Tensor
    result: Tensor
    bias: Tensor | None
    back: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Weighed:
    """A step that is linear in the one value that hangs on the image.

    Args:
        value: What it reads.
        weight: As the step has it.
        bias: Of each channel, or nothing.
        run: From value, weight and bias to the result.
        axis: The dimension of the channels, in value and result.
    """

    value: Tensor
    weight: Tensor
    bias: Tensor | None
    run: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    axis: int

    def term(self, value: Tensor, weight: Tensor, bias: Tensor | None) -> Term:
        """Run the step on other numbers."""
        with torch.enable_grad():
            given = value.detach().requires_grad_()
            result = self.run(given, weight, bias)

        def back(numbers: Tensor) -> Tensor:
            return torch.autograd.grad(result, given, numbers)[0]

        return Term(value, result.detach(), self._beside(bias, result), back)

    def _beside(self, bias: Tensor | None, result: Tensor) -> Tensor | None:
        if bias is None or self.axis == -1:
            return bias
        return bias.reshape(-1, *[1] * (result.dim() - 2))


@dataclass(frozen=True)
class Share:
    """What becomes of the relevance of a result.

    Args:
        value: The relevance of each element of the value.
        bias: Of each element of the result, what the bias takes.
        absorbed: Likewise, what the stabiliser takes.
    """

    value: Tensor
    bias: Tensor
    absorbed: Tensor

    def __add__(self, other: Share) -> Share:
        return Share(
            self.value + other.value,
            self.bias + other.bias,
            self.absorbed + other.absorbed,
        )

    def times(self, factor: float) -> Share:
        """Return all of it times a number."""
        return Share(factor * self.value, factor * self.bias, factor * self.absorbed)


def shared(relevance: Tensor, terms: list[Term], epsilon: float) -> Share:
    """Share relevance out in proportion to the products that some terms sum up."""
    total = sum((term.result for term in terms[1:]), terms[0].result)
    steady = stabilised(total, epsilon)
    each = relevance / steady
    value, bias = torch.zeros_like(terms[0].value), torch.zeros_like(each)
    for term in terms:
        value += term.value * term.back(each)
        if term.bias is not None:
            bias += each * term.bias
    return Share(value, bias, each * (steady - total))


def stabilised(sums: Tensor, epsilon: float) -> Tensor:
    """Move sums away from 0, to the side on which they are; 0 counts as positive."""
    return torch.where(sums < 0, sums - epsilon, sums + epsilon)


def is_convolution(operator: str) -> bool:
    """Say whether an operator is a convolution, turned or not."""
    return operator in _CONVOLUTIONS


def weighed(call: Call) -> Weighed | None:
    """Return a step as one that weighs; nothing if it is none."""
    operator, args, op = call.step.operator, call.step.args, call.step.op
    if call.step.kwargs or operator not in _CONVOLUTIONS | _MATRICES:
        return None
    if operator in _CONVOLUTIONS:
        return _made(call, 0, 1, 2, lambda x, w, b: op(x, w, b, *args[3:]), 1)
    if operator == "linear":
        return _made(call, 0, 1, 2, op, -1)
    if operator == "addmm":
        return _made(call, 1, 2, 0, _added, -1)
    return _made(call, 0, 1, 2, lambda x, w, b: op(x, w), -1)


def _added(value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return value @ weight if bias is None else torch.addmm(bias, value, weight)


def _made(
    call: Call,
    value: int,
    weight: int,
    bias: int,
    run: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    axis: int,
) -> Weighed | None:
    if not call.only(value):
        return None
    stored = [call.arg(place) for place in (weight, bias)]
    own, added = (None if each is None else each.detach() for each in stored)
    assert own is not None
    return Weighed(call.arg(value), own, added, run, axis)
