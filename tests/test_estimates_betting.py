"""Betting limits, proved by enumerating everything that could have been drawn."""

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from stoic.estimates.bets import LOWER, UPPER, Side, bets_on, history
from stoic.estimates.betting import betting_limit, capital_lines
from stoic.estimates.coins import coin_lower, coin_upper
from stoic.estimates.sample import Sample

Shares = Sequence[float] | np.ndarray[Any, Any]

POPULATIONS = (
    (0.0, 0.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 0.5, 1.0, 1.0),
    (0.0, 0.1, 0.2, 0.3, 0.9),
    (1.0, 1.0, 1.0, 1.0, 0.25),
    (0.5, 0.5, 0.5, 0.5, 0.5),
)
# Small populations are missed only where much may be missed.
LEVELS = (0.05, 0.3)


def sample(shares: Shares, size: int | None = None, horizon: int = 0) -> Sample:
    values = np.array(shares, float)
    if size is None:
        return Sample(values, values, 1, replacement=True, horizon=horizon)
    return Sample(values, values, size, horizon=horizon)


def limit(one: Sample, side: Side, level: float) -> float:
    return betting_limit([one], np.ones(1), side, level)


def misses(found: float, truth: float, side: Side) -> bool:
    # What rounding may do to sums of a few shares is no miss.
    return side * (truth - found) > 1e-12


@pytest.mark.parametrize("side", [UPPER, LOWER])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("population", POPULATIONS)
def test_every_order_of_draws_without_replacement(
    population: tuple[float, ...], level: float, side: Side
) -> None:
    """Misses at any of the first four trials count: peeking is allowed."""
    truth = sum(population) / len(population)
    orders = list(itertools.permutations(population, 4))

    missed = sum(
        any(
            misses(
                limit(sample(order[:n], len(population), 4), side, level), truth, side
            )
            for n in range(1, 5)
        )
        for order in orders
    )

    assert missed / len(orders) <= level


@pytest.mark.parametrize("side", [UPPER, LOWER])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "law", [{0.0: 0.8, 1.0: 0.2}, {0.0: 0.5, 0.3: 0.3, 1.0: 0.2}, {0.4: 0.5, 0.6: 0.5}]
)
def test_every_sequence_with_replacement(
    law: dict[float, float], level: float, side: Side
) -> None:
    truth = sum(share * chance for share, chance in law.items())

    missed = 0.0
    for shares in itertools.product(law, repeat=6):
        limits = [limit(sample(shares[:n], horizon=6), side, level) for n in (3, 6)]
        if any(misses(found, truth, side) for found in limits):
            missed += math.prod(law[share] for share in shares)

    assert missed <= level


