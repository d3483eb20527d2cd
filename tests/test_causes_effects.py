"""Effects of stages, against slow restatements and simulated tables."""

import itertools
import math

import numpy as np
import pytest
from benchmarks.claims import judged
from scipy.optimize import minimize
from scipy.stats import friedmanchisquare, mannwhitneyu

from stoic.causes.effects import (
    LEFT,
    Runs,
    a12,
    critical_difference,
    explained,
    mixed_model,
    pairs,
    ranking,
)


def table(shape: dict[str, int], scores: np.ndarray) -> Runs:
    """A balanced table; the last factor is that of repeats."""
    rows = list(itertools.product(*(range(each) for each in shape.values())))
    columns = zip(*rows, strict=True)
    factors = {
        name: np.array([f"{name}{place}" for place in column])
        for name, column in zip(shape, columns, strict=True)
    }
    return Runs(factors, np.asarray(scores, float).reshape(-1))


def normal(shape: dict[str, int], seed: int = 0) -> Runs:
    rng = np.random.default_rng(seed)
    return table(shape, rng.normal(size=math.prod(shape.values())))


def test_an_effect_size_counts_pairs_and_half_the_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 17) / 2, rng.integers(1, 6, 11) / 2
    wins = [(a > b) + 0.5 * (a == b) for a in first for b in second]

    assert a12(first, second) == pytest.approx(np.mean(wins))
    assert a12(first, second) + a12(second, first) == pytest.approx(1)
    peer = mannwhitneyu(first, second).statistic / (17 * 11)
    assert a12(first, second) == pytest.approx(peer)


def test_pairs_are_compared_within_cases_too() -> None:
    # The second pipeline is better on both cases, which differ more than pipelines do.
    runs = table(
        {"case": 2, "pipe": 2, "seed": 2}, np.array([0, 0, 1, 1, 10, 10, 11, 11])
    )
    (found,) = pairs(runs, ["pipe"])

    assert (found.first, found.second) == ("pipe0", "pipe1")
    assert found.within == 0
    assert found.pooled == 0.25
    assert found.size == "large"


def test_ranks_are_those_of_friedman_with_ties() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, (12, 5)).astype(float)
    runs = table({"case": 12, "pipe": 5}, scores)
    found = ranking(runs, ["pipe"], ["case"])

    peer = friedmanchisquare(*scores.T)
    assert found.statistic == pytest.approx(peer.statistic)
    assert found.p == pytest.approx(peer.pvalue)
    for level, rank in zip(found.levels, found.ranks, strict=True):
        own = scores[:, int(level.removeprefix("pipe"))]
        above = (scores > own[:, None]).sum(1)
        tied = (scores == own[:, None]).sum(1)
        assert rank == pytest.approx((above + (tied + 1) / 2).mean())
    assert list(found.ranks) == sorted(found.ranks)


@pytest.mark.parametrize(("levels", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_table(
    levels: int, quantile: float
) -> None:
    """Table 5 of Demšar 2006."""
    by_table = quantile * math.sqrt(levels * (levels + 1) / (6 * 14))
    assert critical_difference(levels, 14) == pytest.approx(by_table, abs=1e-3)


def test_what_is_as_good_as_the_best_is_within_the_critical_difference() -> None:
    scores = np.arange(4) * np.ones((30, 1))
    scores[::2, 3] -= 1.5
    found = ranking(table({"case": 30, "pipe": 4}, scores), ["pipe"], ["case"])
    assert set(found.as_good) == {"pipe2", "pipe3"}


def dummies(runs: Runs, names: tuple[str, ...]) -> np.ndarray:
    """One column for each combination of levels."""
    labels = runs.joined(names)
    return np.stack([labels == each for each in np.unique(labels)], axis=1).astype(
        float
    )


def squares_left(runs: Runs, terms: list[tuple[str, ...]]) -> float:
    columns = [dummies(runs, term) for term in terms]
    design = np.hstack([np.ones((len(runs.scores), 1)), *columns])
    fitted = design @ np.linalg.lstsq(design, runs.scores, rcond=None)[0]
    return float(((runs.scores - fitted) ** 2).sum())


def test_the_variance_explained_is_that_of_nested_least_squares() -> None:
    runs = normal({"extractor": 3, "reduction": 2, "case": 4, "seed": 2})
    names = ("extractor", "reduction", "case")
    found = explained(runs, names)

    assert sum(found.values()) == pytest.approx(1)
    total = squares_left(runs, [])
    terms: list[tuple[str, ...]] = []
    for many in (1, 2, 3):
        for term in itertools.combinations(names, many):
            before = squares_left(runs, terms)
            terms.append(term)
            share = (before - squares_left(runs, terms)) / total
            assert found[" x ".join(term)] == pytest.approx(share, abs=1e-9)
    assert found[LEFT] == pytest.approx(squares_left(runs, terms) / total)


def test_a_table_with_a_hole_is_refused() -> None:
    runs = normal({"extractor": 2, "case": 2})
    holed = Runs({k: v[:-1] for k, v in runs.factors.items()}, runs.scores[:-1])
    with pytest.raises(ValueError, match="runs must be as many for each extractor x"):
        explained(holed, ["extractor", "case"])


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="scores must be finite, got 1 that are not"):
        table({"case": 2}, np.array([1.0, np.nan]))


def restricted_likelihood(
    cells: np.ndarray, case: float, together: float, repeat: float
) -> float:
    """Minus twice the restricted log-likelihood, with the whole covariance matrix."""
    cases, pipelines, repeats = cells.shape
    same_case = np.kron(np.eye(cases), np.ones((pipelines * repeats,) * 2))
    same_cell = np.kron(np.eye(cases * pipelines), np.ones((repeats, repeats)))
    covariance = case * same_case + together * same_cell + repeat * np.eye(cells.size)
    design = np.tile(np.repeat(np.eye(pipelines), repeats, axis=0), (cases, 1))
    inverse = np.linalg.inv(covariance)
    inner = design.T @ inverse @ design
    y = cells.reshape(-1)
    rest = y - design @ np.linalg.solve(inner, design.T @ inverse @ y)
    logs = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(inner)[1]
    return float(logs + rest @ inverse @ rest)


@pytest.mark.parametrize(("seed", "case"), [(0, 1.0), (1, 0.0), (2, 0.0)])
def test_the_components_maximise_the_restricted_likelihood(
    seed: int, case: float
) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(4, 3, 2)) + case * rng.normal(size=(4, 1, 1))
    runs = table({"case": 4, "extractor": 3, "seed": 2}, cells)
    found = mixed_model(runs, ["extractor"]).components

    assert found.repeat is not None
    best = min(
        minimize(
            lambda logs: restricted_likelihood(cells, *np.exp(logs.clip(-14, 4))),
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-10},
        ).fun
        for start in itertools.product((-6.0, 0.0), repeat=3)
    )
    own = restricted_likelihood(cells, found.case, found.together, found.repeat)
    # The search keeps away from zero, where the best may be.
    assert best - 1e-3 < own < best + 1e-6


