import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t

from stoic.estimates import Estimate, Sample, estimate_mean, verdict
from stoic.estimates.coins import coin_lower, coin_upper, wilson
from stoic.estimates.design import design_limits


def sample(shares: Sequence[float], size: int = 10**6, **more: Any) -> Sample:
    """Shares, of which NaN is unknown."""
    values = np.array(shares, float)
    unknown = np.isnan(values)
    low, high = np.where(unknown, 0.0, values), np.where(unknown, 1.0, values)
    return Sample(low, high, size, **more)


def interval(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def test_a_census_has_no_width() -> None:
    shares = [0.1, 0.0, 0.7]

    estimate = estimate_mean([sample(shares, size=3)])

    assert estimate.low == estimate.value == estimate.high
    assert estimate.value == pytest.approx(sum(shares) / 3)
    assert (estimate.kind, estimate.n) == ("census", 3)


def test_a_census_of_strata_has_no_width() -> None:
    strata = [sample([1.0], 1), sample([0.1, 0.2], 2), sample([0.3] * 7, 7)]

    estimate = estimate_mean(strata)

    assert estimate.low == estimate.value == estimate.high
    assert estimate.value == pytest.approx((1 + 0.3 + 2.1) / 10)


def test_an_unknown_trial_of_a_census_widens_it_both_ways() -> None:
    estimate = estimate_mean([sample([0.0, 0.5, math.nan, 1.0], size=4)])

    assert interval(estimate) == (1.5 / 4, 2.5 / 4)
    assert estimate.value == 0.5


@pytest.mark.parametrize("coins", [True, False])
def test_unknown_trials_widen_both_limits(coins: bool) -> None:
    shares = [0.0, 0.0, 1.0, 0.0, 0.0] * 10
    best, worst = (
        estimate_mean([sample([*shares, x, x], coins=coins)]) for x in (0.0, 1.0)
    )

    unknown = estimate_mean([sample([*shares, math.nan, math.nan], coins=coins)])

    assert interval(unknown) == (best.low, worst.high)
    assert unknown.value == 0.2


def test_nothing_known_leaves_all_open() -> None:
    estimate = estimate_mean([sample([math.nan] * 5, coins=True)])

    assert interval(estimate) == (0.0, 1.0)


def test_coins_get_exact_limits() -> None:
    estimate = estimate_mean([sample([0, 1, 0, 0, 1], size=40, coins=True)])

    assert estimate.kind == "exact"
    assert estimate.low == coin_lower(2, 5, 40, (1 - 0.95) / 2)
    assert estimate.high == coin_upper(2, 5, 40, (1 - 0.95) / 2)


def test_shares_get_guaranteed_limits_by_default() -> None:
    estimate = estimate_mean([sample([0.0, 0.25, 1.0, 0.0])])

    assert estimate.kind == "guaranteed"
    assert 0 < estimate.low < estimate.value < estimate.high <= 1


@pytest.mark.parametrize("interval_kind", ["guaranteed", "approximate"])
@pytest.mark.parametrize("coins", [True, False])
@pytest.mark.parametrize("strata", [1, 3])
def test_no_failure_is_no_certainty(
    interval_kind: Any, coins: bool, strata: int
) -> None:
    parts = [sample([0.0] * 50, coins=coins)] * strata

    estimate = estimate_mean(parts, interval=interval_kind)

    assert estimate.low == estimate.value == 0
    # One-sided: at least what binomial trials without a failure leave open.
    assert 0.6 * (1 - 0.025 ** (1 / 50 / strata)) < estimate.high < 0.11


def test_limits_at_90_percent_are_one_sided_95_percent_limits() -> None:
    estimate = estimate_mean([sample([0, 1, 0, 0], coins=True)], confidence=0.9)

    assert estimate.high == pytest.approx(coin_upper(1, 4, 10**6, 0.05))


def test_a_stratum_without_trials_is_open() -> None:
    parts = [sample([0.0, 1.0], size=2), sample([], size=6)]

    estimate = estimate_mean(parts)

    assert interval(estimate) == (0.125, 0.875)
    assert estimate.value == 0.5
    assert estimate.kind == "guaranteed"


def test_complete_strata_add_no_width() -> None:
    drawn = sample([0.0, 1.0, 0.5, 0.5], size=50)
    alone = estimate_mean([drawn])

    joined = estimate_mean([drawn, sample([1.0] * 50, size=50)])

    assert joined.low == pytest.approx(0.5 + alone.low / 2)
    assert joined.high == pytest.approx(0.5 + alone.high / 2)


def test_strata_of_a_size_beyond_floats_are_weighed() -> None:
    parts = [sample([1.0] * 9, 10**400), sample([0.0] * 9, 3 * 10**400)]

    assert estimate_mean(parts).value == pytest.approx(0.25)


def test_approximate_limits_are_those_of_student_and_cochran() -> None:
    shares = np.array([0.0, 0.5, 0.25, 1.0, 0.0, 0.0])
    half = student_t.ppf(0.975, 5) * shares.std(ddof=1) / math.sqrt(6)

    endless = estimate_mean([sample(list(shares), 10**9)], interval="approximate")
    finite = estimate_mean([sample(list(shares), 8)], interval="approximate")

    assert endless.kind == "approximate"
    assert endless.high - endless.value == pytest.approx(half, rel=1e-6)
    assert finite.high - finite.value == pytest.approx(half * math.sqrt(2 / 8))


def test_approximate_limits_of_strata_add_variances() -> None:
    rng = np.random.default_rng(0)
    parts = [sample(list(rng.random(50) * scale), 10**9) for scale in (1.0, 0.2)]
    weights = np.array([0.5, 0.5])

    limits = design_limits(parts, weights, 0.95)

    assert limits is not None
    error = math.sqrt(sum(p.low.var(ddof=1) / 50 / 4 for p in parts))
    # Between 49 and 98 degrees of freedom.
    assert 1.98 * error < (limits[1] - limits[0]) / 2 < 2.01 * error


def test_approximate_limits_of_coins_are_those_of_wilson() -> None:
    coins = sample([0, 1, 0, 0, 1], size=40, coins=True)

    estimate = estimate_mean([coins], interval="approximate")

    assert interval(estimate) == wilson(2, 5, 40, 0.95)


def test_approximate_limits_give_way_to_guaranteed_ones_without_variance() -> None:
    estimate = estimate_mean([sample([0.25] * 9)], interval="approximate")

    assert estimate.kind == "guaranteed"


def test_approximate_limits_cover_about_as_often_as_they_say() -> None:
    """Every sample of 5 out of 12 faults, fractional shares."""
    population = [0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.8, 0.9, 1.0]
    truth = sum(population) / 12
    samples = list(itertools.combinations(population, 5))

    held = 0
    for shares in samples:
        estimate = estimate_mean([sample(shares, 12)], interval="approximate")
        held += estimate.low <= truth <= estimate.high

    assert 0.93 < held / len(samples) < 0.98


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: estimate_mean([]), "at least 1 trial, got 0"),
        (lambda: estimate_mean([sample([])]), "at least 1 trial, got 0"),
        (
            lambda: estimate_mean([sample([1])], confidence=1),
            "confidence must be between 0 and 1, got 1",
        ),
        (lambda: sample([0, 0], size=1), "at most the 1 faults there are, got 2"),
        (lambda: sample([1.5]), "shares must be in order within 0..1"),
        (
            # A row per trial and a column per input: pairs, pooled as if independent.
            lambda: Sample(np.zeros((3, 128)), np.zeros((3, 128)), 10),
            "one share per trial each, got shapes",
        ),
        (
            lambda: Estimate(0.5, 0.6, 0.7, 1, 0.95, "exact", ""),
            "must be in order within 0..1, got 0.6, 0.5, 0.7",
        ),
    ],
)
def test_what_is_no_sample_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.001, 0.009, "below"),
        (0.011, 0.02, "above"),
        (0.005, 0.02, "not shown"),
        (0.005, 0.01, "not shown"),
        (0.01, 0.01, "not shown"),
    ],
)
def test_a_verdict_needs_the_limit_to_be_on_one_side(
    low: float, high: float, said: str
) -> None:
    estimate = Estimate(low, low, high, 100, 0.9, "guaranteed", "")

    assert verdict(estimate, 0.01) == said


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        (
            (0.0042, 0.0031, 0.0055),
            "guaranteed",
            "0.42 % (95 % guaranteed interval 0.31 to 0.55 %)",
        ),
        ((0.0, 0.0, 0.0), "census", "0 % (all 2,000 faults tried)"),
        ((0.0139, 0.0139, 0.0139), "census", "1.39 % (all 2,000 faults tried)"),
        ((0.5, 0.25, 1.0), "exact", "50.0 % (95 % exact interval 25.0 to 100.0 %)"),
        (
            (0.00001, 0.0, 0.00002),
            "approximate",
            "0.0010 % (95 % approximate interval 0.0000 to 0.0020 %)",
        ),
        (
            (0.5, 0.4, 0.6),
            "census",
            "50.0 % (95 % interval of logic 40.0 to 60.0 %)",
        ),
    ],
)
def test_an_estimate_reads_as_text(
    numbers: tuple[float, float, float], kind: Any, text: str
) -> None:
    assert str(Estimate(*numbers, 2_000, 0.95, kind, "")) == text
