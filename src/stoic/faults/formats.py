"""Number formats: a stored value as a word of bits, and the role of each bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Format",
    "cell",
    "flat_words",
    "format_of",
    "read_word",
    "value_of",
    "word_of",
    "write_word",
]


@dataclass(frozen=True)
class Format:
    """How a dtype is stored; bit 0 is the least significant.

    Args:
        name: As records write it, such as ``float32``.
        width: Bits in the word.
        mantissa: Bits of the fraction; 0 for integers.
        exponent: Bits of the exponent; 0 for integers.
        signed: Whether the topmost bit is a sign.
        word: The signed integer dtype of the same width, for viewing the word.
    """

    name: str
    width: int
    mantissa: int
    exponent: int
    signed: bool
    word: torch.dtype

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of every bit, from bit 0 upwards."""
        if self.exponent:
            parts = ["mantissa"] * self.mantissa + ["exponent"] * self.exponent
        else:
            parts = ["magnitude"] * (self.width - self.signed)
        return tuple(parts + ["sign"] * self.signed)


def _float(name: str, mantissa: int, exponent: int, word: torch.dtype) -> Format:
    return Format(name, 1 + mantissa + exponent, mantissa, exponent, True, word)


def _integer(name: str, width: int, signed: bool, word: torch.dtype) -> Format:
    return Format(name, width, 0, 0, signed, word)


_FORMATS = {
    torch.float64: _float("float64", 52, 11, torch.int64),
    torch.float32: _float("float32", 23, 8, torch.int32),
    torch.float16: _float("float16", 10, 5, torch.int16),
    torch.bfloat16: _float("bfloat16", 7, 8, torch.int16),
    torch.float8_e4m3fn: _float("float8_e4m3fn", 3, 4, torch.int8),
    torch.float8_e5m2: _float("float8_e5m2", 2, 5, torch.int8),
    torch.int64: _integer("int64", 64, True, torch.int64),
    torch.int32: _integer("int32", 32, True, torch.int32),
    torch.int16: _integer("int16", 16, True, torch.int16),
    torch.int8: _integer("int8", 8, True, torch.int8),
    torch.uint8: _integer("uint8", 8, False, torch.int8),
    torch.bool: _integer("bool", 8, False, torch.int8),
}


def format_of(dtype: torch.dtype) -> Format | None:
    """Return the format of a dtype, or nothing where its words cannot be changed."""
    return _FORMATS.get(dtype)


def cell(tensor: Tensor, element: int) -> Tensor:
    """Return a view of one element of any layout, by its index in row-major order.

    Raises:
        IndexError: The tensor has no such element.
    """
    if not 0 <= element < tensor.numel():
        raise IndexError(f"element must be in 0..{tensor.numel() - 1}, got {element}")
    index: list[int] = []
    for size in reversed(tensor.shape):
        element, place = divmod(element, size)
        index.insert(0, place)
    return tensor[tuple(index)]


def read_word(tensor: Tensor, element: int) -> int:
    """Return the word of one element as an unsigned integer."""
    format = _FORMATS[tensor.dtype]
    word = cell(tensor, element).view(format.word).item()
    return int(word) % (1 << format.width)


def write_word(tensor: Tensor, element: int, word: int) -> None:
    """Overwrite one element in place with an unsigned word."""
    format = _FORMATS[tensor.dtype]
    signed = word - (1 << format.width) if word >> (format.width - 1) else word
    cell(tensor, element).view(format.word).fill_(signed)


def value_of(word: int, dtype: torch.dtype) -> Tensor:
    """Return the number that an unsigned word stands for, as a tensor of one."""
    value = torch.zeros(1, dtype=dtype)
    write_word(value, 0, word)
    return value


def word_of(value: float, format: Format) -> int:
    """Return the word of a number in a format, rounded as torch rounds it."""
    dtype = getattr(torch, format.name)
    return read_word(torch.tensor([value], dtype=torch.float64).to(dtype), 0)


def flat_words(tensor: Tensor) -> NDArray[Any]:
    """Return all words of a tensor as unsigned integers, in row-major order."""
    format = _FORMATS[tensor.dtype]
    # As words before anything is copied: a copy of a bool is 0 or 1.
    words = tensor.detach().cpu().view(format.word).contiguous().reshape(-1).numpy()
    return words.view(f"u{words.itemsize}")
