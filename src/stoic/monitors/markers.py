"""Markers: a few numbers that tell what a value inside of a network looks like.

Each is a frozen value that maps the batch of a value to one row of numbers per input,
with nothing but tensor operators: it works eagerly, compiled and exported, on any
device. Half precision is widened first. What is not a number stays visible.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, A low-cost strategic monitoring
    approach for scalable and interpretable error detection in deep neural networks,
    2023: quantiles over channels of the sums of feature maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = [
    "DECILES",
    "MARKERS",
    "ChannelQuantiles",
    "ChannelSums",
    "Extremes",
    "Marker",
    "Moments",
    "NonFinite",
    "Quantiles",
    "as_record",
    "marker_of",
    "quantiles",
]

DECILES = tuple(number / 10 for number in range(11))


class Marker(Protocol):
    """Numbers that tell what a value looks like, input by input."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are called."""
        ...

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return them, float32 of shape ``(inputs, numbers)``.

        Args:
            value: Inputs along dimension 0; at least two dimensions.
            channels: Dimension of the channels.
        """
        ...


@dataclass(frozen=True)
class ChannelQuantiles:
    """Quantiles over channels of the sum over each channel: the paper's markers.

    Args:
        levels: Between 0 and 1.
    """

    levels: tuple[float, ...] = DECILES

    @property
    def names(self) -> tuple[str, ...]:
        """One per level, such as ``q90``."""
        return tuple(f"q{100 * level:g}" for level in self.levels)

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return quantiles, float32 of shape ``(inputs, levels)``."""
        return quantiles(channel_sums(value, channels), self.levels)


@dataclass(frozen=True)
class ChannelSums:
    """The sum over each channel, as feature-map tracing has it.

    Args:
        count: Number of channels.
        kept: Which of them are told; all by default.
    """

    count: int
    kept: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """One per channel, such as ``sum 17``."""
        return tuple(f"sum {number}" for number in self.told)

    @property
    def told(self) -> tuple[int, ...]:
        """The channels that are told."""
        return tuple(range(self.count)) if self.kept is None else self.kept

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return sums, float32 of shape ``(inputs, channels)``."""
        sums = channel_sums(value, channels)
        return sums if self.kept is None else sums[:, list(self.kept)]


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of all numbers of a value, or of every so many-th of them.

    Args:
        levels: Between 0 and 1.
        stride: 1 for all numbers; more for a sample that costs as much less.
    """

    levels: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    stride: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """One per level, such as ``all q90`` or ``1/64 q90``."""
        of = "all" if self.stride == 1 else f"1/{self.stride}"
        return tuple(f"{of} q{100 * level:g}" for level in self.levels)

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return quantiles, float32 of shape ``(inputs, levels)``."""
        return quantiles(value.flatten(1)[:, :: self.stride].float(), self.levels)


@dataclass(frozen=True)
class Extremes:
    """The least and the largest number of a value."""

    @property
    def names(self) -> tuple[str, ...]:
        """Two names."""
        return ("least", "largest")

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return both, float32 of shape ``(inputs, 2)``; NaN if there is one."""
        flat = value.flatten(1)
        return torch.stack([flat.amin(1), flat.amax(1)], 1).float()


@dataclass(frozen=True)
class Moments:
    """Mean and mean square of a value."""

    @property
    def names(self) -> tuple[str, ...]:
        """Two names."""
        return ("mean", "mean square")

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return both, float32 of shape ``(inputs, 2)``."""
        flat = value.flatten(1).float()
        return torch.stack([flat.mean(1), flat.square().mean(1)], 1)


@dataclass(frozen=True)
class NonFinite:
    """How many numbers of a value are infinite or no numbers."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name."""
        return ("non-finite",)

    def __call__(self, value: Tensor, channels: int) -> Tensor:
        """Return the count, float32 of shape ``(inputs, 1)``."""
        return (~value.flatten(1).isfinite()).sum(1, keepdim=True).float()


def channel_sums(value: Tensor, channels: int) -> Tensor:
    """Return the sum over each channel, float32 of shape ``(inputs, channels)``."""
    rest = [dim for dim in range(1, value.dim()) if dim != channels]
    return value.sum(rest, dtype=torch.float32) if rest else value.float()


def quantiles(numbers: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Return quantiles of each row, linearly interpolated.

    Other than ``torch.quantile`` this takes any count, and a NaN stands above all
    numbers instead of making every quantile one.

    Args:
        numbers: Of shape ``(rows, count)``.
        levels: Between 0 and 1.
    """
    count = numbers.shape[1]
    if set(levels) <= {0.0, 1.0}:
        return torch.stack([_end(numbers, level) for level in levels], 1)
    ordered = numbers.sort(1).values
    spots = [level * (count - 1) for level in levels]
    below = ordered[:, [math.floor(spot) for spot in spots]]
    above = ordered[:, [math.ceil(spot) for spot in spots]]
    parts = numbers.new_tensor([spot - math.floor(spot) for spot in spots])
    # Infinity less infinity is no number: what lies on a spot is taken as it is.
    return torch.where(below == above, below, below + parts * (above - below))


def _end(numbers: Tensor, level: float) -> Tensor:
    """Return the least or the largest number of each row."""
    if level:
        return numbers.amax(1)
    return numbers.masked_fill(numbers.isnan(), math.inf).amin(1)


# By the names that a command knows them by; rules learn nothing from `NonFinite`.
MARKERS: Mapping[str, Marker] = {
    "quantiles": ChannelQuantiles(),
    "raw": Quantiles(DECILES),
    "sampled": Quantiles(DECILES, stride=16),
    "extremes": Extremes(),
    "moments": Moments(),
}


_KINDS: dict[str, type[Any]] = {
    "channel quantiles": ChannelQuantiles,
    "channel sums": ChannelSums,
    "quantiles": Quantiles,
    "extremes": Extremes,
    "moments": Moments,
    "non-finite": NonFinite,
}


def as_record(marker: Marker) -> dict[str, Any]:
    """Return plain data from which `marker_of` makes an equal marker."""
    kind = next(name for name, of in _KINDS.items() if isinstance(marker, of))
    return {"kind": kind, **asdict(marker)}  # type: ignore[call-overload]


def marker_of(record: dict[str, Any]) -> Marker:
    """Return the marker that was recorded.

    Raises:
        ValueError: It is none of those known here.
    """
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"marker must be one of {', '.join(_KINDS)}, got {kind!r}")
    marker: Marker = _KINDS[kind](**fields)
    return marker
