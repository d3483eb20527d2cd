"""Channels: what a changed word makes of the one channel that it is used in.

A word of a convolution, a linear layer or a batch norm moves one channel of that
layer's result. What follows is run for that channel alone, and exactly, as long as
channels are kept apart and one step alone reads them: activations that saturate,
pooling, further batch norms, depthwise convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.certified.contract import each_along, named_ops
from stoic.network.program import First, Program, Ref, Step, Values

__all__ = ["Reached", "channel_path"]

_ATEN = torch.ops.aten
_NORM = _ATEN._native_batch_norm_legit_no_training.default

Places: TypeAlias = Tensor
"""Flat indices of words, int64."""
Start: TypeAlias = Callable[[Values, Places, Tensor], Tensor]
"""From golden values, W words and their new numbers ``[W, B]`` to the channels of the
first result, ``[W, B, inputs, *positions]``."""
Carry: TypeAlias = Callable[[Values, Tensor, Tensor], Tensor]
"""From golden values, channels' numbers ``[W]`` and the channels to what follows."""


@dataclass(frozen=True)
class Reached:
    """The way of a stored tensor's words to the last value where channels are apart.

    Args:
        first: Name of the result of the step that reads the words.
        value: Name of that value.
        dim: Dimension of its channels.
        tensor: The stored tensor.
        channel: From places of words to the channels that use them.
        start: The step that reads the words.
        carries: Those that follow.
    """

    first: str
    value: str
    dim: int
    tensor: Tensor
    channel: Callable[[Places], Tensor]
    start: Start
    carries: tuple[Carry, ...]

    def channels(self, values: Values, places: Places, words: Tensor) -> Tensor:
        """Return the channels with a word changed, ``[W, B, inputs, *positions]``.

        Args:
            values: Of the golden run on some inputs.
            places: Of W words.
            words: New numbers of each, ``[W, B]``.
        """
        found, channels = self.start(values, places, words), self.channel(places)
        for carry in self.carries:
            found = carry(values, channels, found)
        return found

    def golden(self, value: Tensor, places: Places) -> Tensor:
        """Return the same channels of a value of the whole network, ``[W, ...]``.

        Leading dimensions of the value other than inputs are not expected.
        """
        return value.movedim(self.dim, 0)[self.channel(places)]


def channel_path(program: Program, name: str) -> Reached | None:
    """Return the way of the words of a stored value; nothing where none is known.

    Args:
        program: Of the network.
        name: Of a stored value that one step reads in one place.
    """
    readers = program.readers.get(name, ())
    if len(readers) != 1 or name in program.output_names:
        return None
    step = readers[0]
    position = _position(step, name)
    starts = _STARTS.get(_plain(step))
    if position is None or starts is None or step.kwargs:
        return None
    made = starts(program, step, position)
    if made is None:
        return None
    dim, channel, start = made
    carries, last = _followed(program, step, dim)
    return Reached(step.name, last, dim, program.stored[name], channel, start, carries)


def _plain(step: Step) -> Any:
    return step.op.op if isinstance(step.op, First) else step.op


def _position(step: Step, name: str) -> int | None:
    places = [i for i, a in enumerate(step.args) if a == Ref(name)]
    return places[0] if len(places) == 1 else None


_Made: TypeAlias = "tuple[int, Callable[[Places], Tensor], Start] | None"


def _convolution(program: Program, step: Step, position: int) -> _Made:
    weight = _stored(program, step, 1)
    if weight is None or position not in (1, 2) or _name(step, 0) in program.stored:
        return None
    each = weight[0].numel()
    if position == 2:
        return 1, lambda places: places, _shifted(step, 1, program)
    per_group = weight.shape[0] // int(_arg(step, 6, 1))

    def start(values: Values, places: Places, words: Tensor) -> Tensor:
        x = _padded(step, values[step.args[0].name], weight.dim() - 2)
        channel = places // each
        inner = torch.unravel_index(places % each, weight.shape[1:])
        read = inner[0] + channel // per_group * weight.shape[1]
        patches = [
            x[:, c][(slice(None), *_window(step, weight, place, values))]
            for c, *place in zip(
                read.tolist(), *(i.tolist() for i in inner[1:]), strict=True
            )
        ]
        return _moved(step, 1, values, channel, places, words, torch.stack(patches))

    return 1, lambda places: places // each, start


