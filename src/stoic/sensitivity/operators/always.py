"""What holds of a value however far all that it hangs on moves: the ends of a range.

They come of operators alone: a square is not negative, nor is a mean of squares, and
shares of a whole are none that is more than 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.certified.contract import Call, named_ops
from stoic.network.program import as_reshape
from stoic.sensitivity.parts.layouts import Rows
from stoic.sensitivity.parts.masked import Masked

__all__ = ["Always", "always_of"]

_ATEN = torch.ops.aten
_INF = math.inf


@dataclass(frozen=True)
class Always:
    """A range that no element leaves.

    Args:
        low: Its least number.
        high: Its largest.
        shares: By how much the elements of a row, the last dimension, may add up to
            another number than 1, if none is negative and they are shares of that; a
            row of zeros is one, too. Nothing of other values.
    """

    low: float = -_INF
    high: float = _INF
    shares: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is an end."""
        return self.low > -_INF or self.high < _INF

    @property
    def width(self) -> float:
        """From one end to the other."""
        return self.high - self.low

    def furthest(self, golden: Tensor) -> Tensor:
        """Return how far each element can be from its golden number."""
        return torch.maximum(golden - self.low, self.high - golden).clamp(min=0.0)

    def rounded(self, share: float) -> Always:
        """Return the same of numbers that are made of terms off by a share each.

        Terms of one sign keep it; of both, they are off by a share of the largest.
        """
        low, high = self.low, self.high
        if not self.known or share == 0:
            return self
        if not share < 1:
            return Always(0.0 if low >= 0 else -_INF, 0.0 if high <= 0 else _INF)
        if low >= 0 or high <= 0:
            down, up = (1 - share, 1 + share) if low >= 0 else (1 + share, 1 - share)
            low, high = low * down, high * up
        else:
            slack = max(-low, high) * share
            low, high = low - slack, high + slack
        return Always(low, high, None if self.shares is None else self.shares + share)


Rule: TypeAlias = Callable[[Call, Sequence[Always]], Always]
_UNKNOWN = Always()


def always_of(call: Call, reads: Sequence[Always], share: float) -> Always:
    """Return the range of a step's result.

    Args:
        call: The step.
        reads: Ranges of what it reads and moves, in order.
        share: What an element of the result may be off by, relative, by rounding.
    """
    rule = _rule_of(call.step.op)
    return _UNKNOWN if rule is None else rule(call, reads).rounded(share)


def _rule_of(op: Any) -> Rule | None:
    if isinstance(op, Masked):
        return _shares
    return _moved if isinstance(op, Rows) else _RULES.get(op)


def _within(low: float, high: float = _INF) -> Rule:
    return lambda call, reads: Always(low, high)


def _shares(call: Call, reads: Sequence[Always]) -> Always:
    op = call.step.op
    dim = op.dim if isinstance(op, Masked) else call.arg(1)
    last = isinstance(dim, int) and dim % call.result.dim() == call.result.dim() - 1
    return Always(0.0, 1.0, 0.0 if last else None)


def _moved(call: Call, reads: Sequence[Always]) -> Always:
    """Elements of one value in other places."""
    return replace(reads[0], shares=None) if len(reads) == 1 else _UNKNOWN


def _same(call: Call, reads: Sequence[Always]) -> Always:
    return reads[0]


def _reshaped(call: Call, reads: Sequence[Always]) -> Always:
    whole = call.result.shape[-1:] == call.arg(0).shape[-1:]
    return reads[0] if whole else _moved(call, reads)


def _clamped(call: Call, reads: Sequence[Always]) -> Always:
    low, high = call.arg(1), call.arg(2)
    if isinstance(low, Tensor) or isinstance(high, Tensor) or call.step.kwargs:
        return _UNKNOWN
    least = -_INF if low is None else float(low)
    most = _INF if high is None else float(high)
    # Where both are the wrong way round, all is the upper end.
    return Always(min(least, most), most)


def _hardtanh(call: Call, reads: Sequence[Always]) -> Always:
    return Always(float(call.arg(1, -1.0)), float(call.arg(2, 1.0)))


