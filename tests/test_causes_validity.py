"""Validity and knees against slow restatements of what the papers say."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from stoic.causes.clusterings.ward import slope
from stoic.causes.knee import FALLBACK, KNEE, knee
from stoic.causes.pipeline import NOISE
from stoic.causes.validity import WORST, dbcv, distances, silhouette, wicd

Points = NDArray[np.float32]
Labels = NDArray[np.int64]


def blobs(
    seed: int = 0, sizes: tuple[int, ...] = (12, 9, 15), dimensions: int = 3
) -> tuple[Points, Labels]:
    """Three clouds and a few lonely points."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(len(sizes), dimensions)) * 4
    clouds = [
        centre + draw.normal(size=(size, dimensions))
        for centre, size in zip(centres, sizes, strict=True)
    ]
    lonely = draw.normal(size=(6, dimensions)) * 8
    labels = np.repeat([*range(len(sizes)), NOISE], [*sizes, 6])
    return np.concatenate([*clouds, lonely]).astype(np.float32), labels


def slow_dbcv(points: Points, labels: Labels) -> float:
    """DBCV as its paper defines it, point by point."""
    rows = [[float(number) for number in row] for row in points]
    dimensions = len(rows[0])
    members = {
        int(name): [place for place, own in enumerate(labels) if own == name]
        for name in sorted(set(labels.tolist()) - {NOISE})
    }
    core = {}
    for own in members.values():
        for one in own:
            powers = [
                (1 / math.dist(rows[one], rows[two])) ** dimensions
                for two in own
                if two != one
            ]
            core[one] = float((sum(powers) / (len(own) - 1)) ** (-1 / dimensions))

    def reach(one: int, two: int) -> float:
        return max(core[one], core[two], math.dist(rows[one], rows[two]))

    sparseness, inner = {}, {}
    for name, own in members.items():
        edges: list[tuple[int, int]] = []
        joined = {one: {one} for one in own}
        pairs = itertools.combinations(own, 2)
        for one, two in sorted(
            pairs, key=lambda pair: (reach(*pair), math.dist(*(rows[i] for i in pair)))
        ):
            if joined[one] is not joined[two]:
                edges.append((one, two))
                joined[one] |= joined[two]
                for each in joined[one]:
                    joined[each] = joined[one]
        degree = {one: sum(one in edge for edge in edges) for one in own}
        inside = [edge for edge in edges if all(degree[one] > 1 for one in edge)]
        sparseness[name] = max(reach(*edge) for edge in inside or edges)
        inner[name] = [one for one in own if degree[one] > 1] if inside else own
    total = 0.0
    for name, own in members.items():
        separation = min(
            reach(one, two)
            for other in members
            if other != name
            for one in inner[name]
            for two in inner[other]
        )
        worse = max(separation, sparseness[name])
        total += len(own) / len(labels) * (separation - sparseness[name]) / worse
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dimensions", [2, 5])
def test_dbcv_is_that_of_the_paper(seed: int, dimensions: int) -> None:
    points, labels = blobs(seed, dimensions=dimensions)
    found = dbcv(distances(points), labels, dimensions)
    assert found == pytest.approx(slow_dbcv(points, labels), abs=1e-9)


@pytest.mark.parametrize("sizes", [(2, 5), (3, 3, 7)])
def test_dbcv_of_clusters_without_inner_edges_takes_all_edges(
    sizes: tuple[int, ...],
) -> None:
    points, labels = blobs(3, sizes)
    found = dbcv(distances(points), labels, 3)
    assert found == pytest.approx(slow_dbcv(points, labels), abs=1e-9)


def test_dbcv_is_a_number_with_twins_and_with_hundreds_of_dimensions() -> None:
    points, labels = blobs(1, dimensions=600)
    points[:12] = points[0]
    points[12] = points[13]
    found = dbcv(distances(points), labels, 600)
    assert -1 <= found <= 1
    # A cluster of equal images is as dense as can be.
    assert dbcv(distances(points[:21]), labels[:21], 600) > found


def test_far_clusters_are_more_valid_than_near_ones() -> None:
    points, labels = blobs(0)
    far = points + 50 * labels[:, None].astype(np.float32)
    assert dbcv(distances(far), labels, 3) > dbcv(distances(points), labels, 3)


def test_a_silhouette_counts_noise_as_nothing() -> None:
    points, labels = blobs()
    kept = labels != NOISE
    wanted = silhouette_score(points[kept].astype(np.float64), labels[kept])
    found = silhouette(distances(points), labels)
    assert found == pytest.approx(wanted * kept.mean())


@pytest.mark.parametrize("labels", [[0] * 8, [NOISE] * 8, [0] * 6 + [NOISE] * 2])
def test_fewer_than_two_clusters_are_worst(labels: list[int]) -> None:
    points = np.arange(16, dtype=np.float32).reshape(8, 2) ** 2
    apart = distances(points)
    assert silhouette(apart, np.array(labels)) == WORST
    assert dbcv(apart, np.array(labels), 2) == WORST


def test_wicd_is_that_of_hudd() -> None:
    points, labels = blobs()
    labels[0] = 7
    total = 0.0
    for name in (0, 1, 2, 7):
        own = [place for place, each in enumerate(labels) if each == name]
        pairs = list(itertools.combinations(own, 2))
        apart = [math.dist(points[one], points[two]) for one, two in pairs]
        mean = sum(apart) / len(apart) if apart else 0.0
        total += len(own) / len(labels) * mean
    assert wicd(distances(points), labels) == pytest.approx(total / 4, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_a_knee_is_where_the_curve_turns(scale: float) -> None:
    across = np.arange(20.0)
    falling = scale * np.maximum(100 - 12 * across, 20 - across)
    wanted = int(np.argmin(falling - np.linspace(falling[0], falling[-1], 20)))
    assert wanted in (7, 8)
    assert knee(across, falling).place == wanted
    assert knee(across, falling).by == KNEE
    rising = falling[::-1].copy()
    assert knee(across, rising).place == 19 - wanted
    assert knee(across, -falling, above=True).place == wanted


@pytest.mark.parametrize(
    "curve", [[5.0, 4.0], [1.0, 2.0, 3.0, 4.0], [2.0] * 6, [0.0, 3.0, 4.0, 4.5], [1.0]]
)
def test_a_curve_without_a_knee_gives_its_middle_and_says_so(
    curve: list[float],
) -> None:
    found = knee(np.arange(len(curve), dtype=np.float64), np.array(curve))
    assert (found.place, found.by) == (len(curve) // 2, FALLBACK)


def test_slopes_of_a_polynomial_of_fourth_degree_are_exact() -> None:
    across = np.arange(9.0)
    found = slope(across**4 - 3 * across**2 + across)
    assert found == pytest.approx(4 * across**3 - 6 * across + 1)
    assert slope(np.arange(5.0)) == pytest.approx(np.ones(5))