def _padded(step: Step, x: Tensor, dims: int) -> Tensor:
    sides = [s for p in reversed(each_along(_arg(step, 4, 0), dims)) for s in (p, p)]
    return F.pad(x, sides)


def _window(
    step: Step, weight: Tensor, place: list[int], values: Values
) -> tuple[slice, ...]:
    """Return which places of the padded input a word of a kernel is multiplied by."""
    dims = weight.dim() - 2
    stride, dilation = (each_along(_arg(step, p, 1), dims) for p in (3, 5))
    sizes = values[step.name].shape[2:]
    each = zip(place, stride, dilation, sizes, strict=True)
    return tuple(slice(k * d, k * d + s * (n - 1) + 1, s) for k, s, d, n in each)


def _linear(program: Program, step: Step, position: int) -> _Made:
    weight = _stored(program, step, 1)
    if weight is None or position not in (1, 2) or _name(step, 0) in program.stored:
        return None
    if position == 2:
        return -1, lambda places: places, _shifted(step, -1, program)
    width = weight.shape[1]

    def start(values: Values, places: Places, words: Tensor) -> Tensor:
        x = values[step.args[0].name].movedim(-1, 0)[places % width]
        return _moved(step, -1, values, places // width, places, words, x)

    return -1, lambda places: places // width, start


def _shifted(step: Step, dim: int, program: Program) -> Start:
    """Return the start of a bias."""
    bias = _stored(program, step, 2)
    assert bias is not None

    def start(values: Values, places: Places, words: Tensor) -> Tensor:
        ones = torch.ones_like(values[step.name].movedim(dim, 0)[places])
        return _moved(step, dim, values, places, places, words, ones, bias)

    return start


def _moved(
    step: Step,
    dim: int,
    values: Values,
    channel: Tensor,
    places: Places,
    words: Tensor,
    factor: Tensor,
    tensor: Tensor | None = None,
) -> Tensor:
    """Return golden channels, moved by what words change times what they meet."""
    old = values[step.args[1].name] if tensor is None else tensor
    change = words.double() - old.reshape(-1)[places, None].double()
    golden = values[step.name].movedim(dim, 0)[channel]
    shape = (*change.shape, *[1] * (factor.dim() - 1))
    moved = change.to(factor.dtype).reshape(shape) * factor[:, None]
    return torch.add(golden[:, None], moved)


def _norm(program: Program, step: Step, position: int) -> _Made:
    if position not in (1, 2, 3, 4) or _name(step, 0) in program.stored:
        return None
    eps = float(step.args[6])

    def start(values: Values, places: Places, words: Tensor) -> Tensor:
        x = values[step.args[0].name].movedim(1, 0)[places]
        parts = [_norm_part(step, i, values, places)[:, None] for i in (1, 2, 3, 4)]
        parts[position - 1] = words
        return _normed(x[:, None], parts, eps)

    return 1, lambda places: places, start


def _norm_part(step: Step, i: int, values: Values, channel: Tensor) -> Tensor:
    if step.args[i] is None:
        return torch.full((len(channel),), float(i == 1))
    found: Tensor = values[step.args[i].name][channel]
    return found


def _normed(x: Tensor, parts: list[Tensor], eps: float) -> Tensor:
    """Apply weight, bias, mean and variance, ``[W, B]`` each, to channels."""
    weight, bias, mean, var = (
        p.reshape(*p.shape, *[1] * (x.dim() - 2)).to(x.dtype) for p in parts
    )
    scale = (var + eps).rsqrt() * weight
    # As kernels have it: a scale that is not finite makes numbers that are none.
    return x * scale + (bias - mean * scale)


_STARTS: Mapping[Any, Callable[[Program, Step, int], _Made]] = {
    _ATEN.conv1d.default: _convolution,
    _ATEN.conv2d.default: _convolution,
    _ATEN.conv3d.default: _convolution,
    _ATEN.linear.default: _linear,
    _NORM: _norm,
}


def _followed(program: Program, step: Step, dim: int) -> tuple[tuple[Carry, ...], str]:
    """Return the steps that keep channels apart, and the last value they make."""
    carries: list[Carry] = []
    while True:
        readers = [
            s for s in program.readers.get(step.name, ()) if s.operator != "sym_size"
        ]
        if len(readers) != 1 or step.name in program.output_names:
            return tuple(carries), step.name
        carry = _carry(program, readers[0], step.name, dim)
        if carry is None:
            return tuple(carries), step.name
        carries.append(carry)
        step = readers[0]


def _carry(program: Program, step: Step, name: str, dim: int) -> Carry | None:
    op = _plain(step)
    if step.inputs[0] != name or step.args[0] != Ref(name):
        return None
    if op in _POINTWISE and step.inputs == (name,):
        return lambda values, channel, x: step(lambda _: x)
    if dim != 1:
        return None
    if op in _SPATIAL and step.inputs == (name,):
        return lambda values, channel, x: _spatial(step, x)
    if op == _NORM:
        return lambda values, channel, x: _normed(
            x,
            [_norm_part(step, i, values, channel)[:, None] for i in (1, 2, 3, 4)],
            float(step.args[6]),
        )
    if op == _ATEN.conv2d.default and not step.kwargs:
        return _depthwise(program, step)
    return None


def _spatial(step: Step, x: Tensor) -> Tensor:
    """Run a step on channels as if each were that of an input of its own."""
    flat = x.reshape(-1, 1, *x.shape[3:])
    found: Tensor = step(lambda _: flat)
    return found.reshape(*x.shape[:3], *found.shape[2:])


def _depthwise(program: Program, step: Step) -> Carry | None:
    weight = _stored(program, step, 1)
    groups = int(_arg(step, 6, 1))
    if weight is None or weight.shape[1] != 1 or weight.shape[0] != groups:
        return None
    if groups == 1 or (_name(step, 2) and _stored(program, step, 2) is None):
        return None

    def carry(values: Values, channel: Tensor, x: Tensor) -> Tensor:
        bias = step.args[2] if len(step.args) > 2 else None
        own = None if bias is None else values[bias.name][channel]
        many = x.flatten(1, 2).transpose(0, 1)
        found = F.conv2d(
            many,
            values[step.args[1].name][channel],
            own,
            each_along(_arg(step, 3, 1), 2),
            each_along(_arg(step, 4, 0), 2),
            each_along(_arg(step, 5, 1), 2),
            len(channel),
        )
        return found.transpose(0, 1).reshape(*x.shape[:3], *found.shape[2:])

    return carry


def _arg(step: Step, position: int, default: Any) -> Any:
    return step.args[position] if position < len(step.args) else default


def _name(step: Step, position: int) -> str | None:
    arg = _arg(step, position, None)
    return arg.name if isinstance(arg, Ref) else None


def _stored(program: Program, step: Step, position: int) -> Tensor | None:
    found = program.stored.get(_name(step, position) or "")
    return found if isinstance(found, Tensor) else None


_POINTWISE = frozenset(
    named_ops(
        "relu relu6 hardtanh clamp clamp_min leaky_relu elu gelu silu mish sigmoid "
        "tanh hardswish hardsigmoid softplus celu selu alias detach dropout neg abs"
    )
)
_SPATIAL = frozenset(
    named_ops(
        "max_pool1d max_pool2d max_pool3d pad constant_pad_nd avg_pool1d avg_pool2d "
        "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
    )
)
