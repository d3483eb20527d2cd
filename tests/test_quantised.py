"""Narrow formats against an enumeration of their numbers, and against torch's own."""

import math

import pytest
import torch
from torch import Tensor

from stoic.sensitivity.quantised import (
    FloatFormat,
    IntegerFormat,
    NarrowFormat,
    named_family,
)


def words(seed: int, *shape: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    scales = 10 ** (4 * torch.rand(*shape, generator=chance) - 2)
    return torch.randn(*shape, generator=chance) * scales


def nearest(numbers: Tensor, word: float) -> list[float]:
    """All numbers that are as near as any."""
    distances = (numbers - word).abs()
    return [float(n) for n in numbers[distances <= distances.min() * (1 + 1e-5)]]


def numbers_of(format: FloatFormat) -> Tensor:
    """Every finite number of a format, made of its words one by one."""
    bias = 2 ** (format.exponent - 1) - 1
    found = []
    for exponent in range(2**format.exponent):
        for fraction in range(2**format.mantissa):
            last = exponent == 2**format.exponent - 1
            if last and format.exponent > 4:
                continue
            if last and format.exponent == 4 and fraction == 2**format.mantissa - 1:
                continue
            part = fraction / 2**format.mantissa
            if exponent == 0:
                found.append(part * 2.0 ** (1 - bias))
            else:
                found.append((1 + part) * 2.0 ** (exponent - bias))
    return torch.tensor(sorted({*found, *(-x for x in found)}), dtype=torch.float64)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_a_weight_goes_to_the_nearest_number_of_its_channel(bits: int) -> None:
    weight = words(bits, 3, 20)

    rounded = IntegerFormat(bits).of_weights(weight)(weight)

    most = 2 ** (bits - 1) - 1
    for row, channel in zip(rounded, weight, strict=True):
        step = channel.abs().max() / most
        numbers = (torch.arange(-most, most + 1) * step).double()
        for word, found in zip(channel, row, strict=True):
            assert any(
                math.isclose(float(found), number, rel_tol=1e-5, abs_tol=1e-9)
                for number in nearest(numbers, float(word))
            )


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_a_value_goes_to_the_nearest_number_of_its_range(bits: int) -> None:
    values = words(bits, 60).clamp(-2, 5)
    grid = IntegerFormat(bits).of_values(-2, 5)

    rounded = grid(values)

    step = 7 / (2**bits - 1)
    least = round(-2 / step)
    numbers = torch.arange(least, least + 2**bits, dtype=torch.float64) * step
    for word, found in zip(values, rounded, strict=True):
        assert any(
            math.isclose(float(found), number, rel_tol=1e-5, abs_tol=1e-6)
            for number in nearest(numbers, float(word))
        )
    assert grid(torch.zeros(1)) == 0


@pytest.mark.parametrize(
    "format",
    [FloatFormat(2, 1), FloatFormat(3, 2), FloatFormat(4, 3), FloatFormat(5, 1)],
)
def test_a_word_goes_to_the_nearest_number_of_a_floating_format(
    format: FloatFormat,
) -> None:
    numbers = numbers_of(format)
    # Halfway between two numbers is a tie, which the even one of them wins.
    between = (numbers[1:] + numbers[:-1]) / 2
    given = torch.cat([words(1, 200).double(), numbers, between, numbers * 3])

    rounded = format.rounded(given)

    assert numbers.max() == format.top
    for word, found in zip(given.tolist(), rounded.tolist(), strict=True):
        best = nearest(numbers, word)
        assert found in best
        if len(best) == 2:
            places = [int((numbers == n).nonzero()) for n in best]
            zero = int((numbers == 0).nonzero())
            even = best[0] if (places[0] - zero) % 2 == 0 else best[1]
            assert found == even


@pytest.mark.parametrize(
    ("format", "dtype"),
    [
        (FloatFormat(8, 7), torch.bfloat16),
        (FloatFormat(5, 10), torch.float16),
        (FloatFormat(4, 3), torch.float8_e4m3fn),
        (FloatFormat(5, 2), torch.float8_e5m2),
    ],
)
def test_formats_that_torch_has_agree_word_for_word(
    format: FloatFormat, dtype: torch.dtype
) -> None:
    chance = torch.Generator().manual_seed(0)
    scales = 2.0 ** torch.randint(-40, 15, (20_000,), generator=chance)
    given = (torch.randn(20_000, generator=chance) * scales).clamp(
        -format.top, format.top
    )

    rounded = format.of_weights(given)(given)

    assert torch.equal(
        rounded.view(torch.int32), given.to(dtype).float().view(torch.int32)
    )


@pytest.mark.parametrize(
    "format",
    [IntegerFormat(3), IntegerFormat(12), FloatFormat(4, 3, True), FloatFormat(5, 2)],
)
@pytest.mark.parametrize("seed", range(5))
def test_no_word_is_off_by_more_than_the_error_told(
    format: NarrowFormat, seed: int
) -> None:
    weight = words(seed, 4, 50)
    low, high = float(weight.min()), float(weight.max())

    for grid in (format.of_weights(weight), format.of_values(low, high)):
        off = (grid(weight).double() - weight.double()).abs().max()

        assert float(off) <= grid.error
        # And some word is off by a good part of it: the error is no mere excuse.
        assert float(off) >= 0.2 * grid.error


def test_a_channel_of_zeros_stays_one() -> None:
    weight = torch.zeros(2, 3)

    for format in (IntegerFormat(4), FloatFormat(4, 3, scaled=True)):
        assert torch.equal(format.of_weights(weight)(weight), weight)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("int8", ["int8"]),
        ("e4m3", ["e4m3"]),
        ("bfloat16", ["e8m7"]),
        ("e3", [f"e3m{m}" for m in range(13)]),
        ("int", [f"int{b}" for b in range(2, 17)]),
    ],
)
def test_a_name_stands_for_one_format_or_for_a_family(
    name: str, names: list[str]
) -> None:
    family, widths = named_family(name)

    assert [family(width).name for width in widths] == names
    assert [family(width).bits for width in widths] == list(widths)


@pytest.mark.parametrize(
    "name", ["int1", "int99", "e9m1", "e0", "e4m99", "e1", "posit", ""]
)
def test_a_format_that_there_is_none_of_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^format must .*, got '{name}'; choose"):
        named_family(name)
