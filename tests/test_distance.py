"""Distances: by hand, feature by feature, also where nothing ever changed."""

import json
import math

import numpy as np
import pytest

from stoic.monitors.bounds import Floats
from stoic.monitors.distance import Distance, distance_of

NAMES = ("a of x", "b of x", "c of x", "d of x")


def clean() -> Floats:
    found = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found[:, 3] = 7
    return found


def some_distance() -> Distance:
    return distance_of("x", NAMES, clean(), NAMES[:3])


def some_rows() -> Floats:
    chance = np.random.default_rng(1)
    found = chance.normal(size=(400, 4)) * 10.0 ** chance.uniform(-3, 38, (400, 1))
    return np.concatenate([clean(), np.clip(found, -3e38, 3e38).astype(np.float32)])


def halves_away(row: Floats) -> list[float]:
    """How many halves of its span each feature is from the middle."""
    low, high = clean().astype(float).min(0), clean().astype(float).max(0)
    half = [*((high - low) / 2)[:3], 7e-3]
    return [
        abs(float(own) - (a + b) / 2) / part
        for own, a, b, part in zip(row, low, high, half, strict=True)
    ]


def test_a_distance_is_a_sum_of_squares_that_no_feature_exceeds_alone() -> None:
    rows, away = some_rows(), [halves_away(row) for row in some_rows()]

    told = some_distance().told(rows)

    by_hand = [
        sum(math.floor(min(64 * part, 128) ** 2) for part in row) for row in away
    ]
    # A square that is all but whole is rounded to one side or the other.
    assert np.mean(told[:, 0] != by_hand) < 0.01
    assert np.abs(told[:, 0] - by_hand).max() <= 1
    assert told[:50, 0].max() <= 3 * 64**2 and told[:, 0].max() == 4 * 128**2


def test_a_lead_is_the_largest_rival_less_the_second() -> None:
    rows, distance = some_rows(), some_distance()

    (_, lead), told = distance.names, distance.told(rows)[:, 1]

    assert lead == "lead of x"
    for row, own in zip(rows[:, :3].tolist(), told, strict=True):
        *_, second, first = sorted(row)
        assert own == np.float32(first) - np.float32(second)


def test_doublings_are_counted_until_the_furthest_feature_is_reached() -> None:
    rows, away = some_rows(), [halves_away(row) for row in some_rows()]

    doublings = some_distance().doublings(rows)

    by_hand = [min(max(math.ceil(math.log2(max(r))) - 1, 0), 121) for r in away]
    assert doublings.tolist() == by_hand
    assert set(doublings[:50].tolist()) == {0}
    assert 100 < len(set(doublings.tolist()))


@pytest.mark.parametrize("rivals", [NAMES[:3], NAMES[:1], ()])
def test_a_distance_can_be_recorded(rivals: tuple[str, ...]) -> None:
    distance = distance_of("x", NAMES, clean(), rivals)

    again = Distance.of_record(json.loads(json.dumps(distance.as_record())))

    assert again is not None
    assert again.names == distance.names
    assert len(again.names) == 1 + (len(rivals) > 1)
    assert np.array_equal(again.told(some_rows()), distance.told(some_rows()))
    assert np.array_equal(again.doublings(some_rows()), distance.doublings(some_rows()))
    assert Distance.of_record(None) is None
