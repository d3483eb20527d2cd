"""Images to look at, and scenarios missed, by enumeration and by drawing."""

import itertools
import math

import numpy as np
import pytest

from stoic.causes.failures import UNKNOWN
from stoic.causes.looking import looked_through, seen_after
from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.reductions import Pca
from stoic.causes.scores import (
    AtRandom,
    FarthestFirst,
    Novelty,
    Order,
    RandomOrder,
    RoundRobin,
    Truth,
    Turns,
    first_seen,
    inspection,
    missing,
    needed,
    until_all,
)
from stoic.causes.scores.missing import (
    allotted,
    missed,
    missed_at_most,
    missed_at_random,
)


def truth(words: str, *, parts: bool = False) -> Truth:
    """One failure for each word; a dot is of unknown cause."""
    each = [UNKNOWN if word == "." else word for word in words.split()]
    return Truth.of(np.array(each), parts=parts)


def whole(sizes: list[int]) -> np.ndarray:
    return np.array(sizes, np.int64)


def test_the_first_image_of_each_scenario_is_where_it_is_seen() -> None:
    seen = first_seen(np.array([3, 0, 1, 2]), truth("a a b ."))
    assert seen.tolist() == [2, 4]


def test_an_order_that_leaves_one_out_is_refused() -> None:
    with pytest.raises(ValueError, match="order must hold each of the 3 failures once"):
        first_seen(np.array([0, 1, 1]), truth("a b c"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("a a b . . c", False),
        ("a b b b b b", False),
        ("a+b a c c . a+c", True),
        ("a+b b+c c+a . . .", True),
    ],
)
def test_random_order_is_what_all_orders_say(words: str, parts: bool) -> None:
    known = truth(words, parts=parts)
    found = RandomOrder.of(known)

    taken = [
        int(first_seen(np.array(order), known).max())
        for order in itertools.permutations(range(len(known)))
    ]
    by = [np.mean(np.array(taken) <= n) for n in range(len(known) + 1)]
    assert found.seen.tolist() == pytest.approx(by, abs=1e-12)
    assert found.mean == pytest.approx(np.mean(taken))
    quantile = np.quantile(taken, 0.95, method="inverted_cdf")
    assert found.reliable(0.95) == quantile


def test_random_order_of_many_failures_is_what_drawing_shows() -> None:
    words = np.array(["a"] * 150 + ["b"] * 130 + ["c"] * 3 + [UNKNOWN] * 17)
    known = Truth.of(words)
    rng = np.random.default_rng(0)
    taken = [first_seen(rng.permutation(300), known).max() for _ in range(4000)]

    found = RandomOrder.of(known)

    error = 4 * np.std(taken) / math.sqrt(4000)
    assert found.mean == pytest.approx(np.mean(taken), abs=error)
    assert np.mean(np.array(taken) <= found.reliable(0.95)) == pytest.approx(
        0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000)
    )


def test_many_scenarios_keep_random_order_a_distribution() -> None:
    words = np.repeat([f"s{each}" for each in range(40)], 30)
    found = RandomOrder.of(Truth.of(words))
    high = found.seen[found.reliable(0.5) :]
    assert np.all(np.diff(high) >= -1e-9)
    # The mean of a count is the sum of its tails; low tails are one here.
    assert 0 < found.mean < found.reliable(0.95) < 1200


def test_too_many_scenarios_that_overlap_are_refused() -> None:
    words = " ".join(f"{a}+{a + 1}" for a in range(17))
    with pytest.raises(ValueError, match="scenarios must be at most 16"):
        RandomOrder.of(truth(words, parts=True))


def test_an_inspection_reports_orders_beside_random_order() -> None:
    known = truth("a a a a a a a a a b")
    good, bad = np.arange(10)[::-1], np.arange(10)
    found = inspection([(good, known)] * 19 + [(bad, known)])

    assert (found.draws, found.mean, found.reliable) == (20, 2.4, 2)
    assert found.random_mean == pytest.approx(RandomOrder.of(known).mean)
    assert found.random_reliable == 10
    assert found.saving == found.as_record()["saving"] == 0.2


def test_images_are_allotted_one_of_each_cluster_in_turn() -> None:
    sizes = whole([5, 1, 3, 0])
    for images in range(10):
        taken = [0, 0, 0, 0]
        turns = itertools.cycle(range(4))
        while sum(taken) < images:
            turn = next(turns)
            taken[turn] += int(taken[turn] < sizes[turn])
        assert allotted(sizes, images).tolist() == taken


