"""Roles of the bits of a stored word, by the name of its number format."""

from __future__ import annotations

__all__ = ["bit_role"]

# Width of the mantissa, width of the word; the topmost bit is the sign.
_FLOATS = {
    "float64": (52, 64),
    "float32": (23, 32),
    "float16": (10, 16),
    "bfloat16": (7, 16),
    "float8_e4m3fn": (3, 8),
    "float8_e5m2": (2, 8),
}
# Width of the word, and whether its topmost bit is a sign.
_INTEGERS = {
    "int64": (64, True),
    "int32": (32, True),
    "int16": (16, True),
    "int8": (8, True),
    "uint8": (8, False),
    "bool": (8, False),
}


def bit_role(dtype: str, bit: int) -> str:
    """Return ``sign``, ``exponent`` or ``mantissa``; ``sign`` or ``magnitude``.

    Args:
        dtype: As records write it, such as ``float32``.
        bit: 0 is the least significant.

    Raises:
        ValueError: There is no such format, or no such bit in it.
    """
    if dtype in _FLOATS:
        mantissa, width = _FLOATS[dtype]
        below, signed = "mantissa" if bit < mantissa else "exponent", True
    elif dtype in _INTEGERS:
        (width, signed), below = _INTEGERS[dtype], "magnitude"
    else:
        known = ", ".join([*_FLOATS, *_INTEGERS])
        raise ValueError(f"dtype must be one of {known}, got {dtype}")
    if not 0 <= bit < width:
        raise ValueError(f"bit must be in 0..{width - 1} for {dtype}, got {bit}")
    return "sign" if signed and bit == width - 1 else below
