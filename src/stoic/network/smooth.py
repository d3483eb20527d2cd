"""Smooth programs: the same values, with gradients of all that hangs on all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import First, Program, Step

__all__ = ["aliased", "floats", "smoothed"]

_ATEN = torch.ops.aten
_NORM = _ATEN._native_batch_norm_legit_no_training.default


def smoothed(program: Program, wanted: Collection[str] = ()) -> Program:
    """Return a program of the same values through which gradients can be had.

    Its stored tensors are aliases of the network's own, which must not be written to.
    Values that show one storage share an alias, as a fault in it hits them all.

    Args:
        program: Nothing of it is changed.
        wanted: Stored values whose gradient will be asked for, where they are floating.
    """
    places = {name: program.origins.get(name, (name,))[0] for name in program.stored}
    aliases = {places[name]: aliased(value) for name, value in program.stored.items()}
    for place in {places[name] for name in wanted}:
        if floats(aliases[place]):
            aliases[place].requires_grad_()
    steps = tuple(map(_with_gradient, program.steps))
    stored = {name: aliases[place] for name, place in places.items()}
    return replace(program, steps=steps, stored=stored)


def aliased(value: Any) -> Any:
    """Return the words of a tensor, without its history, as a tensor of its own."""
    if not isinstance(value, Tensor):
        return value
    # What was made in inference mode cannot be kept for the way back.
    return value.clone() if value.is_inference() else value.detach()


def floats(value: Any) -> bool:
    """Say whether a value can have a gradient."""
    return isinstance(value, Tensor) and value.is_floating_point()


def _with_gradient(step: Step) -> Step:
    if isinstance(step.op, First):
        return replace(step, op=First(_SMOOTH.get(step.op.op, step.op.op)))
    return replace(step, op=_SMOOTH.get(step.op, step.op))


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """Run a batch norm, whose operator refuses gradients for its statistics."""
    if not (mean.requires_grad or var.requires_grad):
        results: tuple[Tensor, ...] = _NORM(x, weight, bias, mean, var, momentum, eps)
        return results
    wide = torch.promote_types(x.dtype, torch.float32)
    scale = (var.to(wide) + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = (-1, *[1] * (x.dim() - 2))
    y = x * scale.reshape(shape) + shift.reshape(shape)
    return y.to(x.dtype), x.new_empty(0), x.new_empty(0)


_SMOOTH: dict[Callable[..., Any], Callable[..., Any]] = {
    _NORM: _batch_norm,
    # Who detaches a value says how to train a network, not what its output hangs on.
    _ATEN.detach.default: _ATEN.alias.default,
}
