"""Fault models by enumeration: every corruption of every word of small formats."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stoic.faults.formats import Format, format_of, word_of
from stoic.faults.models import (
    BitFlip,
    Burst,
    Corruption,
    FaultModel,
    MultiFlip,
    RandomWord,
    SetValue,
    StuckAt,
    model_name,
    named_model,
)

BYTE = format_of(torch.int8)
HALF = format_of(torch.float16)
SINGLE = format_of(torch.float32)
LONG = format_of(torch.int64)
assert BYTE and HALF and SINGLE and LONG

MODELS: tuple[FaultModel, ...] = (
    BitFlip(),
    MultiFlip(1),
    MultiFlip(3),
    Burst(1),
    Burst(3),
    StuckAt(0),
    StuckAt(1),
    SetValue(0.5),
    RandomWord(),
)
CHOSEN = ((0,), (7,), tuple(range(8)), (1, 2, 3, 6, 7), ())


def corruptions(
    model: FaultModel, format: Format, bits: Sequence[int]
) -> list[Corruption]:
    count = model.count(format, bits)
    return [model.corruption(number, format, bits) for number in range(count)]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_model_is_found_again_by_its_name(model: FaultModel) -> None:
    assert named_model(model_name(model)) == model


@pytest.mark.parametrize("bits", CHOSEN, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_corruptions_are_distinct_words_of_the_format(
    model: FaultModel, bits: tuple[int, ...]
) -> None:
    assert BYTE
    found = corruptions(model, BYTE, bits)

    assert len(set(found)) == len(found)
    for corruption in found:
        results = [corruption(word) for word in range(256)]
        assert all(0 <= result < 256 for result in results)
        assert results == [corruption(word) for word in range(256)]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_model_is_a_value_with_a_record(model: FaultModel) -> None:
    assert eval(repr(model)) == model  # noqa: S307
    assert hash(eval(repr(model))) == hash(model)  # noqa: S307
    assert json.loads(json.dumps(model.as_record())) == model.as_record()


def test_records_tell_models_apart() -> None:
    records = [json.dumps(model.as_record(), sort_keys=True) for model in MODELS]

    assert len(set(records)) == len(MODELS)


@pytest.mark.parametrize("bits", CHOSEN, ids=str)
@pytest.mark.parametrize("k", [1, 2, 3, 8, 9])
def test_flips_of_k_bits_are_all_sets_of_k_chosen_bits(
    k: int, bits: tuple[int, ...]
) -> None:
    assert BYTE
    found = corruptions(MultiFlip(k), BYTE, bits)

    masks = {corruption(0) for corruption in found}
    assert masks == {sum(1 << b for b in s) for s in itertools.combinations(bits, k)}
    assert len(found) == math.comb(len(bits), k)
    for corruption in found:
        flipped = [bit for bit in range(8) if corruption(0) >> bit & 1]
        assert corruption.bit == min(flipped)
        assert all(corruption(w) == w ^ corruption(0) for w in range(256))


@pytest.mark.parametrize("bits", CHOSEN, ids=str)
def test_one_flip_inverts_the_bit_of_its_rank(bits: tuple[int, ...]) -> None:
    assert BYTE
    found = corruptions(BitFlip(), BYTE, bits)

    assert [corruption.bit for corruption in found] == list(bits)
    for bit, corruption in zip(bits, found, strict=True):
        assert all(corruption(word) == word ^ (1 << bit) for word in range(256))


@pytest.mark.parametrize("bits", CHOSEN, ids=str)
@pytest.mark.parametrize("k", [1, 2, 3, 8, 9])
def test_a_burst_stays_inside_the_word_and_the_chosen_bits(
    k: int, bits: tuple[int, ...]
) -> None:
    assert BYTE
    found = corruptions(Burst(k), BYTE, bits)

    runs = [tuple(range(low, low + k)) for low in range(8)]
    expected = [run for run in runs if set(run) <= set(bits)]
    assert [c(0) for c in found] == [sum(1 << b for b in run) for run in expected]
    assert [corruption.bit for corruption in found] == [run[0] for run in expected]


@pytest.mark.parametrize("level", [0, 1])
def test_stuck_at_holds_one_bit_however_often(level: int) -> None:
    assert BYTE
    for bit, corruption in enumerate(corruptions(StuckAt(level), BYTE, range(8))):
        for word in range(256):
            held = corruption(word)
            assert held >> bit & 1 == level
            assert held & ~(1 << bit) == word & ~(1 << bit)
            assert corruption(held) == held
        # Of all words, half have the bit already: the fault then changes nothing.
        assert sum(corruption(word) == word for word in range(256)) == 128


def test_a_random_word_is_every_word_once_whatever_stood_there() -> None:
    assert BYTE and LONG
    found = corruptions(RandomWord(), BYTE, range(8))

    for old in (0, 129, 255):
        assert sorted(corruption(old) for corruption in found) == list(range(256))
    assert RandomWord().count(LONG, range(64)) == 1 << 64
    assert RandomWord().corruption((1 << 64) - 1, LONG, range(64))(5) == (1 << 64) - 1


@given(st.floats(width=32, allow_nan=False), st.integers(0, 0xFFFF))
def test_a_set_value_replaces_the_whole_word(value: float, old: int) -> None:
    assert HALF
    (corruption,) = corruptions(SetValue(value), HALF, range(16))

    assert corruption(old) == word_of(value, HALF)
    assert corruption.bit == -1


@given(st.integers(1, 6), st.data())
def test_ranks_of_many_flips_are_unranked_in_colexicographic_order(
    k: int, data: st.DataObject
) -> None:
    assert SINGLE
    bits = range(32)
    rank = data.draw(st.integers(0, math.comb(32, k) - 1))

    mask = MultiFlip(k).corruption(rank, SINGLE, bits)(0)

    chosen = [bit for bit in bits if mask >> bit & 1]
    # The rank by its definition: sets whose highest differing bit is lower come first.
    assert rank == sum(math.comb(bit, i + 1) for i, bit in enumerate(chosen))


def test_the_topmost_bit_of_a_long_word_is_flipped() -> None:
    assert LONG
    corruption = BitFlip().corruption(63, LONG, range(64))

    assert corruption(0) == 1 << 63
    assert corruption((1 << 64) - 1) == (1 << 63) - 1


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("flip", BitFlip()),
        ("flips:2", MultiFlip(2)),
        ("burst:4", Burst(4)),
        ("stuck-at-0", StuckAt(0)),
        ("stuck-at-1", StuckAt(1)),
        ("set:-1.5", SetValue(-1.5)),
        ("random", RandomWord()),
    ],
)
def test_models_are_named(text: str, model: FaultModel) -> None:
    assert named_model(text) == model


@pytest.mark.parametrize(
    "text", ["", "flop", "flip:1", "flips", "flips:0", "flips:x", "burst:-1", "set:"]
)
def test_unknown_names_list_the_choices(text: str) -> None:
    with pytest.raises(ValueError, match="fault model must be one of flip, flips:K"):
        named_model(text)


@pytest.mark.parametrize("k", [0, -1])
def test_no_bits_are_no_fault(k: int) -> None:
    for model in (MultiFlip, Burst):
        with pytest.raises(ValueError, match=f"k must be at least 1 bit, got {k}"):
            model(k)


def test_a_bit_is_stuck_at_0_or_1() -> None:
    with pytest.raises(ValueError, match="level must be 0 or 1, got 2"):
        StuckAt(2)
