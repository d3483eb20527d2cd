"""Bounds, rules and the alarm: in the markers' units what they are normalised."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from monitor_support import random_points
from stoic.monitors.alarm import Alarm, calibrated
from stoic.monitors.bounds import Bounds, Floats, bounds_of
from stoic.monitors.markers import ChannelQuantiles
from stoic.monitors.monitor import Monitor
from stoic.monitors.policies import rule_text
from stoic.monitors.rules import Fork, Leaf, Node, Rules, fitted
from stoic.monitors.watches import Watch
from stoic.records.numerals import numeral

CHANCE = np.random.default_rng(0)


def features(rows: int = 400) -> Floats:
    return CHANCE.normal([0, 5, -100], [1, 0.1, 30], (rows, 3)).astype(np.float32)


def normalised(value: float, low: float, high: float) -> float:
    """The paper's normalisation, number by number."""
    if value < low:
        away = (low - value) / (abs(low) + 1e-8)
    else:
        away = (value - high) / (abs(high) + 1e-8)
    return (math.tanh(away) + 1) / 2


def test_features_are_normalised_as_published() -> None:
    values = features()
    bounds = bounds_of([values[:200], values[200:300]])

    found = bounds.normalised(values)

    for row, wanted in zip(values, found, strict=True):
        for column in range(3):
            low, high = bounds.low[column], bounds.high[column]
            told = normalised(float(row[column]), float(low), float(high))
            assert told == pytest.approx(wanted[column], abs=1e-5)
    assert (bounds.normalised(bounds.high[None]) == 0.5).all()
    assert bounds.rows == 300


@pytest.mark.parametrize("threshold", [1e-9, 0.1, 0.4999, 0.5, 0.5001, 0.8, 0.999])
def test_a_span_holds_what_is_normalised_to_a_threshold_at_most(
    threshold: float,
) -> None:
    values = features(4000)
    bounds = bounds_of([features(50)])

    told = bounds.normalised(values)

    for column in range(3):
        low, high = bounds.span(column, threshold)
        inside = (values[:, column] >= low) & (values[:, column] <= high)
        wanted = told[:, column] <= threshold
        # Rounding may decide next to the threshold.
        near = np.abs(told[:, column] - threshold) < 1e-6
        assert (inside == wanted)[~near].all()


def test_bounds_refuse_what_is_not_finite() -> None:
    broken = features(5)
    broken[3, 1] = np.nan

    with pytest.raises(ValueError, match="must be finite, got nan for feature 1 of"):
        bounds_of([features(2), broken])
    with pytest.raises(ValueError, match="at least one fault-free input"):
        bounds_of([])


def lesson(rows: int = 1500) -> tuple[Floats, np.ndarray, Bounds]:
    values = features(rows)
    labels = CHANCE.integers(0, 3, rows)
    values[labels == 1, 0] += 30
    values[labels == 2, 2] -= CHANCE.uniform(50, 400, (labels == 2).sum())
    return values, labels, bounds_of([values[labels == 0]])


def learnt() -> tuple[Rules, Floats, np.ndarray]:
    values, labels, bounds = lesson()
    names = ("a", "b", "c")
    told = bounds.normalised(values)
    rules = fitted(told, labels, ("regular", "memory", "noise"), names, bounds)
    return rules, values, labels


def walked(node: Node, row: Floats) -> Leaf:
    """The tree, fork by fork."""
    while isinstance(node, Fork):
        inside = node.low <= row[node.feature] <= node.high
        node = node.inside if inside else node.outside
    return node


def test_rules_say_what_scikit_learn_does() -> None:
    from sklearn.tree import DecisionTreeClassifier

    values, labels, bounds = lesson()
    told = bounds.normalised(values)
    names = ("a", "b", "c")
    classes = ("regular", "memory", "noise")
    rules = fitted(told, labels, classes, names, bounds, alpha=2e-3)
    counts = np.bincount(labels)
    weights = dict(enumerate((counts.min() / counts).tolist()))
    tree = DecisionTreeClassifier(
        ccp_alpha=2e-3, class_weight=weights, random_state=0
    ).fit(told, labels)

    found = rules.labels[rules.leaf_of(values)]

    assert (found == tree.predict(told)).mean() > 0.999
    assert len(rules.leaves) == tree.get_n_leaves()


