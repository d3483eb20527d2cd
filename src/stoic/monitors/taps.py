"""Markers as modules with few operators, for a network that watches itself.

They give the words that the markers give, on any device, compiled and exported.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stoic.monitors.markers import (
    ChannelQuantiles,
    ChannelSums,
    Extremes,
    Marker,
    Quantiles,
    channel_sums,
)
from stoic.monitors.ordered import at_places, can_be_ordered
from stoic.monitors.watches import Watch

__all__ = ["tap_of"]


def tap_of(watch: Watch, shape: tuple[int, ...], *, portable: bool) -> nn.Module:
    """Return a module that maps a value to one row of features per input.

    Args:
        watch: What is computed.
        shape: Of one row of the value.
        portable: Whether to spell out what becomes of NaN where others than PyTorch
            order and compare it differently.
    """
    marker = watch.marker
    if isinstance(marker, ChannelQuantiles):
        order = _Order(marker.levels, shape[watch.channels - 1], portable=portable)
        return _OfChannels(watch.channels, order)
    if isinstance(marker, Quantiles):
        count = math.ceil(math.prod(shape) / marker.stride)
        return _OfAll(marker.stride, _Order(marker.levels, count, portable=portable))
    if isinstance(marker, ChannelSums):
        return _Sums(watch.channels, marker)
    if portable and isinstance(marker, Extremes):
        return _Ends()
    return _Marked(marker, watch.channels)


class _Marked(nn.Module):
    """A marker as it is."""

    def __init__(self, marker: Marker, channels: int) -> None:
        super().__init__()
        self._marker, self._channels = marker, channels

    def forward(self, value: Tensor) -> Tensor:
        """Return features of shape ``(rows, numbers)``."""
        return self._marker(value, self._channels)


class _Ends(nn.Module):
    """`Extremes` with NaN spelt out."""

    def forward(self, value: Tensor) -> Tensor:
        """Return the least and the largest number, of shape ``(rows, 2)``."""
        flat = value.flatten(1).float()
        broken = flat.isnan().any(1)
        ends = [-_largest(-flat, broken), _largest(flat, broken)]
        return torch.stack(ends, 1)


class _Sums(nn.Module):
    """`ChannelSums`."""

    told: Tensor

    def __init__(self, channels: int, marker: ChannelSums) -> None:
        super().__init__()
        self._channels, self._all = channels, marker.kept is None
        self.register_buffer("told", torch.tensor(marker.told))

    def forward(self, value: Tensor) -> Tensor:
        """Return the sums that are told, of shape ``(rows, channels)``."""
        sums = channel_sums(value, self._channels)
        return sums if self._all else sums.index_select(1, self.told)


class _OfChannels(nn.Module):
    """`ChannelQuantiles`."""

    def __init__(self, channels: int, order: _Order) -> None:
        super().__init__()
        self._channels, self.order = channels, order

    def forward(self, value: Tensor) -> Tensor:
        """Return quantiles of the sums of channels, of shape ``(rows, levels)``."""
        found: Tensor = self.order(channel_sums(value, self._channels))
        return found


class _OfAll(nn.Module):
    """`Quantiles`."""

    def __init__(self, stride: int, order: _Order) -> None:
        super().__init__()
        self._stride, self.order = stride, order

    def forward(self, value: Tensor) -> Tensor:
        """Return quantiles of every so many-th number, of shape ``(rows, levels)``."""
        found: Tensor = self.order(value.flatten(1)[:, :: self._stride].float())
        return found


class _Order(nn.Module):
    """Quantiles of each row, as `markers.quantiles` has them, by no more than it takes.

    Where all levels lie on one side, only that side is put in order.

    Args:
        levels: Between 0 and 1.
        count: Numbers of a row.
        portable: As for `tap_of`.
    """

    below: Tensor
    above: Tensor
    parts: Tensor

    def __init__(
        self, levels: tuple[float, ...], count: int, *, portable: bool
    ) -> None:
        super().__init__()
        spots = [level * (count - 1) for level in levels]
        below = [math.floor(spot) for spot in spots]
        above = [math.ceil(spot) for spot in spots]
        parts = [spot - math.floor(spot) for spot in spots]
        self._count, self._portable = count, portable
        self._ends = tuple(levels) if set(levels) <= {0.0, 1.0} else None
        self._least = 2 * max(above) < count
        self._most = not self._least and 2 * min(below) >= count
        self._wanted = max(above) + 1 if self._least else count - min(below)
        self._between = below != above
        self._rising = below + above if self._between else below
        self.register_buffer("below", self._places(below))
        self.register_buffer("above", self._places(above))
        self.register_buffer("parts", torch.tensor(parts))

    def _places(self, index: list[int]) -> Tensor:
        """Return where numbers of an ascending order are in the one that is made."""
        last = self._count - 1
        return torch.tensor([last - i for i in index] if self._most else index)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return quantiles of shape ``(rows, levels)``; NaN stands above all numbers.

        Args:
            numbers: Of shape ``(rows, count)``.
        """
        if self._ends is not None:
            return self._only_ends(numbers, self._ends)
        if not self._portable and can_be_ordered(numbers):
            found = at_places(numbers, self._rising)
            return self._within(*found.split(len(self.parts), 1))
        broken = numbers.isnan() if self._portable else None
        if broken is not None:
            numbers = numbers.masked_fill(broken, math.inf)
        ordered = self._ordered(numbers)
        below = self._at(ordered, self.below, broken)
        if not self._between:
            return below
        return self._within(below, self._at(ordered, self.above, broken))

    def _within(self, below: Tensor, above: Tensor | None = None) -> Tensor:
        """Return what lies so far between the numbers of two places."""
        if above is None:
            return below
        between = below + self.parts * (above - below)
        # Infinity less infinity is no number: what lies on a spot is taken as it is.
        return torch.where(below == above, below, between)

    def _ordered(self, numbers: Tensor) -> Tensor:
        if self._most:
            return numbers.topk(self._wanted, 1).values
        if self._least:
            return numbers.topk(self._wanted, 1, largest=False).values
        return numbers.sort(1).values

    def _at(self, ordered: Tensor, place: Tensor, broken: Tensor | None) -> Tensor:
        """Return numbers by their place in an order in which NaN is above all."""
        found = ordered.index_select(1, place)
        if broken is None:
            return found
        index = self._count - 1 - place if self._most else place
        numbers = self._count - broken.sum(1, keepdim=True)
        return found.masked_fill(index >= numbers, math.nan)

    def _only_ends(self, numbers: Tensor, levels: tuple[float, ...]) -> Tensor:
        broken = numbers.isnan() if self._portable or 0.0 in levels else None
        ends = [self._end(numbers, level, broken) for level in levels]
        return ends[0] if len(ends) == 1 else torch.cat(ends, 1)

    def _end(self, numbers: Tensor, level: float, broken: Tensor | None) -> Tensor:
        if broken is not None and not level:
            return numbers.masked_fill(broken, math.inf).amin(1, keepdim=True)
        if broken is not None and self._portable:
            return _largest(numbers, broken.any(1)).unsqueeze(1)
        return numbers.amax(1, keepdim=True)


def _largest(numbers: Tensor, broken: Tensor) -> Tensor:
    """Return the largest number of each row; NaN where a row is broken."""
    filled = numbers.masked_fill(numbers.isnan(), -math.inf)
    return filled.amax(1).masked_fill(broken, math.nan)
