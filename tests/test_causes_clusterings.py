"""Reductions and clusterings: what they find, choose, say and refuse."""

import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from stoic.causes.clusterings import (
    CLUSTERINGS,
    HUDD,
    Dbscan,
    Fine,
    Hdbscan,
    KMeans,
    Ward,
)
from stoic.causes.clusterings.choice import finest
from stoic.causes.pipeline import NOISE, Choosing, Clusters, Reduction
from stoic.causes.reductions import Pca, Umap, Whole, standardised

Points = NDArray[np.float32]
Labels = NDArray[np.int64]
ALL = (*CLUSTERINGS, HUDD)


def clouds(count: int = 7, size: int = 20, apart: float = 8) -> tuple[Points, Labels]:
    draw = np.random.default_rng(5)
    centres = draw.normal(size=(count, 4)) * apart
    labels = np.repeat(np.arange(count), size)
    return (centres[labels] + draw.normal(size=(len(labels), 4))).astype("f"), labels


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_no_cluster_mixes_clear_clouds_whatever_the_method(method: Choosing) -> None:
    points, labels = clouds()
    found = method(points, 0)
    kept = found.labels != NOISE
    # HUDD's criterion may stop early, and then joins whole clouds.
    least = 0.5 if method is HUDD else 0.98
    assert homogeneity_score(labels[kept], found.labels[kept]) > least
    assert kept.mean() > 0.95


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_calling_is_to_choose_among_candidates_and_says_what_by(
    method: Choosing,
) -> None:
    points, _ = clouds(5)
    candidates = method.candidates(points, 3)
    chosen, again = method.choose(candidates), method(points, 3)
    assert (chosen.labels == again.labels).all()
    assert chosen.chosen == again.chosen
    assert chosen.chosen["by"]
    plain = [dict(each.chosen) for each in candidates]
    assert {name: chosen.chosen[name] for name in plain[0]} in plain
    assert all(type(value) in {int, float, str} for value in chosen.chosen.values())


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_ten_failures_can_be_clustered_and_nine_are_refused(method: Choosing) -> None:
    points, labels = clouds(2, 5, 30)
    assert adjusted_rand_score(labels, method(points, 0).labels) == 1
    with pytest.raises(ValueError, match="failures must be at least 10 .* more$"):
        method(points[:9], 0)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_equal_images_are_refused_in_one_line(method: Choosing) -> None:
    with pytest.raises(ValueError, match="^points must differ, got 30 equal ones"):
        method(np.ones((30, 3), np.float32), 0)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_many_twins_are_clustered_without_a_warning(method: Choosing) -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), [12, 9, 7], axis=0)
    found = method(points, 0)
    assert found.labels.tolist() == [0] * 12 + [1] * 9 + [2] * 7


def test_points_that_are_not_finite_are_refused() -> None:
    points, _ = clouds(3)
    points[4] = np.nan
    with pytest.raises(ValueError, match="points must be finite"):
        KMeans()(points, 0)


def candidate(clusters: int, validity: float) -> Clusters:
    labels = np.repeat(np.arange(clusters), 5)
    return Clusters.of(labels, {"validity": validity})


@pytest.mark.parametrize(
    ("nearly", "wanted"), [(1.0, 3), (0.9, 3), (0.7, 9), (0.5, 9), (0.4, 20)]
)
def test_the_finest_of_the_nearly_best_is_taken(nearly: float, wanted: int) -> None:
    several = [
        candidate(clusters, validity)
        for clusters, validity in [(3, 0.8), (9, 0.5), (9, 0.6), (20, 0.35)]
    ]
    picked = finest(several, nearly)
    assert picked.count == wanted
    assert wanted != 9 or picked.chosen["validity"] == 0.6


def test_where_nothing_is_valid_the_least_bad_is_taken() -> None:
    several = [candidate(4, -0.5), candidate(2, -0.1), candidate(9, -0.9)]
    assert finest(several, 0.5).count == 2


def test_dbscan_takes_its_radius_where_the_k_distance_bends() -> None:
    points, _ = clouds()
    for own in Dbscan(shares=(1.0,)).candidates(points, 0):
        samples = int(own.chosen["min_samples"])
        reach = sorted(
            sorted(np.linalg.norm(points.astype("d") - each, axis=1))[samples - 1]
            for each in points.astype("d")
        )
        steps = np.linspace(reach[0], reach[-1], len(reach))
        radius = reach[int((steps - reach).argmax())]
        assert own.chosen["eps"] == pytest.approx(radius)
        wanted = DBSCAN(eps=radius, min_samples=samples).fit(points).labels_
        assert (own.labels == Clusters.of(wanted, {}).labels).all()


def test_dbscan_takes_the_radius_at_which_there_are_most_clusters() -> None:
    points, _ = clouds(8, apart=5)
    dbscan = Dbscan(samples=(3,))
    several = dbscan.candidates(points, 0)
    valid = [own.count for own in several if float(own.chosen["validity"]) >= 0]
    assert dbscan.choose(several).count == max(valid) > several[-1].count