def test_every_row_ends_in_the_leaf_that_it_walks_to() -> None:
    rules, values, _ = learnt()
    values[:5, 0] = np.nan
    values[5:9, 2] = -np.inf

    found = rules.leaf_of(values)

    for row, leaf in zip(values, found, strict=True):
        assert walked(rules.root, row) is rules.leaves[leaf]


def test_paths_lead_to_leaves() -> None:
    rules, values, _ = learnt()
    outside = np.array(
        [
            ~((values[:, f.feature] >= f.low) & (values[:, f.feature] <= f.high))
            for f in rules.forks
        ]
    ).T

    met = [
        [
            all(
                (way != 1 or row[fork]) and (way != -1 or not row[fork])
                for fork, way in enumerate(path)
            )
            for path in rules.paths.T
        ]
        for row in outside
    ]

    assert (np.sum(met, 1) == 1).all()
    assert (np.argmax(met, 1) == rules.leaf_of(values)).all()


def test_a_person_can_read_the_rules() -> None:
    leaves = Leaf((1.0, 0.0), 90), Leaf((0.25, 0.75), 10)
    fork = Fork(0, -math.inf, 2.5, *leaves)
    rules = Rules(("regular", "memory"), ("q90 of conv:out",), fork)

    assert list(rules.lines()) == [
        "if q90 of conv:out is at most 2.5:",
        "  regular (100 % of 90 rows)",
        "else:",
        "  memory (75 % of 10 rows)",
    ]


def told_of(text: str, row: Floats) -> bool:
    """Whether a row, with features a, b and c, is as a line says."""
    at = 0
    for part in text.split(" and "):
        name, _, span = part.rpartition(" is ")
        at = "abc".index(name) if name else at
        ends = [np.float32(word) for word in span.split() if word[-1].isdigit()]
        low = -np.inf if "at most" in span else ends[0]
        high = np.inf if "at least" in span else ends[-1]
        if (low <= row[at] <= high) == span.startswith("not "):
            return False
    return True


def test_why_a_row_ended_in_a_leaf_is_said_in_one_span_of_each_feature() -> None:
    rules, values, _ = learnt()
    values[:2, 0] = np.nan

    lines = [rule_text(rules, leaf) for leaf in range(len(rules.leaves))]

    for line in lines:
        for name in "abc":
            assert line.count(f"{name} is ") <= 1
    for row, leaf in zip(values[:30], rules.leaf_of(values[:30]), strict=True):
        assert [told_of(line, row) for line in lines].index(True) == leaf
        assert sum(told_of(line, row) for line in lines) == 1


def test_what_is_read_is_the_number_that_is_compared() -> None:
    words = CHANCE.integers(0, 1 << 32, 3000, dtype=np.uint32)
    numbers = words.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]

    told = [numeral(number) for number in numbers.tolist()]

    for text, number in zip(told, numbers, strict=True):
        assert np.float32(text) == number
        # No shorter number is the same one.
        mantissa = text.partition("e")[0].strip("-").replace(".", "").strip("0")
        fewer = f"{number:.{max(len(mantissa) - 2, 0)}e}"
        assert len(mantissa) <= 1 or np.float32(fewer) != number
    assert numeral(0.1) == "0.1" and numeral(15.5) == "15.5"
    assert numeral(1e30) == "1e+30" and numeral(-3.0) == "-3"


def test_rules_can_be_recorded() -> None:
    rules, values, _ = learnt()

    again = Rules.of_record(json.loads(json.dumps(rules.as_record())))

    wanted = rules.leaf_of(values)
    assert (again.leaf_of(values) == wanted).all()


def test_a_class_without_rows_is_refused() -> None:
    values, labels, bounds = lesson()
    told = bounds.normalised(values)

    with pytest.raises(ValueError, match="class blur must have rows to learn from"):
        fitted(told, labels, ("regular", "memory", "noise", "blur"), "abc", bounds)


@pytest.mark.parametrize("rate", [0.1, 0.02])
def test_a_calibrated_alarm_is_seldom_false(rate: float) -> None:
    false = [
        calibrated(features(99), bounds_of([features(60)]), rate)
        .raised(features(200))
        .mean()
        for _ in range(300)
    ]

    error = np.std(false) / math.sqrt(len(false))
    # Not much rarer either: the guarantee is not had by never alarming.
    assert rate - 1.5 / 100 - 3 * error <= np.mean(false) <= rate + 3 * error


