"""The largest of a window: which element it can be, over all that is reachable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.certified.contract import Call, each_along
from stoic.sensitivity.operators.contract import (
    ROOM,
    UP,
    Adjoint,
    Alone,
    Crossing,
    Crossings,
    Turn,
    Turns,
    single,
)

__all__ = ["max_pool", "max_pool_apart"]


def max_pool(crossing: Crossing) -> Turn | None:
    """Bound a maximum by its ends; its derivative is that of the golden winner.

    It bends where another element overtakes the winner, by no more than both move.
    """
    call, value = crossing.call, crossing.value
    if call.step.kwargs or value.dim() != 4:
        return None
    moved, windows = crossing.moved[0], Windows.of(call)
    above = _run(call, value + moved.most) - call.result
    below = call.result - _run(call, value - moved.most)
    elements = windows.elements(value)
    winner = elements.argmax(2, keepdim=True)
    share = torch.zeros_like(elements).scatter_(2, winner, 1.0)
    bend = _overtaken(windows.elements(value + moved.most), winner)
    least = windows.elements(value - moved.most).gather(2, winner)
    bend = (bend - least).clamp(min=0.0).reshape(call.result.shape)

    def back(gradient: Tensor) -> tuple[Tensor, ...]:
        return (windows.shared_out(gradient, share),)

    return Turn(
        most=torch.maximum(above, below) * UP,
        stretch=lambda norm: norm * (math.sqrt(windows.overlap) * UP),
        adjoint=Adjoint(back, back, windows.overlap),
        bend=bend * UP,
        # Winner and other move by sqrt(2) times the norm of both, at most.
        bend_norm=moved.norm * math.sqrt(2 * windows.overlap) * UP,
    )


def max_pool_apart(crossings: Crossings) -> Turns | None:
    """Bound maxima of windows that share no element.

    The derivative is the mean of those of all elements that tie for the maximum, with
    shares s. Where element i, behind by t, is the largest in the end, the result is
    above that lead by (1 - s) times what i moves by, less shares of what the others do,
    less t. It is never below, as no mean is above a maximum.
    """
    call, value = crossings.call, crossings.value
    if call.step.kwargs or value.dim() != 4 or not Windows.of(call).apart:
        return None
    windows, (moved,) = Windows.of(call), crossings.moved
    known = crossings.once("tiles", lambda: _Tiles.of(call, value, windows))
    places = [place.contiguous() for place in windows.places(moved.most)]
    mean = places[0] * known.share[0]
    for place, share in zip(places[1:], known.share[1:], strict=True):
        mean.addcmul_(place, share)
    most, bend = mean, torch.zeros_like(mean)
    for place, behind, lead, slope in zip(
        places, known.behind, known.lead, known.slope, strict=True
    ):
        most = torch.maximum(most, torch.add(behind, place, alpha=ROOM))
        led = torch.addcmul(lead, place, slope).add_(mean, alpha=ROOM)
        bend = torch.maximum(bend, led)
    return Turns(
        most=most,
        stretch=lambda norm: norm,
        adjoint=known.adjoint,
        bend=bend,
        bend_norm=moved.norm * (math.sqrt(2) * UP),
        convex=True,
        alone=known.alone,
        even=True,
    )


@dataclass(frozen=True)
class _Tiles:
    """What hangs on golden values alone, for each element of a window; float32.

    Numbers are rounded up by more than what is made of them can lose.

    Args:
        behind: How far each element is above the largest: never.
        lead: The same, and -infinity where one element is the derivative: the result
            does not bend by it.
        share: Of each in the derivative.
        slope: 1 less both its share and that in the others' mean.
        alone: The derivative.
        adjoint: Likewise.
    """

    behind: Tensor
    lead: Tensor
    share: Tensor
    slope: Tensor
    alone: Alone
    adjoint: Adjoint

    @classmethod
    def of(cls, call: Call, value: Tensor, windows: Windows) -> _Tiles:
        """Find who ties for the maximum of each window."""
        behind = windows.tiles(value) - call.result
        ties = behind == 0
        # What is not finite was refused, so that somebody is the largest.
        share = ties / ties.sum(0).double()
        weights = windows.untiled(share).float()
        above = (behind * (1 - 2.0**-22)).float()

        def back(gradient: Tensor) -> tuple[Tensor, ...]:
            return (windows.times(gradient, weights),)

        return cls(
            *(above, above.masked_fill(share == 1, -math.inf)),
            single(share * (1 + len(share) * 2.0**-22)),
            (1 - 2 * share + 2.0**-20).float(),
            Alone(weights, windows.sums_of, windows.spread, times=windows.times),
            Adjoint(back, back, 1),
        )


def _overtaken(highs: Tensor, winner: Tensor) -> Tensor:
    """Return how high the largest of all but the winner can be."""
    others = highs.scatter(2, winner, -math.inf)
    return others.amax(2, keepdim=True)


def _run(call: Call, value: Tensor) -> Tensor:
    result: Tensor = call.step.op(value, *call.step.args[1:])
    return result


@dataclass(frozen=True)
class Windows:
    """The windows of a pool over two dimensions.

    Args:
        kernel: Size of a window.
        stride: From one to the next.
        padding: Before the first row and column.
        dilation: From one element to the next.
        shape: How many windows there are.
        size: Of the value: rows and columns.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    shape: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, call: Call) -> Windows:
        """Read them from a call of ``max_pool2d``."""
        kernel = _pair(call.arg(1))
        value, result = call.arg(0).shape, call.result.shape
        return cls(
            kernel,
            _pair(call.arg(2) or kernel),
            _pair(call.arg(3, 0)),
            _pair(call.arg(4, 1)),
            (result[2], result[3]),
            (value[2], value[3]),
        )

    @property
    def overlap(self) -> int:
        """In how many windows an element can lie."""
        sides = zip(self.kernel, self.stride, self.dilation, strict=True)
        return math.prod(k if d > 1 else -(-k // s) for k, s, d in sides)

    @property
    def _sides(self) -> tuple[int, int, int, int]:
        """What to add left, right, above and below so that windows end flush."""
        reach = [
            (count - 1) * stride + dilation * (kernel - 1) + 1
            for count, stride, dilation, kernel in zip(
                self.shape, self.stride, self.dilation, self.kernel, strict=True
            )
        ]
        after = [
            max(r - p - n, 0)
            for r, p, n in zip(reach, self.padding, self.size, strict=True)
        ]
        return self.padding[1], after[1], self.padding[0], after[0]

    @property
    def apart(self) -> bool:
        """Whether windows lie side by side, all within the value."""
        sides = zip(self.shape, self.kernel, self.size, strict=True)
        return (
            self.kernel == self.stride
            and self.padding == (0, 0)
            and self.dilation == (1, 1)
            and all(n * k <= size for n, k, size in sides)
        )

    def places(self, value: Tensor) -> list[Tensor]:
        """Return the same without a copy, one for each element of a window."""
        (rows, columns), (high, wide) = self.shape, self.kernel
        cut = value[..., : rows * high, : columns * wide]
        return [cut[..., i::high, j::wide] for i in range(high) for j in range(wide)]

    def tiles(self, value: Tensor) -> Tensor:
        """Return [elements of a window, *others, *windows], if they lie side by side.

        Args:
            value: [*others, *size].
        """
        (rows, columns), (high, wide) = self.shape, self.kernel
        cut = value[..., : rows * high, : columns * wide]
        grid = cut.reshape(*value.shape[:-2], rows, high, columns, wide)
        return grid.movedim((-3, -1), (0, 1)).flatten(0, 1)

    def untiled(self, tiles: Tensor) -> Tensor:
        """Undo that; what is in no window is 0."""
        grid = tiles.unflatten(0, self.kernel).movedim((0, 1), (-3, -1))
        return self._filled(grid)

    def spread(self, result: Tensor) -> Tensor:
        """Give elements of a result to all elements of their windows."""
        grid = result[..., :, None, :, None]
        (rows, columns), (high, wide) = self.shape, self.kernel
        shape = (*result.shape[:-2], rows, high, columns, wide)
        return self._filled(grid.expand(shape))

    def times(self, result: Tensor, numbers: Tensor) -> Tensor:
        """Multiply elements of a value with those of their windows' results."""
        (rows, columns), (high, wide) = self.shape, self.kernel
        if self.size != (rows * high, columns * wide):
            return self.spread(result) * numbers
        # Kernels are fast along rows: those are made as long as the value's first.
        along = result.repeat_interleave(wide, -1)[..., :, None, :]
        found: Tensor = along * numbers.unflatten(-2, (rows, high))
        return found.flatten(-3, -2)

    def sums_of(self, value: Tensor, numbers: Tensor) -> Tensor:
        """Multiply elements of a value with numbers, and add up those of a window."""
        (rows, columns), (high, wide) = self.shape, self.kernel
        # Rows first: these lie in one piece.
        total: Tensor | None = None
        for at in range(high):
            lines, own = (
                each[..., at : rows * high : high, : columns * wide]
                for each in (value, numbers)
            )
            total = lines * own if total is None else total.addcmul_(lines, own)
        assert total is not None
        first, *rest = (total[..., at::wide] for at in range(wide))
        for place in rest:
            first = first + place
        return first

    def _filled(self, grid: Tensor) -> Tensor:
        whole = grid.flatten(-4, -3).flatten(-2)
        rows, columns = (
            size - n for size, n in zip(self.size, whole.shape[-2:], strict=True)
        )
        return F.pad(whole, (0, columns, 0, rows)) if rows or columns else whole

    def elements(self, value: Tensor) -> Tensor:
        """Return [rows, channels, elements of a window, windows]; none is -infinity."""
        padded = F.pad(value, self._sides, value=-math.inf)
        flat = F.unfold(
            padded.flatten(0, 1)[:, None],
            self.kernel,
            dilation=self.dilation,
            stride=self.stride,
        )
        grid = flat.reshape(*value.shape[:2], flat.shape[1], *self._counts(padded))
        return grid[..., : self.shape[0], : self.shape[1]].flatten(3)

    def _counts(self, padded: Tensor) -> tuple[int, ...]:
        """Return how many windows fit; those that a pool leaves out are cut off."""
        sides = zip(
            padded.shape[2:], self.kernel, self.stride, self.dilation, strict=True
        )
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sides)

    def shared_out(self, gradient: Tensor, share: Tensor) -> Tensor:
        """Give each window's gradient to its elements, and add up where they overlap.

        Args:
            gradient: [outputs, rows, channels, *windows].
            share: Of each element, [rows, channels, elements, windows].
        """
        return self._folded(gradient.flatten(3)[:, :, :, None] * share[None])

    def _folded(self, parts: Tensor) -> Tensor:
        """Sum [outputs, rows, channels, elements, windows] into [.., *size]."""
        left, right, above, below = self._sides
        rows, columns = self.size[0] + above + below, self.size[1] + left + right
        lead = parts.shape[:3]
        whole = self._with_left_out(parts, (rows, columns))
        summed = F.fold(
            whole.reshape(-1, *whole.shape[-2:]),
            (rows, columns),
            self.kernel,
            dilation=self.dilation,
            stride=self.stride,
        )
        cut = summed[..., above : above + self.size[0], left : left + self.size[1]]
        return cut.reshape(*lead, *self.size)

    def _with_left_out(self, parts: Tensor, size: tuple[int, int]) -> Tensor:
        """Put zeros where windows fit that the pool leaves out."""
        counts = self._counts(torch.empty(1, 1, *size, device="meta"))
        grid = parts.reshape(*parts.shape[:4], *self.shape)
        after = (0, counts[1] - self.shape[1], 0, counts[0] - self.shape[0])
        return F.pad(grid, after).flatten(4)


def _pair(option: Any) -> tuple[int, int]:
    first, second = each_along(option, 2)
    return int(first), int(second)
