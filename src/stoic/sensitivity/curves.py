"""Operators that work element by element, as curves whose derivative is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call

__all__ = ["Curve", "Piece", "curve_of"]

_ATEN = torch.ops.aten
_INF = math.inf
# A dozen roundings of float64, of numbers that do not cancel, with room to spare.
_SLACK = 1e-12

Derivative: TypeAlias = Callable[[Tensor], Tensor]
Place: TypeAlias = float | Tensor


@dataclass(frozen=True)
class Piece:
    """A part of a curve on which the derivative only rises, or only falls.

    Args:
        start: Where it begins; one place, or one for each element.
        end: Where it ends.
        derivative: At float64 places in between, both ends included.
        slack: What that may be off by, relative to one more than its size.
    """

    start: Place
    end: Place
    derivative: Derivative
    slack: float = _SLACK


@dataclass(frozen=True)
class Curve:
    """A function of one number without jumps, but for a pole.

    Args:
        pieces: From left to right, without gaps. Left and right of them the function
            is not defined.
        pole: A place where it is not bounded.
    """

    pieces: tuple[Piece, ...]
    pole: float | None = None


Rule: TypeAlias = Callable[[Call], Curve | None]


def curve_of(call: Call) -> Curve | None:
    """Return the curve that a step applies to each element of its one deviating value.

    It is that of the exact function: its constants are not rounded to the format.

    Returns:
        Nothing where the step does not work element by element on one such value, is
        not known, or jumps.
    """
    rule = _RULES.get(call.step.op)
    return None if rule is None else rule(call)


def _unary(make: Callable[[Call], Curve | None]) -> Rule:
    """Return the rule of a function of the first argument."""
    return lambda call: make(call) if call.only(0) else None


def _curve(
    *breaks: float, pieces: tuple[Derivative, ...], pole: float | None = None
) -> Rule:
    """Return the rule of a function without options, from all ends of its pieces."""
    spans = zip(breaks[:-1], breaks[1:], pieces, strict=True)
    found = Curve(tuple(Piece(*span) for span in spans), pole)
    return _unary(lambda call: found)


def _smooth(derivative: Derivative, *turns: float) -> Rule:
    """Return the rule of a function whose derivative turns at some places alone."""
    pieces = (derivative,) * (len(turns) + 1)
    return _curve(-_INF, *turns, _INF, pieces=pieces)


def _straight(slope: Place, start: Place = -_INF, end: Place = _INF) -> Piece:
    return Piece(start, end, lambda x: torch.ones_like(x) * slope, slack=0.0)


def _bent(*slopes: Place, at: tuple[Place, ...] = ()) -> Curve:
    """Return a curve of straight lines that meet at some places."""
    ends: tuple[Place, ...] = (-_INF, *at, _INF)
    spans = zip(slopes, ends[:-1], ends[1:], strict=True)
    return Curve(tuple(_straight(*span) for span in spans))


def option(call: Call, position: int, name: str, default: Any = None) -> Any:
    """Return an argument given by place or by name."""
    return call.step.kwargs.get(name, call.arg(position, default))


def _clamp(call: Call) -> Curve:
    low, high = option(call, 1, "min"), option(call, 2, "max")
    return _bent(0.0, 1.0, 0.0, at=(_end(low, -_INF), _end(high, _INF)))


def _end(given: Any, default: float) -> Place:
    if given is None:
        return default
    return given.detach().double() if isinstance(given, Tensor) else float(given)


def _hardtanh(call: Call) -> Curve:
    ends = float(call.arg(1, -1.0)), float(call.arg(2, 1.0))
    return _bent(0.0, 1.0, 0.0, at=ends)


def _leaky_relu(call: Call) -> Curve:
    return _bent(float(call.arg(1, 0.01)), 1.0, at=(0.0,))


def _rrelu(call: Call) -> Curve | None:
    low, high = float(call.arg(1, 1 / 8)), float(call.arg(2, 1 / 3))
    return None if call.arg(3) else _bent((low + high) / 2, 1.0, at=(0.0,))


def _prelu(call: Call) -> Curve:
    dims: int = call.arg(0).dim()
    shape = (-1, *[1] * (dims - 2)) if dims > 1 else (-1,)
    weight = call.arg(1).detach().double().reshape(shape)
    return _bent(weight, 1.0, at=(0.0,))


def _threshold(call: Call) -> Curve | None:
    """Bend where the two sides meet; elsewhere it jumps."""
    at, beyond = float(call.arg(1)), float(call.arg(2))
    return _bent(0.0, 1.0, at=(at,)) if at == beyond else None


def _softshrink(call: Call) -> Curve:
    reach = float(call.arg(1, 0.5))
    return _bent(1.0, 0.0, 1.0, at=(-reach, reach))


def _elu(call: Call) -> Curve:
    alpha, scale, inner = (float(call.arg(i, 1)) for i in (1, 2, 3))
    return _exponential(alpha * scale * inner, inner, scale)


def _celu(call: Call) -> Curve:
    return _exponential(1.0, 1 / float(call.arg(1, 1.0)), 1.0)


def _selu(call: Call) -> Curve:
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return _exponential(alpha * scale, 1.0, scale)


def _exponential(steepest: float, rate: float, right: float) -> Curve:
    """Return a curve that bends like an exponential on the left of zero."""
    left = Piece(-_INF, 0.0, lambda x: steepest * torch.exp(rate * x))
    return Curve((left, Piece(0.0, _INF, lambda x: torch.full_like(x, right))))


def _softplus(call: Call) -> Curve | None:
    """Leave out the step to the identity: it is less than a rounding of float32."""
    beta, threshold = float(call.arg(1, 1)), float(call.arg(2, 20))
    if threshold < 20 or beta <= 0:
        return None
    return Curve((Piece(-_INF, _INF, lambda x: torch.sigmoid(beta * x)),))


def _gelu(call: Call) -> Curve:
    if option(call, 1, "approximate", "none") == "tanh":
        derivative, turn = _gelu_by_tanh, 1.4185040087908283555
    else:
        derivative, turn = _gelu_by_erf, math.sqrt(2)
    ends = (-_INF, -turn, turn, _INF)
    return Curve(tuple(Piece(*s, derivative) for s in pairwise(ends)))


def _gelu_by_erf(x: Tensor) -> Tensor:
    # At infinity zero times infinity is not a number.
    x = x.clamp(-100, 100)
    density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return torch.erfc(-x / math.sqrt(2)) / 2 + x * density


def _gelu_by_tanh(x: Tensor) -> Tensor:
    x = x.clamp(-100, 100)
    rate, cubic = math.sqrt(2 / math.pi), 0.044715
    tanh = torch.tanh(rate * (x + cubic * x**3))
    inner = rate * (1 + 3 * cubic * x * x)
    return (1 + tanh) / 2 + x * (1 - tanh) * (1 + tanh) * inner / 2


def _silu(x: Tensor) -> Tensor:
    x = x.clamp(-700, 700)
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


def _mish(x: Tensor) -> Tensor:
    x = x.clamp(-700, 700)
    tanh = torch.tanh(torch.nn.functional.softplus(x, threshold=40))
    return tanh + x * (1 - tanh) * (1 + tanh) * torch.sigmoid(x)


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _tanh(x: Tensor) -> Tensor:
    tanh = torch.tanh(x)
    return (1 - tanh) * (1 + tanh)


def _power(call: Call) -> Curve | None:
    exponent = float(call.arg(1))
    if exponent == 0:
        return _bent(0.0)
    whole = exponent == int(exponent)

    def derivative(x: Tensor) -> Tensor:
        return exponent * torch.pow(x, exponent - 1)

    right = Piece(0.0, _INF, derivative)
    if not whole:
        return Curve((right,), pole=0.0 if exponent < 0 else None)
    left = Piece(-_INF, 0.0, derivative)
    return Curve((left, right), pole=0.0 if exponent < 0 else None)


def _scaled(call: Call) -> Curve | None:
    """Multiply one value by constants."""
    moving = 0 if call.deviates(0) else 1
    return _by(call, moving, call.arg(1 - moving))


def _divided(call: Call) -> Curve | None:
    divisor = torch.as_tensor(call.arg(1)).detach().double()
    return _by(call, 0, 1 / divisor, slack=_SLACK)


def _summed(call: Call) -> Curve | None:
    """Add or subtract constants."""
    moving, sign = (0, 1) if call.deviates(0) else (1, _sign(call))
    alpha = call.step.kwargs.get("alpha", 1) if moving else 1
    return _by(call, moving, sign * alpha)


def _sign(call: Call) -> int:
    return -1 if call.step.operator == "sub" else 1


def _turned(call: Call) -> Curve | None:
    """Subtract from a constant."""
    return _by(call, 0, -option(call, 2, "alpha", 1))


def _kept(call: Call) -> Curve | None:
    """Overwrite the places of a mask."""
    return None if call.deviates(1) else _by(call, 0, ~call.arg(1))


def _chosen(call: Call) -> Curve | None:
    """Take from one of two by a fixed mask."""
    moving = 1 if call.deviates(1) else 2
    mask = call.arg(0)
    return _by(call, moving, mask if moving == 1 else ~mask)


def _by(call: Call, moving: int, factors: Any, slack: float = 0.0) -> Curve | None:
    """Return a line with a slope for each element, of a value that keeps its shape."""
    if not call.only(moving) or call.arg(moving).shape != call.result.shape:
        return None
    slope = torch.as_tensor(factors).detach().double()
    piece = Piece(-_INF, _INF, lambda x: torch.ones_like(x) * slope, slack)
    return Curve((piece,))


def _dropped(call: Call) -> Curve | None:
    """Pass on everything, as in evaluation."""
    return None if call.arg(2) else _bent(1.0)


def _relu_at(position: int) -> Rule:
    """Return the rule of the larger (0) or smaller (1) of a value and a constant."""

    def rule(call: Call) -> Curve | None:
        moving = 0 if call.deviates(0) else 1
        if not call.only(moving) or call.arg(moving).shape != call.result.shape:
            return None
        at = call.arg(1 - moving).detach().double()
        return _bent(*((1.0, 0.0) if position else (0.0, 1.0)), at=(at,))

    return rule


_RULES: dict[Any, Rule] = {
    _ATEN.relu.default: _unary(lambda call: _bent(0.0, 1.0, at=(0.0,))),
    _ATEN.relu6.default: _unary(lambda call: _bent(0.0, 1.0, 0.0, at=(0.0, 6.0))),
    _ATEN.abs.default: _unary(lambda call: _bent(-1.0, 1.0, at=(0.0,))),
    _ATEN.neg.default: _unary(lambda call: _bent(-1.0)),
    _ATEN.hardtanh.default: _unary(_hardtanh),
    _ATEN.clamp.default: _unary(_clamp),
    _ATEN.clamp.Tensor: _unary(_clamp),
    _ATEN.clamp_min.default: _unary(
        lambda call: _bent(0.0, 1.0, at=(float(call.arg(1)),))
    ),
    _ATEN.clamp_max.default: _unary(
        lambda call: _bent(1.0, 0.0, at=(float(call.arg(1)),))
    ),
    _ATEN.maximum.default: _relu_at(0),
    _ATEN.minimum.default: _relu_at(1),
    _ATEN.leaky_relu.default: _unary(_leaky_relu),
    _ATEN.rrelu.default: _unary(_rrelu),
    _ATEN.prelu.default: _unary(_prelu),
    _ATEN.threshold.default: _unary(_threshold),
    _ATEN.softshrink.default: _unary(_softshrink),
    _ATEN.hardswish.default: _curve(
        *(-_INF, -3.0, 3.0, _INF),
        pieces=(torch.zeros_like, lambda x: (2 * x + 3) / 6, torch.ones_like),
    ),
    _ATEN.hardsigmoid.default: _curve(
        *(-_INF, -3.0, 3.0, _INF),
        pieces=(
            torch.zeros_like,
            lambda x: torch.full_like(x, 1 / 6),
            torch.zeros_like,
        ),
    ),
    _ATEN.elu.default: _unary(_elu),
    _ATEN.celu.default: _unary(_celu),
    _ATEN.selu.default: _unary(_selu),
    _ATEN.softplus.default: _unary(_softplus),
    _ATEN.gelu.default: _unary(_gelu),
    # Where the second derivatives are 0; the tests look for others.
    _ATEN.silu.default: _smooth(_silu, -2.3993572805154676678, 2.3993572805154676678),
    _ATEN.mish.default: _smooth(_mish, -2.25637639636079312, 1.4905711794854284593),
    _ATEN.sigmoid.default: _smooth(_sigmoid, 0.0),
    _ATEN.tanh.default: _smooth(_tanh, 0.0),
    _ATEN.log_sigmoid.default: _smooth(lambda x: torch.sigmoid(-x)),
    _ATEN.exp.default: _smooth(torch.exp),
    _ATEN.expm1.default: _smooth(torch.exp),
    _ATEN.square.default: _smooth(lambda x: 2 * x),
    _ATEN.erf.default: _smooth(
        lambda x: torch.exp(-x * x) * (2 / math.sqrt(math.pi)), 0.0
    ),
    _ATEN.sqrt.default: _curve(0.0, _INF, pieces=(lambda x: 0.5 / x.sqrt(),)),
    _ATEN.rsqrt.default: _curve(
        0.0, _INF, pieces=(lambda x: -0.5 * x.pow(-1.5),), pole=0.0
    ),
    _ATEN.log.default: _curve(0.0, _INF, pieces=(torch.reciprocal,), pole=0.0),
    _ATEN.reciprocal.default: _curve(
        *(-_INF, 0.0, _INF), pieces=(lambda x: -x.pow(-2),) * 2, pole=0.0
    ),
    _ATEN.pow.Tensor_Scalar: _unary(_power),
    _ATEN.mul.Tensor: _scaled,
    _ATEN.div.Tensor: _divided,
    _ATEN.add.Tensor: _summed,
    _ATEN.sub.Tensor: _summed,
    _ATEN.rsub.Scalar: _turned,
    _ATEN.masked_fill.Scalar: _kept,
    _ATEN.where.self: _chosen,
    _ATEN.dropout.default: _unary(_dropped),
    _ATEN.feature_dropout.default: _unary(_dropped),
    _ATEN.alpha_dropout.default: _unary(_dropped),
}
