"""Points: sums by hand, steps learnt as by trying every cut, limits that keep rates."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from stoic.monitors.boosting import boosted, evenly, grown
from stoic.monitors.bounds import Floats
from stoic.monitors.distance import Distance, distance_of
from stoic.monitors.markers import Moments
from stoic.monitors.points import PER_DOUBLING, PER_UNIT, Condition, Points, Step
from stoic.monitors.sources import points_of, sources
from stoic.monitors.traces import MEMORY, NOTHING, Origin, Traces
from stoic.monitors.watches import Watch, features_of

Numbers = NDArray[np.float64]
WATCHES = tuple(Watch(name, 1, Moments()) for name in ("a", "b", "c"))


def traces(rows: int = 600, seed: int = 0) -> Traces:
    """Return traces in which two features of `a` and one of `c` tell of failures."""
    chance = np.random.default_rng(seed)
    kind = chance.choice([NOTHING, MEMORY, "noise", "blur"], rows)
    values = chance.normal(size=(rows, 6)).astype(np.float32)
    odds = 2 * values[:, 0] * values[:, 1] + 2 * (values[:, 4] > 1) - 0.5
    failed = (kind != NOTHING) & (odds > chance.logistic(size=rows) / 4)
    none = np.zeros(rows)
    origin = Origin(
        np.arange(rows), kind, none, none, kind, none.astype(int), none.astype(int),
        none.astype(int), failed, np.zeros(rows, bool),
    )  # fmt: skip
    return Traces(features_of(WATCHES), values, np.zeros((rows, 2), "f4"), origin)


def by_hand(points: Points, row: Floats) -> int:
    """The sum of one row, condition by condition."""
    total = points.base
    for step in points.steps:
        holds = [
            (row[c.feature] > c.limit) if c.above else row[c.feature] <= c.limit
            for c in step.conditions
        ]
        total += step.points if all(holds) else 0
    return int(total)


def distance() -> Distance:
    own = traces()
    clean = own.columns(WATCHES[2].features).values[own.origin.kind == NOTHING]
    return distance_of("c", WATCHES[2].features, clean, WATCHES[2].features)


def some_points() -> Points:
    first, second = Condition(0, 0.25), Condition(4, -0.5, above=False)
    steps = Step((first,), 20), Step((second, first), -35), Step((second,), 7)
    return Points(features_of(WATCHES), steps, base=-3)


def test_points_are_sums_by_hand() -> None:
    values = traces().values
    values[0] = np.nan
    values[1, 0], values[2, 4] = np.inf, np.float32(-0.5)
    points = some_points()

    total = points.total(values)

    assert total.tolist() == [by_hand(points, row) for row in values]
    assert total.min() >= points.least
    shares = 1 / (1 + np.exp(-total / PER_UNIT))
    shares[~np.isfinite(values).all(1)] = 1
    assert np.allclose(points.scores(values), shares, atol=1e-7)


def test_points_can_be_recorded_and_stand_among_other_features() -> None:
    values = traces(seed=1).values
    points = boosted(traces(), distance(), rounds=20)
    points = points.calibrated(values, (0.01, 0.05))

    record = json.loads(json.dumps(points.as_record()))

    again = Points.of_record(record, points.features)
    assert (again.steps, again.base) == (points.steps, points.base)
    assert again.limits == points.limits
    assert np.array_equal(again.total(values), points.total(values))
    turned = tuple(reversed(points.features))
    assert np.array_equal(
        points.over(turned).total(values[:, ::-1]), points.total(values)
    )


def best_by_trying(values: Floats, slope: Numbers, bend: Numbers) -> float:
    """The largest gain of any cut at a number that occurs, split by split."""
    gains = []
    for feature in range(values.shape[1]):
        for cut in values[:, feature]:
            above = values[:, feature] > cut
            gains.append(
                sum(
                    slope[side].sum() ** 2 / (bend[side].sum() + 3.0)
                    for side in (above, ~above)
                )
            )
    return float(max(gains))


def test_the_first_step_is_nearly_as_good_as_the_best_of_all_cuts() -> None:
    own = traces(300)
    failed, weights = own.origin.failed, evenly(own.origin)
    share = np.average(failed, weights=weights)
    slope, bend = weights * (failed - share), weights * share * (1 - share)

    points = boosted(own, rounds=1, rate=1.0, pairs=False)

    (step,) = points.steps
    above = step.conditions[0].holds(own.values)
    gain = sum(slope[s].sum() ** 2 / (bend[s].sum() + 3.0) for s in (above, ~above))
    assert gain > 0.8 * best_by_trying(own.values, slope, bend)
    worth = [slope[s].sum() / (bend[s].sum() + 3.0) for s in (~above, above)]
    assert step.points == round(PER_UNIT * (worth[1] - worth[0]))
    assert points.base == round(PER_UNIT * (np.log(share / (1 - share)) + worth[0]))


def test_limits_stand_halfway_between_the_values_that_they_part() -> None:
    own = traces(300)

    points = boosted(own, rounds=30)

    conditions = {c for step in points.steps for c in step.conditions}
    assert len(conditions) > 20
    for condition in conditions:
        values = own.values[:, condition.feature]
        above = values > np.float32(condition.limit)
        if above.any():
            last, first = float(values[~above].max()), float(values[above].min())
            assert condition.limit == np.float32((last + first) / 2)


def area(score: NDArray[np.int64], failed: NDArray[np.bool_]) -> float:
    wrong, right = score[failed][:, None], score[~failed][None]
    return float(((wrong > right) + (wrong == right) / 2).mean())


def test_pairs_of_conditions_tell_what_single_ones_cannot() -> None:
    own, other = traces(1500), traces(800, seed=1)

    singles = area(boosted(own, pairs=False).total(other.values), other.origin.failed)
    pairs = area(boosted(own).total(other.values), other.origin.failed)

    assert pairs > singles + 0.05 and pairs > 0.7


def test_scores_rise_with_every_point_and_stay_below_one() -> None:
    condition = Condition(0, 0.0)
    points = Points(("a",), (Step((condition,), 4000), Step((condition,), -4000)))

    assert (np.diff(points.shares) > 0).all()
    assert 0 < points.shares[0] and points.shares[-1] < 1
    odds = np.arange(-4000, 4001) / PER_UNIT
    assert np.allclose(points.shares, 1 / (1 + np.exp(-odds)), atol=3e-4)


def test_the_score_grows_with_the_distance_beyond_all_that_was_learnt() -> None:
    own = traces(300)
    plain, points = boosted(own, rounds=20), boosted(own, distance(), rounds=20)
    far = np.repeat(own.values[:1], 100, 0)
    far[:, 4] = 100 * np.float32(2) ** np.arange(100)

    assert len(set(plain.scores(far).tolist())) == 1
    assert np.diff(points.total(far)).tolist() == [PER_DOUBLING] * 99
    assert (np.diff(points.scores(far)) > 0).all()


def test_what_is_not_finite_is_lost_only_where_the_distance_is_taken() -> None:
    points = boosted(traces(300), distance(), rounds=5)
    values = np.zeros((6, 6), np.float32)
    values[0, 0], values[1, 0], values[2, 0] = np.inf, -np.inf, np.nan
    values[3, 4], values[4, 5] = -np.inf, np.nan

    assert points.lost(values).tolist() == [False, False, True, True, True, False]
    assert (points.scores(values) == 1).tolist() == points.lost(values).tolist()
    assert boosted(traces(300), rounds=5).lost(values).tolist() == [True] * 5 + [False]


def test_kinds_failed_or_not_weigh_the_same() -> None:
    origin = traces().origin
    weights = evenly(origin)

    sums = {
        (kind, failed): weights[(origin.kind == kind) & (origin.failed == failed)].sum()
        for kind, failed in zip(origin.kind.tolist(), origin.failed, strict=True)
    }
    clean = sums.pop((NOTHING, False))
    assert len(sums) == 6
    assert np.allclose(list(sums.values()), clean / 6)
    assert np.isclose(clean, len(weights) / 2)


def test_values_that_tell_nothing_are_not_watched() -> None:
    found = sources(traces(1500), traces(800, seed=1), WATCHES)

    assert found == ("a", "c")
    assert "b" in sources(traces(1500), traces(800, seed=1), WATCHES, ["b"], most=2)


def same(one: Points, other: Points) -> bool:
    return one.as_record() == other.as_record()


def test_points_grow_as_if_learnt_anew_with_more_rounds() -> None:
    own = traces(300)

    found = list(grown(own, distance(), (5, 10, 20)))

    assert len(found) == 3
    for rounds, points in zip((5, 10, 20), found, strict=True):
        assert same(points, boosted(own, distance(), rounds=rounds))


def after(rounds: int, own: Traces) -> Points:
    """What is learnt of all features, with the distance of the last value."""
    last = WATCHES[-1].features
    clean = own.columns(last).values[own.origin.kind == NOTHING]
    return boosted(own, distance_of("c", last, clean), rounds=rounds)


@pytest.mark.parametrize(("rows", "rounds"), [(300, 200), (1000, 400), (150, 800)])
def test_rounds_are_doubled_while_other_inputs_gain(rows: int, rounds: int) -> None:
    own, other = traces(rows), traces(800, seed=1)

    points = points_of(own, other, WATCHES, own.features, None)

    kinds, areas = (MEMORY, "blur", "noise"), []
    for count in (200, 400, 800):
        total = after(count, own).total(other.values)
        rest = [np.isin(other.origin.kind, (kind, NOTHING)) for kind in kinds]
        each = [area(total[here], other.origin.failed[here]) for here in rest]
        areas.append(np.mean(each))
    assert (areas[1] - areas[0] > 0.001) == (rounds > 200)
    assert rounds == 200 or (areas[2] - areas[1] > 0.001) == (rounds > 400)
    assert same(points, after(rounds, Traces.joined([own, other])))


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_limits_keep_to_rates_of_false_alarms_on_average(rate: float) -> None:
    points, chance, false = some_points(), np.random.default_rng(3), []
    for _ in range(200):
        clean = chance.normal(size=(160, 6)).astype(np.float32)
        found = points.calibrated(clean[:120], (rate, 0.001))
        assert 0.001 not in found.limits
        score = found.scores(clean[120:])
        false.append((score > found.limit(rate)).mean())

    assert np.mean(false) < rate + 3 * np.std(false) / np.sqrt(len(false))
