"""The derivative of a batched function at some inputs, as products with vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stoic.network.program import Program
from stoic.network.smooth import smoothed
from stoic.sensitivity.reach import wide

__all__ = ["Function", "Jacobian", "function_of", "outputs"]

Function: TypeAlias = Callable[[Tensor], Tensor]
"""From [inputs, ...] to [inputs, outputs]; no input's output hangs on another input."""


class Jacobian:
    """The derivative of a function, of each input by itself.

    The function runs once; each product is one way back. Forward products are ways back
    through the way back, so that operators need nothing but a gradient.

    Args:
        f: The function.
        x: Where, [inputs, ...].

    Raises:
        ValueError: An output is not finite or does not hang on its input.
    """

    def __init__(self, f: Function, x: Tensor) -> None:
        # Fused attention has a way back, but none through that.
        with _gradients(), sdpa_kernel(SDPBackend.MATH):
            self.x = _own(x).requires_grad_()
            self._raw = f(self.x)
            self.y = _checked(self._raw, len(x)).detach()
            self._weights = torch.zeros_like(self._raw, requires_grad=True)
            (self._back,) = torch.autograd.grad(
                *(self._raw, self.x, self._weights),
                create_graph=True,
                materialize_grads=True,
            )

    def back(self, u: Tensor) -> Tensor:
        """Return the transposed derivative times ``u``, [inputs, outputs]."""
        (found,) = torch.autograd.grad(
            *(self._raw, self.x, u), retain_graph=True, materialize_grads=True
        )
        return found

    def forth(self, v: Tensor) -> Tensor:
        """Return the derivative times ``v``, which is shaped like the inputs."""
        if not self._back.requires_grad:
            return torch.zeros_like(self.y)
        (found,) = torch.autograd.grad(
            *(self._back, self._weights, v), retain_graph=True, materialize_grads=True
        )
        return found


def function_of(program: Program, double: bool = True) -> Function:
    """Return the function that a captured program of one input computes.

    Args:
        program: With one input and one output of one row per input.
        double: Compute in float64. What moves by a share of 2^-24 moves by less than
            roundings of float32, so that growth at such radii would be noise.

    Raises:
        ValueError: It has several inputs.
    """
    if len(program.inputs) != 1:
        raise ValueError(
            f"program must have one input, got {', '.join(program.inputs) or 'none'}; "
            "give a function of the one to perturb, or bounds alone: --no-attacks"
        )
    smooth = wide(smoothed(program)) if double else smoothed(program)
    (name,) = program.inputs

    def f(x: Tensor) -> Tensor:
        values = {**smooth.stored, name: x}
        for step in smooth.steps:
            values[step.name] = step(values.__getitem__)
        answer: Tensor = smooth.answer(values.__getitem__)
        return answer

    return f


def outputs(f: Function, x: Tensor) -> Tensor:
    """Return the outputs without gradients, checked, [inputs, outputs].

    Raises:
        ValueError: They are no such tensor, or not finite.
    """
    with torch.no_grad():
        return _checked(f(x), len(x))


def _checked(y: Tensor, count: int) -> Tensor:
    if y.dim() != 2 or len(y) != count:
        raise ValueError(
            f"outputs must be a row of numbers for each of {count} inputs, "
            f"got shape {tuple(y.shape)}; flatten them"
        )
    if not bool(y.isfinite().all()):
        row = int((~y.isfinite().all(1)).nonzero()[0])
        raise ValueError(
            f"outputs must be finite, got others for input {row}; leave it out"
        )
    return y


def _own(x: Tensor) -> Tensor:
    return x.clone() if x.is_inference() else x.detach()


@contextmanager
def _gradients() -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        yield
