"""Narrow number formats: what becomes of the words of a tensor that is stored in one.

A format does not convert anything: it says which numbers it has, and rounds a tensor
to the nearest of them, in the tensor's own dtype (*fake* quantisation).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Even",
    "Family",
    "FloatFormat",
    "Floating",
    "Grid",
    "IntegerFormat",
    "NarrowFormat",
    "named_family",
]

# Exponents that float32 holds, in which the rounding is done.
_BITS, _EXPONENTS, _MANTISSAS = (2, 24), (2, 8), (0, 23)


class Grid(Protocol):
    """The numbers that a tensor's words may take."""

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return every word rounded to the nearest of the numbers."""
        ...

    @property
    def error(self) -> float:
        """How far a word within the range may be from the nearest number, at most."""
        ...

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest number: words beyond them become these."""
        ...

    def errors(self, sizes: Tensor) -> Tensor:
        """Return how far words of such sizes, between the ends, may be rounded."""
        ...


class NarrowFormat(Protocol):
    """A number format of some width."""

    @property
    def bits(self) -> int:
        """Width of a word."""
        ...

    @property
    def name(self) -> str:
        """As a user writes it."""
        ...

    def of_weights(self, weight: Tensor) -> Grid:
        """Return the numbers for a weight, whose output channels come first."""
        ...

    def of_values(self, low: float, high: float) -> Grid:
        """Return the numbers for values that lie within a range."""
        ...


@dataclass(frozen=True)
class Even:
    """Numbers evenly apart, of which 0 is one.

    Args:
        step: Between two of them; one for each output channel, or for all.
        least: Of the whole numbers that they are multiples of the step by.
        most: Likewise.
        largest: Size of the words that it was made for.
    """

    step: Tensor
    least: int
    most: int
    largest: float

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return every word rounded to the nearest number, ties to even ones."""
        step = self.step.to(tensor.device)
        found = (tensor.float() / step).round_().clamp_(self.least, self.most)
        return found.mul_(step).to(tensor.dtype)

    @property
    def error(self) -> float:
        """Half a step, and what the float32 arithmetic of the rounding adds."""
        return float(self.step.max()) * 0.5 + 2.0**-22 * self.largest

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest number: words beyond them become these."""
        step = float(self.step.max())
        return step * self.least, step * self.most

    def errors(self, sizes: Tensor) -> Tensor:
        """Return how far words of such sizes, between the ends, may be rounded."""
        return torch.full_like(sizes, self.error)


