"""Two-way intervals against sums over all pairs of a trial and a cluster."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t

from stoic.estimates.clusters import Clusters

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def clusters_of(
    shares: Matrix,
    weight: Matrix,
    *,
    own: list[int] | None = None,
    crashed: list[int] = (),  # type: ignore[assignment]
    unknown: list[int] = (),  # type: ignore[assignment]
    again: bool = False,
) -> Clusters:
    """From the failed share of the exposed inputs, by trial and cluster."""
    row, column = np.nonzero(shares)
    n = len(shares)
    return Clusters(
        weight=weight,
        own=np.full(n, -1) if own is None else np.array(own),
        full=np.isin(np.arange(n), crashed),
        unknown=np.isin(np.arange(n), unknown),
        row=row,
        column=column,
        share=shares[row, column],
        again=again,
    )


def expected(shares: Matrix, reach: Matrix, drawn: float) -> tuple[float, float]:
    """Mean and half-width by definition: ``reach`` sums to 1 in each row."""
    n, clusters = shares.shape
    mean = shares.sum() / n
    deviation = shares - mean * reach
    faults = (deviation.sum(1) ** 2).sum() * (1 - drawn)
    sources = (deviation.sum(0) ** 2).sum()
    both = (deviation**2).sum() * (1 - drawn)
    few = min(n, clusters) if drawn < 1 else clusters
    variance = max(faults, sources, faults + sources - both) / n**2 * few / (few - 1)
    return mean, student_t.ppf(0.975, few - 1) * math.sqrt(variance)


def a_campaign(
    rng: np.random.Generator, n: int, sources: int, each: int = 2
) -> tuple[Matrix, Matrix]:
    """Faults and sources that both matter."""
    bad_fault = rng.random((n, 1)) < 0.2
    weak_source = rng.random((1, sources)) < 0.5
    chance = np.where(bad_fault, np.where(weak_source, 0.9, 0.3), 0.0)
    failed = rng.binomial(each, chance)
    return failed / (each * sources), np.full(sources, 1 / sources)


@pytest.mark.parametrize("faults", [10**9, 80, 40])
def test_limits_are_those_of_the_definition(faults: int) -> None:
    shares, weight = a_campaign(np.random.default_rng(0), n=40, sources=35)
    reach = np.tile(weight, (40, 1))
    mean, half = expected(shares, reach, 40 / faults)

    estimator = clusters_of(shares, weight).estimator(0.95)
    estimate = estimator(np.arange(40), Counter({0: faults}))

    assert estimate.kind == "approximate"
    assert estimate.value == pytest.approx(mean)
    assert estimate.high - estimate.value == pytest.approx(half)
    assert estimate.value - estimate.low == pytest.approx(min(half, mean))


def test_faults_drawn_again_are_of_an_endless_population() -> None:
    shares, weight = a_campaign(np.random.default_rng(0), n=40, sources=35)
    mean, half = expected(shares, np.tile(weight, (40, 1)), 0.0)

    estimator = clusters_of(shares, weight, again=True).estimator(0.95)
    estimate = estimator(np.arange(40), Counter({0: 20}))

    assert estimate.value == pytest.approx(mean)
    assert estimate.high - estimate.value == pytest.approx(half)


def test_trials_of_one_input_and_crashes_fit_the_definition() -> None:
    rng = np.random.default_rng(1)
    shares, weight = a_campaign(rng, n=50, sources=30)
    weight = rng.dirichlet(np.ones(30) * 5)
    reach = np.tile(weight, (50, 1))
    shares = (shares > 0) * reach
    own = [-1] * 30 + list(rng.integers(0, 30, 20))
    for trial in range(30, 50):
        reach[trial] = np.arange(30) == own[trial]
        shares[trial] = reach[trial] * (trial % 3 == 0)
    known = shares.copy()
    crashed = [4, 45]
    known[crashed] = 0
    shares[crashed] = reach[crashed]
    mean, half = expected(shares, reach, 50 / 10**9)

    estimator = clusters_of(known, weight, own=own, crashed=crashed).estimator(0.95)
    estimate = estimator(np.arange(50), Counter({0: 10**9}))

    assert estimate.value == pytest.approx(mean)
    assert estimate.high - mean == pytest.approx(half)


def test_what_does_not_count_in_a_full_trial_fits_the_definition() -> None:
    rng = np.random.default_rng(6)
    shares, _ = a_campaign(rng, n=50, sources=30)
    weight = rng.dirichlet(np.ones(30) * 5)
    reach = np.tile(weight, (50, 1))
    own = [-1] * 35 + list(rng.integers(0, 30, 15))
    for trial in range(35, 50):
        reach[trial] = np.arange(30) == own[trial]
    left_out = (shares > 0) * reach
    left_out[35:, :] *= (np.arange(15) % 3 == 0)[:, None]
    full = list(range(0, 50, 2))
    given, counted = left_out.copy(), left_out.copy()
    given[full] *= -1
    counted[full] = reach[full] - left_out[full]
    mean, half = expected(counted, reach, 50 / 10**9)

    estimator = clusters_of(given, weight, own=own, crashed=full).estimator(0.95)
    estimate = estimator(np.arange(50), Counter({0: 10**9}))

    assert estimate.value == pytest.approx(mean)
    assert estimate.high - mean == pytest.approx(min(half, 1 - mean))


def test_a_group_of_trials_is_judged_by_itself() -> None:
    shares, weight = a_campaign(np.random.default_rng(2), n=60, sources=30)
    rows = np.arange(0, 60, 3)
    alone = clusters_of(shares[rows], weight).estimator(0.95)
    faults = Counter({0: 1_000})

    together = clusters_of(shares, weight).estimator(0.95)

    one, other = together(rows, faults), alone(np.arange(20), faults)
    assert (one.value, one.low, one.high) == pytest.approx(
        (other.value, other.low, other.high)
    )


def test_unknown_trials_widen_both_limits() -> None:
    shares, weight = a_campaign(np.random.default_rng(3), n=40, sources=30)
    faults = Counter({0: 10**6})
    shares[7] = 0

    def limits(**more: Any) -> tuple[float, float]:
        estimate = clusters_of(shares, weight, **more).estimator(0.95)(
            np.arange(40), faults
        )
        return estimate.low, estimate.high

    assert limits(unknown=[7]) == (limits()[0], limits(crashed=[7])[1])


def test_no_failure_is_what_independent_pairs_show() -> None:
    weight = np.full(50, 0.02)
    estimator = clusters_of(np.zeros((40, 50)), weight).estimator(0.95)

    estimate = estimator(np.arange(40), Counter({0: 10**6}))

    assert (estimate.low, estimate.value) == (0, 0)
    assert estimate.high == pytest.approx(1 - 0.025 ** (1 / 40))


def test_fewer_than_30_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30 clusters .* got 29"):
        clusters_of(np.zeros((40, 29)), np.full(29, 1 / 29))


def test_fresh_faults_and_fresh_inputs_are_covered() -> None:
    """500 campaigns: the Monte Carlo error is 1 point; one way alone covers less."""
    rng = np.random.default_rng(4)
    truth = 0.2 * (0.5 * 0.9 + 0.5 * 0.3)

    held = held_by_faults_alone = 0
    for _ in range(500):
        shares, weight = a_campaign(rng, n=400, sources=40)
        estimator = clusters_of(shares, weight).estimator(0.95)
        estimate = estimator(np.arange(400), Counter({0: 10**9}))
        held += estimate.low <= truth <= estimate.high
        by_fault = shares.sum(1)
        half = 1.96 * by_fault.std(ddof=1) / math.sqrt(400)
        held_by_faults_alone += abs(by_fault.mean() - truth) <= half

    assert held / 500 > 0.92
    assert held_by_faults_alone / 500 < 0.9
