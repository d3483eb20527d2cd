import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import beta, binom, hypergeom

from stoic.estimates.coins import coin_lower, coin_upper, wilson

LEVELS = (0.025, 0.05, 0.2)


@pytest.mark.parametrize("level", LEVELS)
def test_limits_without_replacement_cover_every_small_population(level: float) -> None:
    """Every population up to 12 faults, every sample size, every outcome."""
    for size in range(1, 13):
        for n in range(1, size):
            uppers = [coin_upper(k, n, size, level) for k in range(n + 1)]
            lowers = [coin_lower(k, n, size, level) for k in range(n + 1)]
            for failing in range(size + 1):
                truth = failing / size
                chances = [chance(k, n, failing, size) for k in range(n + 1)]
                missed = sum(
                    p for p, up in zip(chances, uppers, strict=True) if up < truth
                )
                assert missed <= Fraction(level)
                missed = sum(
                    p for p, lo in zip(chances, lowers, strict=True) if lo > truth
                )
                assert missed <= Fraction(level)


def chance(k: int, n: int, failing: int, size: int) -> Fraction:
    ways = math.comb(failing, k) * math.comb(size - failing, n - k) if k <= n else 0
    return Fraction(ways, math.comb(size, n))


@pytest.mark.parametrize("level", LEVELS)
def test_limits_without_replacement_could_not_be_tighter(level: float) -> None:
    """The next population inside the limit would be missed too often."""
    for size, n, k in [(12, 5, 0), (12, 5, 2), (11, 10, 3), (9, 4, 3), (40, 7, 1)]:
        failing = round(coin_upper(k, n, size, level) * size)
        below = sum(chance(j, n, failing, size) for j in range(k + 1))
        below_next = sum(chance(j, n, failing + 1, size) for j in range(k + 1))
        assert below > Fraction(level) >= below_next


@pytest.mark.parametrize(
    ("failures", "n", "size"),
    [
        (28, 2_000, 117_056),
        (900, 69_000, 117_056),
        (40_000, 100_000, 10**6),
        (4_000, 10**6, 10**10),
        (3, 9, 10),
    ],
)
def test_limits_agree_with_the_hypergeometric_distribution(
    failures: int, n: int, size: int
) -> None:
    failing = round(coin_upper(failures, n, size, 0.025) * size)
    assert hypergeom.cdf(failures, size, failing, n) > 0.025
    assert hypergeom.cdf(failures, size, failing + 1, n) <= 0.025

    failing = round(coin_lower(failures, n, size, 0.025) * size)
    assert hypergeom.sf(failures - 1, size, failing, n) > 0.025
    if failing:
        assert hypergeom.sf(failures - 1, size, failing - 1, n) <= 0.025


@pytest.mark.parametrize(
    ("failures", "n"), [(0, 1), (0, 50), (3, 10), (10, 10), (7, 999)]
)
def test_limits_with_replacement_are_those_of_clopper_and_pearson(
    failures: int, n: int
) -> None:
    low = beta.ppf(0.025, failures, n - failures + 1) if failures else 0.0
    high = beta.ppf(0.975, failures + 1, n - failures) if failures < n else 1.0

    assert coin_lower(failures, n, None, 0.025) == pytest.approx(low)
    assert coin_upper(failures, n, None, 0.025) == pytest.approx(high)


def test_limits_with_replacement_cover_every_share() -> None:
    n = 20
    lows = np.array([coin_lower(k, n, None, 0.025) for k in range(n + 1)])
    highs = np.array([coin_upper(k, n, None, 0.025) for k in range(n + 1)])
    for share in np.linspace(0.001, 0.999, 999):
        chances = binom.pmf(np.arange(n + 1), n, share)
        assert chances[highs < share].sum() <= 0.025
        assert chances[lows > share].sum() <= 0.025


def test_no_failure_is_exactly_what_it_shows() -> None:
    assert coin_upper(0, 100, None, 0.025) == pytest.approx(1 - 0.025**0.01)
    assert coin_lower(0, 100, None, 0.025) == 0
    # Of 10 faults 9 were tried: the last may fail.
    assert coin_upper(0, 9, 10, 0.025) == 0.1


def test_a_larger_population_leaves_more_open_up_to_endless() -> None:
    uppers = [coin_upper(2, 50, size, 0.05) for size in (60, 100, 10**3, 10**6, 10**12)]

    assert uppers == sorted(uppers)
    assert uppers[-1] == pytest.approx(coin_upper(2, 50, None, 0.05), rel=1e-6)


def test_wilson_is_the_root_of_its_equation() -> None:
    low, high = wilson(7, 50, None, 0.95)

    for limit in (low, high):
        deviation = abs(7 / 50 - limit) / math.sqrt(limit * (1 - limit) / 50)
        assert deviation == pytest.approx(1.959964, rel=1e-5)
    narrow = wilson(7, 50, 60, 0.95)
    assert low < narrow[0] < 7 / 50 < narrow[1] < high
