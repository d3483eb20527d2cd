"""Fault spaces by enumeration: exact size, one order, strata that partition."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stoic.faults.formats import format_of
from stoic.faults.models import (
    BitFlip,
    Burst,
    FaultModel,
    MultiFlip,
    RandomWord,
    SetValue,
    StuckAt,
)
from stoic.faults.selection import chosen_sites
from stoic.faults.space import FaultSpace, Scope, chosen_bits, fault_space
from stoic.network.sites import Kind, Site


def site(
    name: str,
    shape: tuple[int, ...] = (2, 3),
    *,
    kind: Kind = "parameter",
    dtype: torch.dtype = torch.float16,
    rows: int | None = None,
    aliases: tuple[str, ...] = (),
) -> Site:
    component = "" if kind == "input" else name.rpartition(".")[0]
    return Site(name, kind, component, dtype, shape, rows, 0, name, aliases)


WEIGHT = site("layer1.conv.weight", (2, 3))
BIAS = site("layer1.conv.bias", (2,), dtype=torch.bfloat16)
SCALE = site("layer2.scale", (), kind="buffer", dtype=torch.int8)
OUT = site("layer2.act:out", (2,), kind="activation", rows=0)
PLACES = site("layer2:add", (3,), kind="activation")
INPUT = site("input.0", (2,), kind="input", dtype=torch.uint8, rows=0)
SITES = (WEIGHT, BIAS, SCALE, OUT, PLACES, INPUT)

MODELS: tuple[FaultModel, ...] = (
    BitFlip(),
    MultiFlip(2),
    Burst(3),
    StuckAt(1),
    SetValue(1.0),
)


@pytest.mark.parametrize("scope", ["input", "batch"])
@pytest.mark.parametrize("bits", ["all", "0,2-4", "0"])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_positions_are_all_faults_once(
    model: FaultModel, bits: str, scope: Scope
) -> None:
    inputs = 3
    try:
        space = fault_space(SITES, bits=bits, model=model, inputs=inputs, scope=scope)
    except ValueError as error:
        if isinstance(model, SetValue):
            assert bits != "all" and "bits must be all" in str(error)
            return
        # Two bits out of one: no fault at all.
        assert "at least 1 fault, got 0" in str(error)
        assert bits == "0" and isinstance(model, MultiFlip | Burst)
        return

    found = [space.fault(position) for position in range(space.size)]

    assert len(set(found)) == space.size
    assert list(space) == found
    expected = 0
    for each in SITES:
        format = format_of(each.dtype)
        assert format is not None
        words = math.prod(each.shape)
        rows = inputs if each.rows is not None and scope == "input" else 1
        chosen = chosen_bits(bits, format, each.name)
        expected += rows * words * model.count(format, chosen)
    assert space.size == expected
    for fault in found:
        assert 0 <= fault.element < math.prod(fault.site.shape)
        told_apart = fault.site.rows is not None and scope == "input"
        assert (fault.input in range(inputs)) if told_apart else fault.input is None


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_strata_by_site_partition_the_space(model: FaultModel) -> None:
    space = fault_space(SITES, model=model, inputs=2)

    strata = space.split(lambda block: block.site.component)

    assert set(strata) == {"layer1.conv", "layer2", ""}
    assert Counter(fault for part in strata.values() for fault in part) == Counter(
        space
    )
    assert sum(part.size for part in strata.values()) == space.size


@pytest.mark.parametrize("model", [BitFlip(), StuckAt(0), MultiFlip(1), Burst(1)])
def test_strata_by_bit_partition_the_space(model: FaultModel) -> None:
    space = fault_space(SITES, bits="1-6", model=model, inputs=2)

    strata = space.by_bit().split(lambda block: str(block.bits[0]))

    assert Counter(fault for part in strata.values() for fault in part) == Counter(
        space
    )
    for bit, part in strata.items():
        assert {fault.corruption.bit for fault in part} == {int(bit)}


@pytest.mark.parametrize("model", [MultiFlip(2), Burst(2), SetValue(0.0), RandomWord()])
def test_faults_of_several_bits_have_no_strata_by_bit(model: FaultModel) -> None:
    space = fault_space([WEIGHT], model=model, inputs=2)

    with pytest.raises(ValueError, match="strata by bit must have a fault model of"):
        space.by_bit()


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.data())
def test_a_space_is_never_made_real(
    rows: int, columns: int, data: st.DataObject
) -> None:
    large = site("large", (rows, columns), dtype=torch.float64)
    space = fault_space([WEIGHT, large, BIAS], inputs=1)
    position = data.draw(st.integers(0, rows * columns * 64 - 1))

    # Its name is the first of all.
    fault = space.fault(position)

    assert fault.site is large
    assert divmod(position, 64) == (fault.element, fault.corruption.bit)
    assert space.size == WEIGHT.elements * 16 + rows * columns * 64 + 2 * 16


def test_positions_do_not_hang_on_the_order_of_the_sites() -> None:
    forth = fault_space([WEIGHT, BIAS], inputs=1)
    back = fault_space([BIAS, WEIGHT], inputs=1)

    assert list(forth) == list(back)
    assert [block.site for block in back.blocks] == [BIAS, WEIGHT]


@pytest.mark.parametrize("position", [-1, 6 * 16, 10**30])
def test_a_position_outside_is_refused(position: int) -> None:
    space = fault_space([WEIGHT], inputs=1)

    with pytest.raises(IndexError, match=rf"0\.\.95, got {position}"):
        space.fault(position)


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(
        ValueError, match="at least 1 fault, got 0 of model flip in 1 sites"
    ):
        fault_space([SCALE], bits="exponent", inputs=1)
    with pytest.raises(
        ValueError, match="at least 1 fault, got 0 of model flip in 0 sites"
    ):
        fault_space([], inputs=1)
    assert FaultSpace(()).size == 0


def test_a_site_without_words_is_refused() -> None:
    wave = site("fft:out", dtype=torch.complex64)

    with pytest.raises(
        ValueError, match=r"fft:out must have a number format .*complex64"
    ):
        fault_space([wave], inputs=1)


@pytest.mark.parametrize(
    ("text", "dtype", "bits"),
    [
        ("all", torch.int8, range(8)),
        ("30", torch.float32, [30]),
        ("0-22", torch.float32, range(23)),
        ("mantissa", torch.float32, range(23)),
        ("exponent", torch.float32, range(23, 31)),
        ("exponent,31", torch.float32, range(23, 32)),
        ("sign", torch.bfloat16, [15]),
        (" sign , 3 - 4,3", torch.float16, [3, 4, 15]),
        ("magnitude", torch.int8, range(7)),
        ("magnitude", torch.uint8, range(8)),
        ("sign", torch.uint8, []),
        ("exponent", torch.int32, []),
    ],
)
def test_bits_are_named_by_number_range_and_role(
    text: str, dtype: torch.dtype, bits: list[int]
) -> None:
    format = format_of(dtype)
    assert format is not None

    assert chosen_bits(text, format, "here") == tuple(bits)


@pytest.mark.parametrize("text", ["16", "0-16", "5-3", "31"])
def test_bits_outside_the_word_are_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"0\.\.15 for layer1.conv.weight .*got " + text
    ):
        fault_space([WEIGHT], bits=text, inputs=1)


@pytest.mark.parametrize("text", ["", "top", "3,", "0-", "-3", "1.5", "sign;3"])
def test_bits_that_are_neither_number_nor_role_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bits must be numbers, ranges like 0-22"):
        fault_space([WEIGHT], bits=text, inputs=1)


def test_sites_are_chosen_by_glob_and_kind() -> None:
    tied = site("embed.weight", aliases=("head.weight",))
    sites = (*SITES, tied)

    assert chosen_sites(sites) == (WEIGHT, BIAS, tied)
    assert chosen_sites(sites, include="layer1.*") == (WEIGHT, BIAS)
    assert chosen_sites(sites, include="*.bias, head.*") == (BIAS, tied)
    assert chosen_sites(sites, exclude="*.bias,layer1.conv.w*") == (tied,)
    every: tuple[Kind, ...] = ("parameter", "buffer", "activation", "input")
    assert chosen_sites(sites, kinds=every) == sites
    assert chosen_sites(sites, include="*:out", kinds=("activation",)) == (OUT,)


def test_a_glob_that_names_nothing_lists_near_matches() -> None:
    with pytest.raises(
        ValueError, match=r"'layer1.conv.wieght'; near it: layer1\.conv"
    ):
        chosen_sites(SITES, include="layer1.conv.wieght")
    with pytest.raises(ValueError, match="matches sites of kind activation only"):
        chosen_sites(SITES, include="layer2.act*")
    with pytest.raises(ValueError, match="excluded sites must match .*'nothing'"):
        chosen_sites(SITES, exclude="nothing")
    with pytest.raises(ValueError, match=r"sites must name at least 1 parameter"):
        chosen_sites(SITES, exclude="*")
