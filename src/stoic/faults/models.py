"""Fault models: how a stored word is corrupted.

Every corruption of a word is a pair of masks: keep some bits, then invert some.
A fault model is the list of the corruptions it may apply to a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stoic.faults.formats import Format, word_of

__all__ = [
    "BitFlip",
    "Burst",
    "Corruption",
    "FaultModel",
    "MultiFlip",
    "RandomWord",
    "SetValue",
    "StuckAt",
    "model_name",
    "named_model",
]


@dataclass(frozen=True)
class Corruption:
    """What happens to one word: ``(word & keep) ^ flip``.

    Args:
        keep: Bits that stay; the others become 0.
        flip: Bits that are then inverted.
        bit: Lowest bit touched, or -1 where the whole word is replaced.
    """

    keep: int
    flip: int
    bit: int

    def __call__(self, word: int) -> int:
        """Return the corrupted word."""
        return (word & self.keep) ^ self.flip


class FaultModel(Protocol):
    """A numbered list of corruptions of a word."""

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """Return how many corruptions of the chosen bits there are."""
        ...

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Return the corruption of that number."""
        ...

    def as_record(self) -> dict[str, Any]:
        """Return plain data that names the model."""
        ...


@dataclass(frozen=True)
class BitFlip:
    """Invert one bit."""

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """One corruption per chosen bit."""
        return len(bits)

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Invert the chosen bit of that rank."""
        bit = bits[number]
        return Corruption(_ones(format), 1 << bit, bit)

    def as_record(self) -> dict[str, Any]:
        """Name the model."""
        return {"name": "flip"}


@dataclass(frozen=True)
class MultiFlip:
    """Invert ``k`` distinct bits of the word.

    Args:
        k: How many.
    """

    k: int

    def __post_init__(self) -> None:
        _check_bits(self.k)

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """Every set of ``k`` of the chosen bits."""
        return math.comb(len(bits), self.k)

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Invert the set of that rank in colexicographic order."""
        chosen = []
        for size in range(self.k, 0, -1):
            rank = size - 1
            while math.comb(rank + 1, size) <= number:
                rank += 1
            number -= math.comb(rank, size)
            chosen.append(bits[rank])
        return _flip(format, chosen)

    def as_record(self) -> dict[str, Any]:
        """Name the model and its number of bits."""
        return {"name": "multi-flip", "k": self.k}


@dataclass(frozen=True)
class Burst:
    """Invert ``k`` neighbouring bits.

    Args:
        k: How many.
    """

    k: int

    def __post_init__(self) -> None:
        _check_bits(self.k)

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """One corruption per run of ``k`` neighbours among the chosen bits."""
        return len(self._starts(bits))

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Invert the run of that rank, counted from the lowest."""
        start = self._starts(bits)[number]
        return _flip(format, range(start, start + self.k))

    def _starts(self, bits: Sequence[int]) -> list[int]:
        chosen = set(bits)
        return [b for b in bits if all(b + i in chosen for i in range(self.k))]

    def as_record(self) -> dict[str, Any]:
        """Name the model and its number of bits."""
        return {"name": "burst", "k": self.k}


@dataclass(frozen=True)
class StuckAt:
    """Hold one bit at 0 or 1: the fault may leave the word as it was.

    Args:
        level: 0 or 1.
    """

    level: int

    def __post_init__(self) -> None:
        if self.level not in (0, 1):
            raise ValueError(f"level must be 0 or 1, got {self.level}")

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """One corruption per chosen bit."""
        return len(bits)

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Hold the chosen bit of that rank."""
        bit = bits[number]
        return Corruption(_ones(format) ^ (1 << bit), self.level << bit, bit)

    def as_record(self) -> dict[str, Any]:
        """Name the model and its level."""
        return {"name": "stuck-at", "level": self.level}


@dataclass(frozen=True)
class SetValue:
    """Replace the word by that of a given number.

    Args:
        value: In the units of the site; rounded to its format.
    """

    value: float

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """Return the only corruption there is."""
        return 1

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Replace the word by that of the value."""
        return Corruption(0, word_of(self.value, format), -1)

    def as_record(self) -> dict[str, Any]:
        """Name the model and its value."""
        # JSON knows no infinity and no NaN.
        value = self.value if math.isfinite(self.value) else str(self.value)
        return {"name": "set", "value": value}


@dataclass(frozen=True)
class RandomWord:
    """Replace the word by any word of the format, each as likely as the others."""

    def count(self, format: Format, bits: Sequence[int]) -> int:
        """One corruption per word."""
        return 1 << format.width

    def corruption(
        self, number: int, format: Format, bits: Sequence[int]
    ) -> Corruption:
        """Replace the word by its number."""
        return Corruption(0, number, -1)

    def as_record(self) -> dict[str, Any]:
        """Name the model."""
        return {"name": "random-word"}


def _ones(format: Format) -> int:
    return (1 << format.width) - 1


def _check_bits(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1 bit, got {k}")


def _flip(format: Format, bits: Sequence[int]) -> Corruption:
    return Corruption(_ones(format), sum(1 << bit for bit in bits), min(bits))


_PLAIN: dict[str, FaultModel] = {
    "flip": BitFlip(),
    "stuck-at-0": StuckAt(0),
    "stuck-at-1": StuckAt(1),
    "random": RandomWord(),
}
_NUMBERED: dict[str, Callable[[str], FaultModel]] = {
    "flips": lambda number: MultiFlip(int(number)),
    "burst": lambda number: Burst(int(number)),
    "set": lambda number: SetValue(float(number)),
}


def named_model(text: str) -> FaultModel:
    """Return the fault model that a text such as ``flip`` or ``burst:2`` names.

    Raises:
        ValueError: There is none of that name, or its number is missing.
    """
    name, _, number = text.partition(":")
    if text in _PLAIN:
        return _PLAIN[text]
    try:
        return _NUMBERED[name](number)
    except (KeyError, ValueError):
        forms = "flip, flips:K, burst:K, stuck-at-0, stuck-at-1, set:VALUE, random"
        raise ValueError(f"fault model must be one of {forms}, got {text!r}") from None


def model_name(model: FaultModel) -> str:
    """Return the text by which `named_model` makes an equal fault model."""
    match model:
        case MultiFlip(k):
            return f"flips:{k}"
        case Burst(k):
            return f"burst:{k}"
        case SetValue(value):
            return f"set:{value!r}"
    return next(name for name, plain in _PLAIN.items() if plain == model)
