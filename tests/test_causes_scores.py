"""Scores of clusters, against what the words say, slowly."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from stoic.causes.failures import UNKNOWN
from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.scores import (
    PURE,
    Composition,
    Scores,
    Truth,
    baseline,
    score,
    stability_of_samples,
    stability_of_seeds,
)
from stoic.causes.scores.many import numbers_of
from stoic.causes.scores.scoring import THRESHOLDS

NAMES = ("blur", "dark", "blur+dark", "roll", UNKNOWN)

Row = tuple[int, str]


def clusters(labels: list[int]) -> Clusters:
    return Clusters(np.array(labels, np.int64), {})


def scored(rows: list[Row], *, parts: bool = False) -> Scores:
    labels, scenarios = zip(*rows, strict=True)
    # Contiguous from 0, as clusters are.
    ranks = sorted({label for label in labels if label != NOISE})
    fitted = [NOISE if each == NOISE else ranks.index(each) for each in labels]
    return score(clusters(fitted), np.array(scenarios), parts=parts)


def restated(rows: list[Row], *, parts: bool) -> dict[str, float | None]:
    """Purity and the rest at 0.9, by counting."""

    def causes(word: str) -> set[str]:
        return set(word.split("+")) if parts else {word}

    known = [(label, word) for label, word in rows if word != UNKNOWN]
    names = {name for _, word in known for name in causes(word)}
    all_clusters = {label for label, _ in rows if label != NOISE}
    shares: dict[int, dict[str, float]] = {}
    sizes: dict[int, int] = {}
    for cluster in all_clusters:
        members = [causes(word) for label, word in known if label == cluster]
        if members:
            sizes[cluster] = len(members)
            shares[cluster] = {
                name: sum(name in each for each in members) / len(members)
                for name in names
            }
    purity = {cluster: max(own.values()) for cluster, own in shares.items()}
    owned = {
        name: sum(own[name] >= 0.9 for own in shares.values())
        for name in names
        if any(own[name] >= 0.9 for own in shares.values())
    }
    return {
        "purity": sum(purity.values()) / len(purity) if purity else None,
        "weighted purity": (
            sum(purity[each] * sizes[each] for each in purity) / sum(sizes.values())
            if purity
            else None
        ),
        "coverage at 0.9": len(owned) / len(names),
        "redundancy at 0.9": sum(owned.values()) / len(owned) if owned else None,
        "cost at 0.9": len(all_clusters) / len(owned) if owned else None,
    }


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    row = st.tuples(st.integers(-1, 3), st.sampled_from(NAMES))
    rows = draw(st.lists(row, min_size=1, max_size=40))
    return [*rows, (draw(st.integers(-1, 3)), "roll")]


@given(some_rows(), st.booleans())
def test_scores_are_what_counting_says(rows: list[Row], parts: bool) -> None:
    found = scored(rows, parts=parts)

    numbers = found.numbers()
    for name, value in restated(rows, parts=parts).items():
        assert numbers[name] == pytest.approx(value), name
    assert found.noise == sum(label == NOISE for label, _ in rows) / len(rows)
    assert found.unknown == sum(word == UNKNOWN for _, word in rows)


@given(some_rows())
def test_information_is_that_of_the_reference(rows: list[Row]) -> None:
    found = scored(rows)

    known = [row for row in rows if row[1] != UNKNOWN]
    inside = [row for row in known if row[0] != NOISE]
    assert found.information == pytest.approx(
        adjusted_mutual_info_score(*zip(*known, strict=True)), abs=1e-9
    )
    if inside:
        assert found.clustered_information == pytest.approx(
            adjusted_mutual_info_score(*zip(*inside, strict=True)), abs=1e-9
        )
    else:
        assert found.clustered_information is None


def test_a_cluster_of_nine_in_ten_covers_its_scenario_at_nine_tenths() -> None:
    rows = [(0, "blur")] * 9 + [(0, "dark")] + [(1, "dark")] * 5 + [(1, "roll")] * 5
    found = scored(rows)

    assert found.coverage[PURE] == 1 / 3
    assert found.coverage[0.95] == 0
    assert found.purity == pytest.approx(0.7)
    assert found.redundancy[0.95] is None


def test_a_cluster_of_combinations_is_of_each_cause_when_asked() -> None:
    rows = [(0, "blur+dark")] * 5 + [(1, "roll")] * 5
    assert scored(rows).scenarios == 2
    both = scored(rows, parts=True)
    assert both.scenarios == 3
    assert both.coverage[PURE] == 1
    assert both.redundancy[PURE] == 1


def test_a_cluster_of_unknown_causes_is_counted_apart() -> None:
    found = scored([(0, "blur")] * 5 + [(1, UNKNOWN)] * 7)
    assert (found.clusters, found.unlabelled, found.unknown) == (2, 1, 7)
    assert found.purity == found.weighted_purity == 1


def test_noise_alone_has_no_purity_and_covers_nothing() -> None:
    found = scored([(NOISE, "blur")] * 3 + [(NOISE, "dark")] * 3)
    assert found.purity is found.weighted_purity is None
    assert set(found.coverage.values()) == {0.0}
    assert found.noise == 1


def test_a_record_of_scores_is_strict_json() -> None:
    found = scored([(NOISE, "blur"), (0, "dark")])
    record = json.loads(json.dumps(found.as_record(), allow_nan=False))
    assert record["coverage"]["0.9"] == 0.5
    assert record["noise"] == 0.5


def test_scores_without_any_known_cause_are_refused() -> None:
    with pytest.raises(ValueError, match="scenarios must name the cause of at least"):
        score(clusters([0, 0]), np.array([UNKNOWN, UNKNOWN]))


def test_scenarios_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one row for each of the 3 clustered"):
        score(clusters([0, 0, 0]), np.array(["a", "b"]))


def test_owners_say_what_the_clusters_show_of_each_scenario() -> None:
    truth = Truth.of(np.array(["blur"] * 6 + ["dark"] * 2))
    made = Composition.of(clusters([0, 0, 0, 0, 1, 1, 0, NOISE]), truth)
    blur, dark = made.owners(truth, 0.75)
    assert (blur.failures, blur.clusters, blur.purest) == (6, 2, 1.0)
    assert (dark.failures, dark.clusters, dark.purest) == (2, 0, 0.2)


@given(some_rows())
def test_many_draws_at_once_score_as_each_alone(rows: list[Row]) -> None:
    labels, words = (np.array(each) for each in zip(*rows, strict=True))
    own = Clusters.of(labels, {}, least=1)
    rng = np.random.default_rng(0)
    draws = np.stack([rng.permutation(own.labels) for _ in range(5)])
    found = numbers_of(draws, Truth.of(words, parts=True), THRESHOLDS)
    for place, drawn in enumerate(draws):
        alone = score(Clusters(drawn, {}), words, parts=True).numbers()
        assert list(alone) == list(found)
        for name, number in alone.items():
            wanted = math.nan if number is None else number
            same = pytest.approx(wanted, abs=1e-12, nan_ok=True)
            assert found[name][place] == same, name


def test_random_clusters_are_as_pure_as_enumerating_them_says() -> None:
    """Two clusters of two among four failures: all six ways are as likely."""
    scenarios = np.array(["a", "a", "b", "b"])
    found = baseline(clusters([0, 0, 1, 1]), scenarios, draws=2000).numbers

    # Two of the six are pure; in the other four each cluster is half and half.
    purity, coverage = found["purity"], found["coverage at 0.9"]
    assert purity is not None and coverage is not None
    assert purity.mean == pytest.approx(2 / 3, abs=0.025)
    assert coverage.mean == pytest.approx(1 / 3, abs=0.05)
    assert (purity.low, purity.high, purity.n) == (0.5, 1.0, 2000)
    information = found["information"]
    assert information is not None
    assert information.mean == pytest.approx(0, abs=0.06)


def test_stability_over_seeds_is_the_mean_over_pairs() -> None:
    runs = [clusters([0, 0, 1, 1, NOISE]), clusters([0, 0, 0, 1, 1])]
    runs.append(runs[0])
    found = stability_of_seeds(runs)

    apart = adjusted_rand_score(runs[0].labels, runs[1].labels)
    assert found.rand is not None and found.clusters is not None
    assert found.rand.n == 3
    assert math.isclose(found.rand.mean, (2 * apart + 1) / 3)
    assert stability_of_seeds(runs[:1]).rand is None


def test_stability_over_samples_compares_the_failures_of_the_sample() -> None:
    halves = np.arange(40) // 20
    seen: list[int] = []

    def by_half(places: np.ndarray, seed: int) -> Clusters:
        seen.append(len(places))
        return Clusters.of(halves[places], {}, least=1)

    found = stability_of_samples(by_half, 40, draws=5)

    assert found.rand is not None
    assert (found.rand.low, found.rand.high, found.rand.n) == (1, 1, 5)
    assert seen[0] == 40
    assert all(15 < each < 35 for each in seen[1:])
