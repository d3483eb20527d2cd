import itertools
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
    read_plan,
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


def test_a_draw_is_a_value() -> None:
    assert next(Exhaustive().draws(STRATA, seed=0)) == Draw(0, 0, 0)
