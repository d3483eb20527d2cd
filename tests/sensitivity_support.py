"""Steps made by hand, and dense matrices of maps, for the tests of sensitivity."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.program import Ref, Step
from stoic.sensitivity.linear import LinearMap
from stoic.sensitivity.maps import linear_map

__all__ = ["a_map", "call_on", "matrix_of", "random_convolution"]

ATEN = torch.ops.aten
CONVOLUTIONS = {
    (1, False): ATEN.conv1d.default,
    (2, False): ATEN.conv2d.default,
    (3, False): ATEN.conv3d.default,
    (1, True): ATEN.conv_transpose1d.default,
    (2, True): ATEN.conv_transpose2d.input,
    (3, True): ATEN.conv_transpose3d.input,
}
SIZES = {1: (5, 16, 40), 2: (4, 7, 9, 14), 3: (3, 4, 5)}


def call_on(op: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Call:
    """A call whose first argument deviates and whose other tensors are stored."""
    stored = {f"w{i}": arg for i, arg in enumerate(args) if isinstance(arg, Tensor)}
    given = (Ref(f"w{i}") if f"w{i}" in stored else a for i, a in enumerate(args))
    step = Step("y", op, (Ref("x"), *given), kwargs, "", True, 0)
    values = {"x": x, **stored}
    values["y"] = step(values.__getitem__)
    return Call(step, values.__getitem__, {*stored})


def a_map(op: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> LinearMap:
    """The map of such a call, which must have one."""
    found = linear_map(call_on(op, x, *args, **kwargs))
    assert found is not None
    return found


def matrix_of(linear: LinearMap) -> Tensor:
    """The matrix of a map, column by column."""
    count = math.prod(linear.shape)
    units = torch.eye(count, dtype=torch.float64).reshape(count, *linear.shape)
    return linear.apply(units).reshape(count, -1).t()


def random_convolution(chance: random.Random, *, dims: int | None = None) -> Call:
    """A convolution of any shape, or a transposed one, that is small enough."""
    while True:
        found = _convolution(chance, dims or chance.choice((1, 2, 2, 2, 3)))
        if found is not None:
            return found


def _convolution(chance: random.Random, dims: int) -> Call | None:
    def each(*choices: int) -> list[int]:
        return [chance.choice(choices) for _ in range(dims)]

    groups, turned = chance.choice((1, 1, 1, 2, 3)), chance.random() < 0.25
    inside, outside = chance.choice((1, 2, 3)), chance.choice((1, 2, 4))
    sides = (inside * groups, outside) if turned else (outside * groups, inside)
    generator = torch.Generator().manual_seed(chance.randrange(2**31))
    weight = torch.randn(*sides, *each(1, 2, 3, 3, 5), generator=generator)
    # Low-pass filters have the sharpest peaks, so edges matter most.
    weight = weight.abs() if chance.random() < 0.4 else weight
    size = (inside * groups, *each(*SIZES[dims]))
    x = torch.randn(2, *size, generator=generator)
    stride, padding, dilation = each(1, 1, 1, 2, 3), each(0, 1, 2), each(1, 1, 2)
    options = (stride, padding, [0] * dims, groups, dilation)
    if not turned:
        options = (stride, padding, dilation, groups)  # type: ignore[assignment]
    try:
        call = call_on(CONVOLUTIONS[dims, turned], x, weight, None, *options)
    except RuntimeError:
        return None
    return call if 0 < call.result[0].numel() <= 2000 else None