def test_an_alarm_needs_enough_inputs() -> None:
    with pytest.raises(ValueError, match="needs at least 999 fault-free inputs"):
        calibrated(features(998), bounds_of([features(50)]), 0.001)
    calibrated(features(999), bounds_of([features(50)]), 0.001)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate of false alarms must be between 0 and"):
        calibrated(features(200), bounds_of([features(50)]), rate)


def test_an_alarm_ends_somewhere_even_where_bounds_are_close_to_zero() -> None:
    bounds = bounds_of([np.array([[-1.0], [1e-3]], np.float32)])
    clean = np.linspace(-0.9, 0.02, 99, dtype=np.float32)[:, None]
    alarm = calibrated(clean, bounds, 0.01)

    # Forty times the bound away, where the hyperbolic tangent is 1 in all digits.
    assert not alarm.raised(clean).any()
    assert alarm.raised(np.array([[0.021]], np.float32)).all()
    assert np.isfinite([alarm.low, alarm.high]).all()


def test_an_alarm_refuses_inputs_that_are_not_finite() -> None:
    clean = features(200)
    clean[7, 1] = np.inf

    with pytest.raises(ValueError, match="must be finite, got inf for feature 1 of"):
        calibrated(clean, bounds_of([features(50)]), 0.05)


def test_what_is_no_number_raises_the_alarm() -> None:
    alarm = calibrated(features(200), bounds_of([features(50)]), 0.05)
    values = features(50)[:1]
    values[0, 1] = np.nan

    assert alarm.raised(values).all()


def monitor() -> Monitor:
    values, labels, bounds = lesson()
    watch = Watch("conv:out", 1, ChannelQuantiles((0.0, 0.5, 1.0)))
    rules = fitted(
        bounds.normalised(values),
        labels,
        ("regular", "memory", "noise"),
        watch.features,
        bounds,
        alpha=1e-3,
    )
    alarm = calibrated(values[labels == 0], bounds, 0.05)
    points = random_points(values, watch.features, np.random.default_rng(0))
    return Monitor("f" * 64, (watch,), rules, alarm, points, {"inputs": 7})


def test_a_monitor_is_one_small_file(tmp_path: Path) -> None:
    values, path = features(300), tmp_path / "m.json"
    values[0, 2] = np.inf
    first = monitor()

    first.save(path)
    again = Monitor.load(path, "f" * 64)

    one, two = first.verdicts(values), again.verdicts(values)
    for name in ("label", "score", "rule", "unlike"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert again.classes[one.label[0]] == "non-finite"
    assert (one.rule[0], one.score[0], one.unlike[0]) == (-1, 1.0, True)
    assert again.about == {"inputs": 7}


def test_a_monitor_of_another_network_is_refused(tmp_path: Path) -> None:
    monitor().save(tmp_path / "m.json")

    with pytest.raises(ValueError, match="must be a monitor of this network"):
        Monitor.load(tmp_path / "m.json", "0" * 64)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stoic monitor"', "\0"])
def test_what_is_no_monitor_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)

    with pytest.raises(ValueError, match="must be a monitor that Stoic has saved"):
        Monitor.load(tmp_path / "m.json")


def test_a_monitor_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "m.json", "No such file"), (tmp_path, "Is a dir")):
        with pytest.raises(ValueError, match=f"can be read, got {path}: {why}"):
            Monitor.load(path)


def test_a_monitor_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    monitor().save(path)
    path.write_text(
        path.read_text().replace('"stoic monitor": 4', '"stoic monitor": 9')
    )

    with pytest.raises(ValueError, match="must be 4, got 9; fit it again"):
        Monitor.load(path)


def test_rules_about_other_features_are_refused() -> None:
    first = monitor()
    watch = Watch("conv:out", 1, ChannelQuantiles((0.0, 0.5)))

    with pytest.raises(ValueError, match="rules must be about the features"):
        Monitor("f", (watch,), first.rules, first.alarm, first.points)


def test_an_alarm_can_be_recorded() -> None:
    alarm = calibrated(features(200), bounds_of([features(50)]), 0.05)

    names = ("a", "b", "c")
    again = Alarm.of_record(json.loads(json.dumps(alarm.as_record(names))), names)

    assert np.array_equal(again.low, alarm.low) and again.rate == alarm.rate
