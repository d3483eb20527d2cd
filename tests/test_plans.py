import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from stoic.plans import (
    Draw,
    Exhaustive,
    Plan,
    Stratified,
    Stratum,
    Uniform,
    allotted,
    check_allocation,
    equal_shares,
    expected_shares,
    read_plan,
    sample_sizes,
)

STRATA = (Stratum("a", 3), Stratum("b", 1), Stratum("c", 5))
EVERY = {(s, p) for s, stratum in enumerate(STRATA) for p in range(stratum.size)}

PLANS = (
    Exhaustive(),
    Uniform(4),
    Uniform(20, replacement=True),
    Stratified({"a": 2, "b": 0, "c": 4}),
)


def places(plan: Plan, strata: Any = STRATA, seed: int = 0) -> list[tuple[int, int]]:
    return [(d.stratum, d.position) for d in plan.draws(strata, seed=seed)]


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_a_plan_is_a_pure_function_of_its_seed(plan: Plan) -> None:
    first = list(plan.draws(STRATA, seed=3))

    assert list(plan.draws(STRATA, seed=3)) == first
    assert [draw.trial for draw in first] == list(range(len(first)))
    assert {(d.stratum, d.position) for d in first} <= EVERY


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_a_plan_is_read_back_from_its_record(plan: Plan) -> None:
    assert read_plan(plan.as_record()) == plan


def test_seeds_give_other_draws() -> None:
    assert len({tuple(places(Uniform(5), seed=seed)) for seed in range(-5, 5)}) == 10


def test_an_exhaustive_plan_tries_every_fault_once_in_order() -> None:
    assert places(Exhaustive()) == sorted(EVERY)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 99))
def test_a_longer_uniform_plan_starts_as_a_shorter_one(
    trials: int, fewer: int, seed: int
) -> None:
    longer = places(Uniform(trials), seed=seed)
    shorter = places(Uniform(max(1, trials - fewer)), seed=seed)

    assert longer[: len(shorter)] == shorter
    assert len(set(longer)) == trials


def test_all_draws_are_all_faults() -> None:
    assert set(places(Uniform(9))) == EVERY


def test_a_population_larger_than_memory_is_drawn_from_without_repeats() -> None:
    strata = (Stratum("small", 10), Stratum("large", 10**30))

    drawn = places(Uniform(2_000), strata)

    assert len(set(drawn)) == 2_000
    assert all(0 <= position < strata[s].size for s, position in drawn)
    # Uniform over faults: a fault of the small stratum would be a miracle.
    assert {s for s, _ in drawn} == {1}


def test_draws_without_replacement_are_uniform_over_ordered_samples() -> None:
    strata = (Stratum("a", 2), Stratum("b", 3))
    orders = itertools.permutations(
        [(s, p) for s, stratum in enumerate(strata) for p in range(stratum.size)], 3
    )

    seen = Counter(tuple(places(Uniform(3), strata, seed)) for seed in range(12_000))

    # Fixed seeds: this is one sample, and its fit was looked at once.
    assert chisquare([seen[order] for order in orders]).pvalue > 0.01


def test_draws_with_replacement_are_uniform_and_independent() -> None:
    drawn = places(Uniform(20_000, replacement=True), (Stratum("a", 7),))
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))

    assert len(pairs) == 49
    assert chisquare(list(pairs.values())).pvalue > 0.01


def test_a_stratified_plan_draws_its_number_from_each_stratum() -> None:
    strata = (Stratum("a", 100), Stratum("b", 50), Stratum("c", 10**12))
    plan = Stratified({"a": 10, "b": 50, "c": 20})

    drawn = places(plan, strata)

    assert Counter(s for s, _ in drawn) == {0: 10, 1: 50, 2: 20}
    assert len(set(drawn)) == len(drawn)
    # In turns: half of the plan has half of each stratum.
    assert Counter(s for s, _ in drawn[:40]) == {0: 5, 1: 25, 2: 10}


def test_a_stratum_is_sampled_uniformly() -> None:
    plan = Stratified({"a": 2, "b": 1, "c": 2})

    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(5_000):
        seen.update(places(plan, seed=seed))

    assert chisquare([seen[0, p] for p in range(3)]).pvalue > 0.01
    assert chisquare([seen[2, p] for p in range(5)]).pvalue > 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), "trials must be at least 1, got 0"),
        (lambda: Stratum("a", 0), "size of stratum a must be at least 1, got 0"),
        (lambda: Stratified({"a": 0}), "trials must be at least 1 in all, got 0"),
        (lambda: Stratified({"a": -1}), "stratum a must be at least 0, got -1"),
        (lambda: Uniform(10).draws(STRATA, seed=0), "at most the 9 faults .* got 10"),
        (
            lambda: Stratified({"a": 4, "b": 0, "c": 0}).draws(STRATA, seed=0),
            "at most the 3 faults .* got 4",
        ),
        (
            lambda: Stratified({"a": 1, "x": 1}).draws(STRATA, seed=0),
            r"name every stratum once, got a difference in \['b', 'c', 'x'\]",
        ),
        (lambda: read_plan({"name": "lucky"}), "one of exhaustive, .* got lucky"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 60))