def _power(call: Call, reads: Sequence[Always]) -> Always:
    exponent = float(call.arg(1))
    positive = exponent % 2 == 0 or reads[0].low >= 0
    return Always(low=0.0) if positive else _UNKNOWN


def _squared(call: Call, reads: Sequence[Always]) -> Always:
    """A product of a value and itself, or of one and a positive number."""
    if call.name(0) == call.name(1) and call.name(0) is not None:
        return Always(low=0.0)
    return _scaled(call, reads, call.arg(1))


def _divided(call: Call, reads: Sequence[Always]) -> Always:
    by = call.arg(1)
    number = isinstance(by, int | float) and by > 0
    return _scaled(call, reads, 1 / by) if number else _UNKNOWN


def _scaled(call: Call, reads: Sequence[Always], by: Any) -> Always:
    if isinstance(by, Tensor) or not by > 0 or call.step.kwargs:
        return _UNKNOWN
    return Always(reads[0].low * by, reads[0].high * by)


def _added(call: Call, reads: Sequence[Always]) -> Always:
    other = call.arg(1)
    if isinstance(other, Tensor) or call.step.kwargs:
        return _UNKNOWN
    return Always(reads[0].low + other, reads[0].high + other)


def _summed(call: Call, reads: Sequence[Always]) -> Always:
    """A sum keeps a sign; by how much its terms round, it does not matter."""
    low = 0.0 if reads[0].low >= 0 else -_INF
    return Always(low, 0.0 if reads[0].high <= 0 else _INF)


def _root(call: Call, reads: Sequence[Always]) -> Always:
    return Always(math.sqrt(max(reads[0].low, 0.0)))


def _inverse(call: Call, reads: Sequence[Always]) -> Always:
    """Of a positive number, or of its root."""
    low = reads[0].low
    if not low > 0:
        return _UNKNOWN
    root = call.step.op is _ATEN.rsqrt.default
    return Always(0.0, 1 / math.sqrt(low) if root else 1 / low)


_RULES: dict[Any, Rule] = {
    **dict.fromkeys((_ATEN.softmax.int, _ATEN._softmax.default), _shares),
    **dict.fromkeys(named_ops("sigmoid hardsigmoid"), _within(0.0, 1.0)),
    **dict.fromkeys(named_ops("tanh erf"), _within(-1.0, 1.0)),
    **dict.fromkeys(named_ops("relu abs square exp softplus"), _within(0.0)),
    _ATEN.relu6.default: _within(0.0, 6.0),
    _ATEN.hardtanh.default: _hardtanh,
    _ATEN.clamp.default: _clamped,
    _ATEN.clamp_min.default: lambda call, reads: Always(float(call.arg(1))),
    _ATEN.clamp_max.default: lambda call, reads: Always(high=float(call.arg(1))),
    _ATEN.pow.Tensor_Scalar: _power,
    _ATEN.mul.Tensor: _squared,
    _ATEN.div.Tensor: _divided,
    _ATEN.add.Tensor: _added,
    _ATEN.sum.dim_IntList: _summed,
    _ATEN.sqrt.default: _root,
    _ATEN.rsqrt.default: _inverse,
    _ATEN.reciprocal.default: _inverse,
    **dict.fromkeys((*named_ops("amax"), _ATEN.mean.dim), _moved),
    **dict.fromkeys(named_ops("dropout clone alias detach contiguous _to_copy"), _same),
    **dict.fromkeys((as_reshape, _ATEN.reshape.default), _reshaped),
    **dict.fromkeys(named_ops("permute expand unsqueeze"), _moved),
    **dict.fromkeys(
        (_ATEN.transpose.int, _ATEN.select.int, _ATEN.slice.Tensor), _moved
    ),
    **dict.fromkeys((_ATEN.squeeze.dim, _ATEN.squeeze.dims), _moved),
    _ATEN.flatten.using_ints: _moved,
    _ATEN.unflatten.int: _moved,
}