def test_a_scenario_is_missed_as_often_as_all_picks_miss_it() -> None:
    sizes, looked, held = [4, 3], [2, 1], [1, 2]
    picks = list(
        itertools.product(
            itertools.combinations(range(4), 2), itertools.combinations(range(3), 1)
        )
    )
    none = [
        all(place >= held[0] for place in first)
        and all(place >= held[1] for place in second)
        for first, second in picks
    ]
    chance = missed(whole(sizes), whole(looked), whole(held))
    assert chance == pytest.approx(np.mean(none))


def test_the_worst_a_scenario_can_lie_is_the_worst_of_all_ways() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        sizes = rng.integers(0, 7, 3)
        sizes[0] += 1
        looked = np.array([rng.integers(0, each + 1) for each in sizes])
        held = int(rng.integers(1, sizes.sum() + 1))
        ways = itertools.product(*(range(each + 1) for each in sizes))
        worst = max(
            missed(sizes, looked, whole(list(way))) for way in ways if sum(way) == held
        )
        assert missed_at_most(sizes, looked, held) == pytest.approx(worst, abs=1e-12)


def test_missing_says_what_is_known_and_what_can_be_said_of_the_rest() -> None:
    labels = np.array([0] * 60 + [1] * 30 + [NOISE] * 10)
    words = np.array(["a"] * 90 + ["b"] * 7 + ["a"] * 3)
    found = missing(Clusters(labels, {}), images=30, share=0.07, truth=Truth.of(words))

    # Ten of each; those of noise are all of it, so that b cannot be missed.
    assert found.known == {"a": 0.0, "b": 0.0}
    ways = math.comb(93, 30) / math.comb(100, 30)
    assert found.at_random == pytest.approx(ways) == missed_at_random(100, 30, 7)
    worst = math.comb(53, 10) / math.comb(60, 10)
    assert found.at_most == pytest.approx(worst)
    assert found.at_most > found.at_random


def test_so_many_images_are_needed_that_one_less_misses_too_often() -> None:
    clusters = Clusters(np.array([0] * 30 + [1] * 8 + [NOISE] * 12), {})
    for share in (0.01, 0.1, 0.3):
        found = needed(clusters, share, confidence=0.9)
        chances = [missing(clusters, images=n, share=share) for n in range(51)]
        seldom = [n for n, own in enumerate(chances) if own.at_random <= 0.1 + 1e-12]
        assert found.at_random == min(seldom)
        seldom = [n for n, own in enumerate(chances) if own.at_most <= 0.1 + 1e-12]
        assert found.at_most == min(seldom) >= found.at_random
    # Of one failure among 50, nine tenths of all must be looked at.
    assert needed(clusters, 0.01, confidence=0.9).at_random == 45


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence must be above 0"):
        needed(Clusters(np.zeros(5, np.int64), {}), 0.5, confidence=0)
    with pytest.raises(ValueError, match="share must be above 0"):
        missing(Clusters(np.zeros(5, np.int64), {}), images=1, share=0)


ORDERS = (AtRandom(), RoundRobin(), Novelty(), FarthestFirst(), Turns())


def blobs(
    sizes: list[int], *, apart: float = 9.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points of round blobs on the corners of a cube, and the blob of each."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(len(sizes)), sizes)
    corners = apart * rng.choice([0, 1], (len(sizes), 8))
    corners[:, 0] = apart * np.arange(len(sizes))
    points = corners[own] + rng.normal(size=(len(own), 8))
    return points.astype(np.float32), own


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
@pytest.mark.parametrize("same", [False, True])
def test_an_order_holds_each_failure_once_and_comes_again(
    order: Order, same: bool
) -> None:
    points, own = blobs([20, 9, 6])
    points = np.zeros_like(points) if same else points
    labels = np.where(np.arange(35) % 4, own, NOISE)
    found = order(Clusters(labels, {}), points, 5)
    assert sorted(found.tolist()) == list(range(35))
    assert found.tolist() == order(Clusters(labels, {}), points, 5).tolist()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
def test_an_order_needs_no_cluster(order: Order) -> None:
    points, _ = blobs([7])
    found = order(Clusters(np.full(7, NOISE), {}), points, 0)
    assert sorted(found.tolist()) == list(range(7))


def test_round_robin_takes_the_typical_first_then_noise() -> None:
    points = np.array([[0.0], [1], [2], [3], [10], [11], [13], [50], [60]], np.float32)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, NOISE, NOISE])
    found = RoundRobin(each=2)(Clusters(labels, {}), points, 0).tolist()
    # The centres are 1.5 and 11.33; of equals the first comes first.
    assert found[:4] == [1, 5, 2, 4]
    assert set(found[4:6]) == {7, 8}