def test_k_means_by_the_knee_of_inertia_finds_as_many_as_there_are() -> None:
    points, labels = clouds(8, apart=20)
    found = KMeans(fewest=2, by="knee")(points, 0)
    assert found.chosen["by"] == "inertia, knee"
    assert 5 <= found.count <= 8
    inertia = [
        ((points[labels == each] - points[labels == each].mean(0)) ** 2).sum()
        for each in range(8)
    ]
    of_eight = KMeans(fewest=8, most=8)(points, 0)
    assert of_eight.chosen["inertia"] == pytest.approx(sum(inertia), rel=1e-4)


def test_ward_clusters_rows_of_the_distance_matrix() -> None:
    points, labels = clouds(3, 15, 20)
    of_three = Ward(most=3).candidates(points, 0)[-1]
    assert of_three.chosen["k"] == 3
    assert adjusted_rand_score(labels, of_three.labels) == 1


def test_fine_joins_what_costs_least_until_there_are_as_many_as_asked() -> None:
    points, _ = clouds(3, 8)
    slow = [[place] for place in range(24)]

    def cost(pair: tuple[list[int], list[int]]) -> float:
        one, two = (points[own].astype(float) for own in pair)
        apart = ((one.mean(0) - two.mean(0)) ** 2).sum()
        return float(len(one) * len(two) / (len(one) + len(two)) * apart)

    while len(slow) > 4:
        one, two = min(combinations(slow, 2), key=cost)
        slow = [own for own in slow if own not in (one, two)] + [one + two]
    found = Fine(each=6)(points, 0)
    kept = {tuple(sorted(own)) for own in slow if len(own) >= 5}
    assert {tuple(found.members(own)) for own in range(found.count)} == kept
    assert found.chosen["k"] == 4


@pytest.mark.parametrize(
    "bad",
    [
        lambda: KMeans(fewest=40),
        lambda: Dbscan(samples=(1,)),
        lambda: Dbscan(shares=(0.0,)),
        lambda: Hdbscan(sizes=(2,)),
        lambda: Hdbscan(samples=()),
        lambda: Ward(most=1),
        lambda: Fine(each=4),
        lambda: Pca(0),
        lambda: Umap(neighbours=1),
    ],
)
def test_settings_out_of_range_are_refused(bad: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=" must .*, got "):
        bad()


def features(count: int = 40, seed: int = 0) -> Points:
    return np.random.default_rng(seed).normal(3, 5, size=(count, 30)).astype("f")


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_features_are_standardised_and_constant_ones_dropped(scale: float) -> None:
    raw = features() * np.float32(scale)
    raw[:, 7] = 0.1
    ready = Whole()(raw, 0)
    assert ready.shape == (40, 29)
    assert ready.mean(0) == pytest.approx(np.zeros(29), abs=1e-5)
    assert ready.std(0) == pytest.approx(np.ones(29), rel=1e-5)


def test_pca_keeps_distances_where_it_keeps_all_directions() -> None:
    raw = features(12)
    ready, points = standardised(raw), Pca(25)(raw, 0)
    assert points.shape == (12, 11)
    apart = np.linalg.norm(ready[:, None] - ready, axis=-1)
    found = np.linalg.norm(points[:, None] - points, axis=-1)
    assert found == pytest.approx(apart, abs=1e-4)
    few = Pca(2)(raw, 0)
    variance = np.linalg.svd(ready - ready.mean(0))[1][:2] ** 2
    assert (few**2).sum(0) == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("method", [Whole(), Pca(), Umap()], ids=lambda own: own.name)
def test_features_that_cannot_be_reduced_are_refused_with_counts(
    method: Reduction,
) -> None:
    raw = features()
    raw[3, 2] = np.nan
    raw[3, 9] = raw[8, 9] = np.inf
    with pytest.raises(ValueError, match="2 of 40 failures and 2 of 30 features"):
        method(raw, 0)
    with pytest.raises(ValueError, match="must differ .*, got 9 equal rows"):
        method(np.ones((9, 4), np.float32), 0)
    with pytest.raises(ValueError, match="at least 2 failures"):
        method(features(1), 0)


def test_umap_says_how_many_failures_it_needs() -> None:
    with pytest.raises(ValueError, match="at least 27 .* got 26; .*--reduction PCA"):
        Umap()(features(26), 0)
    with pytest.raises(ValueError, match="at least 16 for UMAP .* got 15"):
        Umap(dimensions=2)(features(15), 0)


def test_a_missing_umap_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=r"pip install 'stoic\[causes\]'$"):
        Umap()(features(), 0)


def test_umap_keeps_neighbours_and_is_the_same_for_a_seed() -> None:
    pytest.importorskip("umap")
    raw, labels = clouds(3, 15, 20)
    # The least count of failures, in as many pieces as there are clouds.
    method = Umap(dimensions=2, neighbours=5)
    points = method(raw, 7)
    assert points.shape == (45, 2)
    assert (points == method(raw, 7)).all()
    nearest = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(nearest, np.inf)
    assert (labels[nearest.argmin(1)] == labels).all()