@dataclass(frozen=True)
class IntegerFormat:
    """Whole numbers times a scale.

    Weights have a scale for each output channel and as many numbers on either side of
    0; values have one scale, and numbers from their least to their largest.

    Args:
        bits: Width, 2 to 24.
        by_channel: Whether each output channel of a weight has a scale of its own.
    """

    bits: int
    by_channel: bool = True

    def __post_init__(self) -> None:
        _check("bits", self.bits, *_BITS)

    @property
    def name(self) -> str:
        """As a user writes it."""
        return f"int{self.bits}"

    def of_weights(self, weight: Tensor) -> Even:
        """Return the numbers for a weight, whose output channels come first."""
        most = 2 ** (self.bits - 1) - 1
        sizes = weight.detach().float().abs()
        channels = self.by_channel and weight.dim() > 1
        tops = sizes.flatten(1).amax(1) if channels else sizes.amax()
        step = _positive(tops / most)
        shape = (-1, *[1] * (weight.dim() - 1)) if channels else ()
        return Even(step.reshape(shape), -most, most, float(tops.max()))

    def of_values(self, low: float, high: float) -> Even:
        """Return the numbers for values that lie within a range."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = _positive(torch.tensor((high - low) / (2**self.bits - 1)))
        # 0 has a number of its own, as padding and ReLU are made of it.
        least = round(low / float(step))
        return Even(step, least, least + 2**self.bits - 1, max(-low, high))


@dataclass(frozen=True)
class Floating:
    """Numbers of a floating format, times a power of two.

    Args:
        format: Whose numbers.
        shift: Exponent of the power.
        largest: Size of the words that it was made for.
    """

    format: FloatFormat
    shift: int
    largest: float

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return every word rounded to the nearest number, ties to even ones."""
        words = torch.ldexp(tensor.double(), torch.tensor(-self.shift))
        return torch.ldexp(self.format.rounded(words), torch.tensor(self.shift)).to(
            tensor.dtype
        )

    @property
    def error(self) -> float:
        """Half of the distance of the numbers where they are furthest apart."""
        largest = math.ldexp(self.largest, -self.shift)
        _, exponent = math.frexp(largest)
        quantum = max(exponent - 1, self.format.least_exponent) - self.format.mantissa
        above = max(largest - self.format.top, 0.0)
        return math.ldexp(max(math.ldexp(0.5, quantum), above), self.shift)

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest number: words beyond them become these."""
        top = math.ldexp(self.format.top, self.shift)
        return -top, top

    def errors(self, sizes: Tensor) -> Tensor:
        """Return how far words of such sizes, between the ends, may be rounded."""
        sizes = sizes.double().clamp(max=self.ends[1])
        _, exponent = torch.frexp(sizes)
        least = self.format.least_exponent + self.shift
        quantum = (exponent - 1).clamp(min=least) - self.format.mantissa
        # The last number is the least of float32, in which words are kept.
        return torch.ldexp(torch.full_like(sizes, 0.5), quantum) + 2.0**-149


@dataclass(frozen=True)
class FloatFormat:
    """A floating format with subnormal numbers, in which what is too large saturates.

    With 5 exponent bits or more, the top exponent is for infinities, as in IEEE 754;
    with 4 of them only the top word is none, as in OCP's e4m3; with fewer all are.

    Args:
        exponent: Bits of the exponent, 2 to 8.
        mantissa: Bits of the fraction, 0 to 23.
        scaled: Whether a tensor's largest word is brought near the largest number by
            a power of two.
    """

    exponent: int
    mantissa: int
    scaled: bool = False

    def __post_init__(self) -> None:
        _check("exponent", self.exponent, *_EXPONENTS)
        _check("mantissa", self.mantissa, *_MANTISSAS)

    @property
    def bits(self) -> int:
        """Width of a word, with the sign."""
        return 1 + self.exponent + self.mantissa

    @property
    def name(self) -> str:
        """As a user writes it."""
        return f"e{self.exponent}m{self.mantissa}"

    @property
    def least_exponent(self) -> int:
        """Of the smallest normal number."""
        return 2 - (1 << self.exponent - 1)

    @cached_property
    def top(self) -> float:
        """The largest number."""
        exponent = 2 ** (self.exponent - 1)
        fraction = 2 - math.ldexp(1, -self.mantissa)
        if self.exponent > 4:
            exponent -= 1
        elif self.exponent == 4 and self.mantissa:
            fraction -= math.ldexp(1, -self.mantissa)
        elif self.exponent == 4:
            exponent -= 1
        return math.ldexp(fraction, exponent)

    def rounded(self, words: Tensor) -> Tensor:
        """Return float64 words rounded to the nearest number, ties to even ones."""
        _, exponent = torch.frexp(words)
        # A word's binade starts one below the exponent of frexp.
        quantum = (exponent - 1).clamp(min=self.least_exponent) - self.mantissa
        whole = torch.ldexp(words, -quantum).round_()
        return torch.ldexp(whole, quantum).clamp_(-self.top, self.top)

    def of_weights(self, weight: Tensor) -> Floating:
        """Return the numbers for a weight."""
        return self._for(float(weight.detach().abs().max()))

    def of_values(self, low: float, high: float) -> Floating:
        """Return the numbers for values that lie within a range."""
        return self._for(max(-low, high, 0.0))

    def _for(self, largest: float) -> Floating:
        shift = 0
        if self.scaled and largest > 0:
            shift = math.ceil(math.log2(largest / self.top))
        return Floating(self, shift, largest)


Family: TypeAlias = Callable[[int], NarrowFormat]
"""From a width to the format of that width."""


def named_family(name: str) -> tuple[Family, tuple[int, ...]]:
    """Return a family of formats by its name, and the widths that it has.

    ``int`` is whole numbers of any width, ``int8`` those of one; ``e4`` is every
    format with 4 exponent bits, scaled, and ``e4m3`` one of these.

    Raises:
        ValueError: There is none of that name.
    """
    found = re.fullmatch(r"(?:int(\d+)?|e(\d+)(?:m(\d+))?)", _SYNONYMS.get(name, name))
    if not found:
        raise ValueError(
            "format must be int, int8, e4, e4m3 or another of such a name, bfloat16 "
            f"or float16, got {name!r}; choose one of these"
        )
    bits, exponent, mantissa = (int(n) if n else None for n in found.groups())
    for number, what, (least, most) in (
        (bits, "bits", _BITS),
        (exponent, "exponent bits", _EXPONENTS),
        (mantissa, "mantissa bits", _MANTISSAS),
    ):
        if number is not None and not least <= number <= most:
            raise ValueError(
                f"format must have {least} to {most} {what}, got {name!r}; "
                "choose one such as int8, e4m3 or bfloat16"
            )
    if exponent is None:
        return IntegerFormat, (bits,) if bits is not None else tuple(range(2, 17))
    first = 1 + exponent

    def floating(width: int) -> FloatFormat:
        return FloatFormat(exponent, width - first, scaled=True)

    if mantissa is not None:
        return floating, (first + mantissa,)
    return floating, tuple(range(first, first + 13))


_SYNONYMS = {"bfloat16": "e8m7", "float16": "e5m10", "e4m3fn": "e4m3"}


def _positive(step: Tensor) -> Tensor:
    """Return steps none of which is 0: a channel of zeros stays one with any."""
    return torch.where(step > 0, step, torch.ones_like(step))


def _check(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(
            f"{name} must be a whole number, got {value!r}; choose one such as {least}"
        )
    if not least <= value <= most:
        raise ValueError(
            f"{name} must be in {least}..{most}, got {value}; "
            "choose a format such as int8 or e4m3"
        )