def novelty_restated(labels: np.ndarray, points: np.ndarray, k: int) -> list[int]:
    """In turn: the farthest new cluster's typical image, and the most novel image."""
    near = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, k]
    fronts = []
    for own in range(labels.max() + 1):
        members = np.flatnonzero(labels == own)
        centre = points[members].mean(0)
        fronts.append(min(members, key=lambda i: np.linalg.norm(points[i] - centre)))

    def far(place: int) -> float:
        return min(
            float(np.linalg.norm(points[place] - points[each])) for each in order
        )

    order = [int(fronts[0])]
    while len(order) < len(points):
        left = [int(each) for each in fronts if each not in order]
        if len(order) % 2 == 0 and left:
            order.append(max(left, key=far))
        else:
            unseen = [each for each in range(len(points)) if each not in order]
            order.append(max(unseen, key=lambda i: far(i) / math.sqrt(near[i])))
    return order


def test_novelty_is_what_its_words_say() -> None:
    points, own = blobs([14, 8, 6, 3])
    labels = np.where(own == 3, 0, own)
    found = Novelty(neighbours=2)(Clusters(labels, {}), points, 0)
    slow = novelty_restated(labels, points.astype(float), 2)
    assert found.tolist() == slow


def test_farthest_first_is_what_its_words_say() -> None:
    points, _ = blobs([14, 8, 3])
    found = FarthestFirst()(Clusters(np.full(25, NOISE), {}), points, 0).tolist()
    away = np.linalg.norm(points - points.mean(0), axis=1)
    slow = [int(away.argmin())]
    while len(slow) < 25:
        left = [i for i in range(25) if i not in slow]
        slow.append(
            max(
                left,
                key=lambda i: min(np.linalg.norm(points[i] - points[slow], axis=1)),
            )
        )
    assert found == slow


def test_turns_take_the_farthest_and_the_most_novel_of_each_space() -> None:
    spaces = [blobs([9, 6, 3], seed=seed)[0].astype(float) for seed in (0, 1)]
    found = Turns(neighbours=2).among(spaces).tolist()

    apart = [np.linalg.norm(own[:, None] - own, axis=2) for own in spaces]
    lonely = [np.sort(away, axis=1)[:, 2] ** 0.5 for away in apart]
    centre = spaces[0].mean(axis=0)
    slow = [int(np.linalg.norm(spaces[0] - centre, axis=1).argmin())]
    while len(slow) < 18:
        turn = len(slow) - 1
        away, by = apart[turn % 2], turn // 2 % 2
        worth = [
            -1
            if place in slow
            else away[place, slow].min() / lonely[turn % 2][place] ** by
            for place in range(18)
        ]
        slow.append(int(np.argmax(worth)))
    assert found == slow


def test_failures_are_looked_through_by_turns_of_each_kind_of_features() -> None:
    tables = [blobs([9, 6, 3], seed=seed)[0] for seed in (0, 1)]
    spaces = [Pca()(table, 0) for table in tables]
    assert looked_through(tables).tolist() == Turns().among(spaces).tolist()
    none = Clusters(np.full(18, NOISE), {})
    alone = FarthestFirst()(none, spaces[0], 0)
    assert looked_through(tables[:1]).tolist() == alone.tolist()
    causes = np.array(["a"] * 9 + ["b"] * 6 + ["a+c"] * 3)
    slow = [{*"+".join(causes[alone[:n]]).split("+")} for n in range(1, 19)]
    assert seen_after(alone, causes) == slow.index({"a", "b", "c"}) + 1


def test_a_rare_scenario_inside_a_large_cluster_is_seen_soon() -> None:
    sizes = [500, 300, 194, 6]
    runs = []
    for seed in range(12):
        points, own = blobs(sizes, apart=4.0, seed=seed)
        hidden = Clusters(np.where(own == 3, seed % 3, own), {})
        words = Truth.of(own.astype(str))
        runs.append((Novelty()(hidden, points, seed), words))
    found = inspection(runs)

    assert found.saving < 0.3
    assert found.random_reliable > 350
    assert all(until_all(order, words) <= 200 for order, words in runs)
