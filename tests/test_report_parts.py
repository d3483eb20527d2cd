"""Parts of a report: digits, scales, joined layers, and words."""

from typing import Any

import pytest

from made_runs import a_manifest, a_site
from stoic.estimates import Estimate, Row
from stoic.report.layers import layers_of
from stoic.report.plots import LEVELS, level, plot
from stoic.report.text import aligned, limits, percent, shortened
from stoic.report.words import criterion_words, fault_words, plan_words

ONCE = {"replacement": False}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b", "a.x", "a.y"], ["b", "a.x", "a.y"]),
        ([f"a{i}.{j}" for i in range(20) for j in "xyz"], [f"a{i}" for i in range(20)]),
        (
            [f"f.{i}" for i in range(60)],
            [f"f.{i} – f.{i + 2}" for i in range(0, 60, 3)],
        ),
        (
            [f"{i}" for i in range(21)],
            [*[f"{i} – {i + 1}" for i in range(0, 20, 2)], "20"],
        ),
        ([""], ["(top level)"]),
    ],
)
def test_layers_are_joined_only_where_they_are_too_many(
    names: list[str], expected: list[str]
) -> None:
    sites = [a_site(f"{name}.w", 1, order=i) for i, name in enumerate(names)]
    sites = [
        s.model_copy(update={"component": n}) for s, n in zip(sites, names, strict=True)
    ]

    layers = layers_of(sites[::-1], most=20)

    assert layers.ordered(sites) == expected
    assert bool(layers.note) == (len(names) > 20)


def an_estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 10, 0.95, "guaranteed", "these inputs")


@pytest.mark.parametrize(
    ("numbers", "value", "interval"),
    [
        ((0.0137, 0.0093, 0.0219), "1.37", "0.93 to 2.19"),
        ((0.5, 0.2, 0.9), "50.0", "20.0 to 90.0"),
        ((0.0, 0.0, 0.0312), "0", "upper limit 3.1"),
        ((0.0, 0.0, 0.00123), "0", "upper limit 0.123"),
        ((1.0, 0.7, 1.0), "100", "lower limit 70.0"),
        ((0.0004, 0.0, 0.24), "0.04", "0.0 to 24.0"),
        ((0.9999, 0.6, 1.0), "< 100.0", "60.0 to 100.0"),
        ((0.12345678, 0.12345678, 0.12345678), "12.35", "all tried"),
        ((0.0, 0.0, 0.0), "0", "all tried"),
    ],
)
def test_numbers_have_the_digits_that_intervals_justify(
    numbers: tuple[float, float, float], value: str, interval: str
) -> None:
    assert percent(an_estimate(*numbers)) == value
    assert limits(an_estimate(*numbers)) == interval


def test_points_stand_below_each_other() -> None:
    texts = aligned(["1.25", "0", "33.1"])

    assert [len(text) - 3 for text in texts] == [1, 1, 2]
    assert [text.strip() for text in texts] == ["1.25", "0", "33.1"]
    assert aligned(["1", "2"]) == ["1", "2"]
    assert aligned([]) == []


def test_long_names_lose_their_middle() -> None:
    assert shortened("a" * 80) == "a" * 80
    assert shortened("a" * 99 + "b" * 99) == "a" * 40 + " … " + "b" * 40


@pytest.mark.parametrize("high", [1.0, 0.5000001, 0.5, 0.03, 1e-7, 0.0])
def test_a_scale_holds_every_interval(high: float) -> None:
    row = Row(("a",), an_estimate(0.0, 0.0, high), 10, 10)

    scale = plot([("a", "", "", row)]).scale

    places = [tick.at for tick in scale.ticks]
    assert high <= scale.top <= 1
    assert scale.top <= max(2.5 * high, 1e-9) or high == 0
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0, 100)


def test_shades_tell_none_from_few() -> None:
    shades = [level(share) for share in (0, 1e-9, 0.25, 0.9999, 1)]

    assert shades == [0, 1, LEVELS // 2 + 1, LEVELS, LEVELS]


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"name": "top-k", "k": 5}, "no longer among the 5 best"),
        (
            {"name": "tolerance", "absolute": 0.1, "relative": 0.0},
            "more than 0.1 + 0 ×",
        ),
        ({"name": "threshold"}, "threshold"),
        ({"name": "mine"}, "the user's own criterion mine"),
        ({}, "{}"),
    ],
)
def test_criteria_are_put_into_words(criterion: dict[str, Any], words: str) -> None:
    assert words in criterion_words(criterion)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "stuck-at", "level": 1, "bits": "exponent"}, "held at 1 (bits: exp"),
        ({"name": "flip", "several": {"rate": 1e-6}}, "with probability 1e-06"),
        ({"name": "new"}, "new"),
    ],
)
def test_fault_models_are_put_into_words(model: dict[str, Any], words: str) -> None:
    space = a_manifest().space.model_copy(update={"fault_model": model})
    assert words in fault_words(a_manifest().model_copy(update={"space": space}))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"name": "exhaustive"}, "every one of the 224 faults"),
        ({"name": "uniform", "trials": 9, **ONCE}, "9 faults drawn uniformly from 224"),
        ({"name": "stratified", "trials": {"a": 5, "b": 5}}, "5 from each of 2"),
    ],
)
def test_plans_are_put_into_words(plan: dict[str, Any], words: str) -> None:
    assert words in plan_words(a_manifest(plan=plan))