def test_equal_shares_differ_only_where_a_stratum_is_too_small(
    sizes: list[int], more: int
) -> None:
    faults = min(len(sizes) + more, sum(sizes))

    shares = equal_shares(dict(zip("abcdef", sizes, strict=False)), faults)

    assert sum(shares.values()) == faults
    free = [n for n, s in zip(shares.values(), sizes, strict=True) if n < s]
    full = [n for n, s in zip(shares.values(), sizes, strict=True) if n == s]
    assert max(free, default=0) - min(free, default=0) <= 1
    assert not free or all(n <= max(free) + 1 for n in full)


def test_an_allocation_leaves_nothing_to_the_strata_it_does_not_name() -> None:
    sizes = {"a": 3, "b": 1, "c": 5}

    assert allotted(sizes, {"c": 5, "a": 1}) == {"a": 1, "b": 0, "c": 5}
    assert list(allotted(sizes, {"c": 5})) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ({"bit 8": 1}, "must name strata, got 'bit 8'; near it: bit 3"),
        ({"xyzzy": 1}, "must name strata, got 'xyzzy'; near it: bit 3, sign"),
        ({"sign": 3}, "must be at most 2, the faults of stratum sign, got 3"),
    ],
)
def test_an_allocation_to_other_strata_is_refused(
    trials: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        allotted({"bit 3": 4, "sign": 2}, trials)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (3, "numbers of faults by name of the stratum, got int"),
        ({"a": -1}, "whole numbers from 0 on, got -1 for 'a'"),
        ({"a": 1.5}, "whole numbers from 0 on, got 1.5 for 'a'"),
        ({"a": True}, "whole numbers from 0 on, got True for 'a'"),
        ({"a": 0}, "at least 1 fault in all, got 0"),
        ({}, "at least 1 fault in all, got 0"),
    ],
)
def test_an_allocation_that_no_strata_could_have_is_refused(
    trials: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_allocation(trials)


def test_a_draw_is_a_value() -> None:
    assert next(Exhaustive().draws(STRATA, seed=0)) == Draw(0, 0, 0)


@pytest.mark.parametrize("size", [1, 7, 1000, 117_056, 10**12])
@pytest.mark.parametrize("margin", [0.5, 0.05, 0.01])
def test_textbook_sizes_are_the_smallest_that_keep_the_margin(
    size: int, margin: float
) -> None:
    (needed,) = sample_sizes({"all": size}, margin).values()

    def width(trials: int) -> float:
        left = (size - trials) / max(size - 1, 1)
        return 1.959963984540054 * math.sqrt(0.25 / trials * left)

    assert 1 <= needed <= size
    assert width(needed) <= margin
    assert needed == 1 or width(needed - 1) > margin


def test_textbook_sizes_are_those_of_the_paper() -> None:
    """For many faults at 1 % and 95 %: 9,604, as every table of them says."""
    assert sample_sizes({"a": 10**9, "b": 1}, 0.01) == {"a": 9604, "b": 1}
    with pytest.raises(ValueError, match="margin must be between 0 and 1, got 0"):
        sample_sizes({"a": 5}, 0)


def test_a_bit_is_reckoned_to_fail_as_far_as_it_moves_weights() -> None:
    """The definition, restated: min-max from 0 to 0.5, one half for outliers."""
    moved = {0: 0.01, 1: 0.02, 2: 0.04, 3: 0.08, 4: 0.16, 5: 0.2, 6: 0.2, 7: 1e38}

    shares = expected_shares(moved)

    for bit, value in moved.items():
        scaled = (value - 0.01) / (0.2 - 0.01) * 0.5
        assert shares[bit] == pytest.approx(0.5 if value > 1 else scaled)
    assert expected_shares({"only": 3.0}) == {"only": 0.5}
    assert expected_shares({1: 0.2, 2: 0.2}) == {1: 0.5, 2: 0.5}


def test_sizes_follow_the_shares_that_are_reckoned_with() -> None:
    sizes = {"worst": 10**6, "rare": 10**6, "none": 10**6, "unnamed": 10**6}
    shares = {"worst": 0.5, "rare": 0.01, "none": 0.0}

    found = sample_sizes(sizes, 0.01, shares=shares)

    assert found["worst"] == found["unnamed"] == sample_sizes({"a": 10**6}, 0.01)["a"]
    assert found["rare"] == sample_sizes({"a": 10**6}, 0.01, share=0.01)["a"] < 400
    assert found["none"] == 1