@pytest.mark.parametrize("side", [UPPER, LOWER])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "strata",
    [
        ((0.0, 0.0, 1.0), (1.0, 1.0, 0.5, 1.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ((0.2, 0.4, 0.6), (0.0, 0.0, 0.5, 1.0)),
    ],
)
def test_every_order_of_draws_from_two_strata(
    strata: tuple[tuple[float, ...], ...], level: float, side: Side
) -> None:
    sizes = [len(population) for population in strata]
    weights = np.array(sizes) / sum(sizes)
    truth = sum(map(sum, strata)) / sum(sizes)
    orders = list(
        itertools.product(
            itertools.permutations(strata[0], 2), itertools.permutations(strata[1], 3)
        )
    )

    missed = 0
    for order in orders:
        parts = [sample(o, size) for o, size in zip(order, sizes, strict=True)]
        missed += misses(betting_limit(parts, weights, side, level), truth, side)

    assert missed / len(orders) <= level


@pytest.mark.parametrize("side", [UPPER, LOWER])
@pytest.mark.parametrize("first", POPULATIONS)
def test_against_the_truth_the_game_is_not_in_favour_of_the_gambler(
    first: tuple[float, ...], side: Side
) -> None:
    """Over all orders the capital is 1 on average, less what makes its log linear.

    That is little where bets are small, so the level is high.
    """
    strata = (first, (0.0, 0.5, 1.0))
    means = np.array([sum(population) / len(population) for population in strata])
    weights = np.array([5, 3]) / 8
    capitals = []
    for orders in itertools.product(*(itertools.permutations(s, 2) for s in strata)):
        parts = [sample(o, len(s)) for o, s in zip(orders, strata, strict=True)]
        strengths = np.array([part.strength for part in parts])
        past = history(parts, side)
        bets = bets_on(past, weights, strengths, side, level=0.9)
        logs, slopes = capital_lines(past, bets, side, 2)
        capitals.append(np.exp(logs + side * slopes @ means))

    average = np.mean(capitals, axis=0)

    assert average.shape == (4,)
    assert (average <= 1 + 1e-12).all()
    assert (average > 0.75).all()


@pytest.mark.parametrize("side", [UPPER, LOWER])
def test_no_bet_looks_ahead(side: Side) -> None:
    """Changing a share leaves the bets up to its own trial as they were."""
    shares = np.array([0.0, 0.5, 0.0, 1.0, 0.25, 0.0])
    other = shares.copy()
    other[3:] = [0.0, 0.75, 1.0]

    def bets(values: Shares) -> list[float]:
        one = sample(values, 20, 6)
        strengths = np.array([one.strength])
        past = history([one], side)
        return list(bets_on(past, np.ones(1), strengths, side, 0.05).amount)

    assert bets(shares)[:4] == bets(other)[:4]
    assert bets(shares)[4:] != bets(other)[4:]


@pytest.mark.parametrize("n", [10, 100, 10_000, 1_000_000])
def test_without_a_failure_the_limit_is_near_the_best_possible(n: int) -> None:
    found = limit(sample(np.zeros(n), 10**10), UPPER, 0.025)

    assert limit(sample(np.zeros(n), 10**10), LOWER, 0.025) == 0
    assert 1 <= found / coin_upper(0, n, None, 0.025) < 1.25


def test_most_of_a_population_leaves_little_open() -> None:
    shares = np.tile([0.0, 0.0, 0.5, 0.0, 1.0], 200)

    widths = [
        limit(sample(shares, size), UPPER, 0.025)
        - limit(sample(shares, size), LOWER, 0.025)
        for size in (10**6, 2_000, 1_250, 1_010)
    ]

    assert widths == sorted(widths, reverse=True)
    # The variance of the mean falls with the share of faults that is left.
    assert widths[2] / widths[0] == pytest.approx(math.sqrt(0.2), rel=0.2)


def test_agreeing_inputs_leave_more_open_than_disagreeing_ones() -> None:
    rng = np.random.default_rng(0)
    coins = (rng.random(2_000) < 0.3).astype(float)
    alike = rng.normal(0.3, 0.05, 2_000).clip(0, 1)

    wide = limit(sample(coins, 10**6), UPPER, 0.025) - coins.mean()
    narrow = limit(sample(alike, 10**6), UPPER, 0.025) - alike.mean()

    assert narrow < wide / 5


def test_limits_are_not_much_wider_than_those_of_normal_theory() -> None:
    rng = np.random.default_rng(0)
    shares = (rng.random(20_000) < 0.03) * rng.beta(2, 0.8, 20_000)

    half = 1.96 * shares.std() / math.sqrt(len(shares))

    one = sample(shares, 10**7)
    assert limit(one, UPPER, 0.025) - shares.mean() < 1.6 * half
    assert shares.mean() - limit(one, LOWER, 0.025) < 1.6 * half


def test_many_strata_do_not_multiply_the_width() -> None:
    rng = np.random.default_rng(0)
    strata = [sample((rng.random(100) < 0.1) * 1.0, 10**6) for _ in range(100)]
    weights = np.full(100, 0.01)
    pooled = sample(np.concatenate([s.low for s in strata]), 10**8)

    apart = betting_limit(strata, weights, UPPER, 0.025)
    together = limit(pooled, UPPER, 0.025)

    mean = pooled.low.mean()
    assert apart - mean < 1.3 * (together - mean)


def test_a_stratum_known_to_fail_costs_nothing() -> None:
    """Between strata there is no variance: always failing and never failing."""
    strata = [sample(np.ones(500), 10**6), sample(np.zeros(500), 10**6)]
    weights = np.array([0.5, 0.5])

    high = betting_limit(strata, weights, UPPER, 0.025)
    low = betting_limit(strata, weights, LOWER, 0.025)

    assert 0.5 < high < 0.51
    assert 0.49 < low < 0.5


def coverage(failing: float, n: int, inputs: int) -> tuple[float, float]:
    """The coverage of pairs pooled as if independent, and ours: over all outcomes.

    Every fault fails all of its inputs or none.
    """
    pooled = ours = 0.0
    for failures, chance in enumerate(binom.pmf(np.arange(n + 1), n, failing)):
        counts = failures * inputs, n * inputs, None, 0.025
        pooled += chance * (coin_lower(*counts) <= failing <= coin_upper(*counts))
        orders = itertools.combinations(range(n), failures)
        held = [covers(order, n, failing) for order in orders]
        ours += chance * sum(held) / len(held)
    return pooled, ours


def covers(failed: Sequence[int], n: int, truth: float) -> bool:
    shares = np.zeros(n)
    shares[list(failed)] = 1.0
    one = sample(shares)
    return limit(one, LOWER, 0.025) <= truth <= limit(one, UPPER, 0.025)


def test_pooled_pairs_of_fault_and_input_do_not_cover() -> None:
    pooled, ours = coverage(failing=0.3, n=9, inputs=128)

    assert pooled < 0.3
    assert ours >= 0.95


@pytest.mark.parametrize("zeros", [0.5, 0.98, 0.9999])
def test_a_million_trials_take_no_time_to_judge(zeros: float) -> None:
    rng = np.random.default_rng(0)
    shares = rng.random(10**6) * (rng.random(10**6) > zeros)
    one = sample(shares, 10**10)

    start = time.perf_counter()
    found = limit(one, UPPER, 0.025)

    # A quarter of a second on one core; the rest is for a busy machine.
    assert time.perf_counter() - start < 2
    assert shares.mean() < found < shares.mean() + 0.002


def test_coverage_of_a_population_like_that_of_weights() -> None:
    """2,000 campaigns of 300 faults: the Monte Carlo error is 0.5 points."""
    rng = np.random.default_rng(0)
    population = np.zeros(5_000)
    population[:150] = np.round(rng.beta(2, 0.8, 150) * 128) / 128
    truth = population.mean()

    missed = 0
    for _ in range(2_000):
        one = sample(rng.permutation(population)[:300], 5_000)
        missed += limit(one, UPPER, 0.025) < truth
        missed += limit(one, LOWER, 0.025) > truth

    assert missed / 2_000 < 0.05