def test_known_components_and_effects_are_found_again() -> None:
    rng = np.random.default_rng(0)
    shape = (60, 4, 3, 3)
    effect = np.array([-0.3, 0.0, 0.1, 0.2])
    cells = (
        effect[None, :, None, None]
        + rng.normal(0, 0.5, (60, 1, 1, 1))
        + rng.normal(0, 0.2, (60, 4, 3, 1))
        + rng.normal(0, 0.1, shape)
    )
    runs = table({"case": 60, "extractor": 4, "clustering": 3, "seed": 3}, cells)
    found = mixed_model(runs, ["extractor", "clustering"])

    parts = found.components
    assert parts.repeat is not None
    assert math.sqrt(parts.case) == pytest.approx(0.5, rel=0.25)
    assert math.sqrt(parts.together) == pytest.approx(0.2, rel=0.1)
    assert math.sqrt(parts.repeat) == pytest.approx(0.1, rel=0.1)
    extractor, clustering, both = found.terms
    assert extractor.p < 1e-6 and extractor.free == (3, 59 * 11)
    assert clustering.p > 0.01 and both.p > 0.01
    levels = [each for each in found.levels if each.factor == "extractor"]
    for level, true in zip(levels, effect - effect.mean(), strict=True):
        assert level.low < true < level.high


def test_intervals_cover_the_effect_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        cells = rng.normal(size=(5, 3, 1)) + rng.normal(size=(5, 1, 1))
        runs = table({"case": 5, "extractor": 3, "seed": 1}, cells)
        level = mixed_model(runs, ["extractor"]).levels[0]
        covered.append(level.low < 0 < level.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.0475 / 400))


def test_one_run_each_cannot_tell_repeats_from_cases() -> None:
    found = mixed_model(normal({"case": 4, "extractor": 3}), ["extractor"])
    assert found.components.repeat is None
    assert found.components.together > 0


def test_a_model_of_one_case_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 pipelines on 2 levels of case"):
        mixed_model(normal({"case": 1, "extractor": 3}), ["extractor"])


def rows(better: float, *, cases: int) -> list[dict[str, object]]:
    """Rows of nine pipelines, of which UMAP is better by so much, and by chance."""
    rng = np.random.default_rng(0)
    stages = itertools.product(
        ("VGG-16", "neurons"), ("none", "PCA", "UMAP"), ("K-means", "DBSCAN", "HDBSCAN")
    )
    return [
        {
            "case": f"case {case}",
            "seed": 0,
            "pipeline": " + ".join(names),
            "purity": 0.5 + better * (names[1] == "UMAP") + 0.01 * rng.random(),
            "coverage": 0.5 + 0.1 * rng.random(),
        }
        for names in stages
        for case in range(cases)
    ]


def test_a_claim_is_confirmed_or_refuted_by_the_cases() -> None:
    for better, verdict in ((0.2, "confirmed"), (-0.2, "refuted")):
        found = judged(rows(better, cases=4))
        own = [each for each in found["claims"] if each["claim"] == "UMAP beats PCA"]
        assert [each["verdict"] for each in own] == [verdict, "not shown"]
        assert own[0]["value"] == pytest.approx(better, abs=0.01)
        assert own[0]["a12"] == (1.0 if better > 0 else 0.0)


def test_claims_need_all_pipelines_of_several_cases() -> None:
    with pytest.raises(ValueError, match="at least 2 cases"):
        judged(rows(0.1, cases=1))
    with pytest.raises(ValueError, match="without VGG-16 \\+ none \\+ K-means"):
        judged(rows(0.1, cases=2)[1:])
