"""Words of stored values against ``struct`` and the raw bytes of their storage."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stoic import records
from stoic.faults.formats import (
    Format,
    flat_words,
    format_of,
    read_word,
    word_of,
    write_word,
)

# By definition: bits of the word, of its exponent, of its mantissa; its sign.
LAYOUTS = {
    torch.float64: (64, 11, 52, True),
    torch.float32: (32, 8, 23, True),
    torch.float16: (16, 5, 10, True),
    torch.bfloat16: (16, 8, 7, True),
    torch.float8_e4m3fn: (8, 4, 3, True),
    torch.float8_e5m2: (8, 5, 2, True),
    torch.int64: (64, 0, 0, True),
    torch.int32: (32, 0, 0, True),
    torch.int16: (16, 0, 0, True),
    torch.int8: (8, 0, 0, True),
    torch.uint8: (8, 0, 0, False),
    torch.bool: (8, 0, 0, False),
}
FLOATS = [dtype for dtype in LAYOUTS if dtype.is_floating_point]

dtypes = st.sampled_from(list(LAYOUTS))


def known(dtype: torch.dtype) -> Format:
    format = format_of(dtype)
    assert format is not None
    return format


def raw(tensor: Tensor) -> bytes:
    """The bytes of the whole storage, gaps included."""
    return bytes(tensor.untyped_storage().tolist())


def offset(tensor: Tensor, element: int) -> int:
    """Where the bytes of an element begin, by hand: row-major index, then strides."""
    place = tensor.storage_offset()
    for size, stride in zip(
        reversed(tensor.shape), reversed(tensor.stride()), strict=True
    ):
        element, index = divmod(element, size)
        place += index * stride
    return int(place) * tensor.element_size()


def stored_word(tensor: Tensor, element: int) -> int:
    begin = offset(tensor, element)
    return int.from_bytes(raw(tensor)[begin : begin + tensor.element_size()], "little")


def of_bytes(content: bytes, dtype: torch.dtype, *shape: int) -> Tensor:
    flat = torch.frombuffer(bytearray(content), dtype=torch.uint8).clone()
    return flat.view(dtype).reshape(shape)


def number(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Different words in every element."""
    size = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    return of_bytes(content, dtype, *shape)


LAID: dict[str, Callable[[torch.dtype], Tensor]] = {
    "plain": lambda dtype: number((2, 3, 2, 4), dtype),
    "channels-last": lambda dtype: number((2, 3, 2, 4), dtype).contiguous(
        memory_format=torch.channels_last
    ),
    "turned": lambda dtype: number((3, 4), dtype).t(),
    "gaps": lambda dtype: number((4, 6), dtype)[1::2, ::3],
    "one": lambda dtype: number((1,), dtype).reshape(()),
    "one-inside": lambda dtype: number((5,), dtype)[3],
}


@pytest.mark.parametrize("dtype", LAYOUTS, ids=str)
@pytest.mark.parametrize("laid", LAID)
def test_a_word_is_read_and_written_where_it_lies(
    laid: str, dtype: torch.dtype
) -> None:
    tensor = LAID[laid](dtype)
    width = 8 * tensor.element_size()
    flat = flat_words(tensor).copy()

    for element in range(tensor.numel()):
        before = bytearray(raw(tensor))
        old = read_word(tensor, element)

        write_word(tensor, element, old ^ ((1 << width) - 1))

        begin = offset(tensor, element)
        span = slice(begin, begin + tensor.element_size())
        assert old == int.from_bytes(before[span], "little") == int(flat[element])
        before[span] = bytes(byte ^ 255 for byte in before[span])
        assert raw(tensor) == bytes(before)


@given(dtypes, st.data())
def test_every_word_survives_a_round_trip(
    dtype: torch.dtype, data: st.DataObject
) -> None:
    width = LAYOUTS[dtype][0]
    word = data.draw(st.integers(0, (1 << width) - 1))
    tensor = torch.zeros(3, dtype=dtype)

    write_word(tensor, 1, word)

    # Compared as bytes: a word may be a NaN, and NaN equals nothing.
    assert stored_word(tensor, 1) == word
    assert read_word(tensor, 1) == word
    assert stored_word(tensor, 0) == stored_word(tensor, 2) == 0


@pytest.mark.parametrize("dtype", LAYOUTS, ids=str)
def test_roles_are_those_of_the_format(dtype: torch.dtype) -> None:
    width, exponent, mantissa, signed = LAYOUTS[dtype]
    format = known(dtype)

    rest = "mantissa" if exponent else "magnitude"
    expected = [rest] * (width - exponent - signed) + ["exponent"] * exponent
    assert list(format.roles) == expected + ["sign"] * signed
    assert len(format.roles) == format.width == width
    assert format.mantissa == mantissa
    assert f"torch.{format.name}" == str(dtype)
    written = [records.bit_role(format.name, bit) for bit in range(width)]
    assert written == list(format.roles)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bits_of_a_float_mean_what_their_role_says(dtype: torch.dtype) -> None:
    format = known(dtype)

    for bit, role in enumerate(format.roles):
        tensor = torch.tensor([1.5], dtype=dtype)
        write_word(tensor, 0, read_word(tensor, 0) ^ (1 << bit))
        mantissa, exponent = math.frexp(tensor.double().item())

        if role == "sign":
            assert tensor.item() == -1.5
        elif role == "mantissa":
            # Within the binade of 1.5, off by the weight of the bit.
            weight = 2.0 ** (bit - format.mantissa)
            assert abs(tensor.item() - 1.5) == weight
        elif tensor.double().isfinite().item():
            assert (mantissa, exponent) != math.frexp(1.5)
            assert abs(mantissa) == 0.75


@pytest.mark.parametrize(
    ("dtype", "letter"),
    [(torch.float64, "d"), (torch.float32, "f"), (torch.float16, "e")],
)
@given(value=st.floats(width=16, allow_nan=False))
def test_a_number_has_the_word_that_struct_packs(
    dtype: torch.dtype, letter: str, value: float
) -> None:
    packed = struct.pack(f"<{letter}", value)

    assert word_of(value, known(dtype)) == int.from_bytes(packed, "little")


@given(st.floats(width=32, allow_nan=False))
def test_bfloat16_is_float32_cut_to_its_upper_half_and_rounded_to_even(
    value: float,
) -> None:
    (word,) = struct.unpack("<I", struct.pack("<f", value))
    upper, lower = divmod(word, 1 << 16)
    upper += lower > 0x8000 or (lower == 0x8000 and upper % 2 == 1)

    assert word_of(value, known(torch.bfloat16)) == upper


@pytest.mark.parametrize(
    ("value", "dtype", "word"),
    [
        (-1, torch.int8, 0xFF),
        (-1, torch.int64, 2**64 - 1),
        (255, torch.uint8, 255),
        (1, torch.bool, 1),
        (7, torch.bool, 1),
        (-32768, torch.int16, 0x8000),
    ],
)
def test_whole_numbers_are_stored_in_two_s_complement(
    value: int, dtype: torch.dtype, word: int
) -> None:
    assert word_of(value, known(dtype)) == word


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fnuz, torch.qint8])
def test_other_dtypes_have_no_words(dtype: torch.dtype) -> None:
    assert format_of(dtype) is None


def test_an_element_outside_the_tensor_is_refused() -> None:
    for element in (6, -1):
        with pytest.raises(
            IndexError, match=rf"element must be in 0\.\.5, got {element}"
        ):
            read_word(torch.zeros(2, 3), element)
