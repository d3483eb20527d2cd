"""The published protocol: its figures, and that it leaks as it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from benchmarks import published

from stoic.monitors.rules import Fork, Leaf, Rules
from stoic.monitors.traces import MEMORY, NOTHING, Origin, Traces

CLASSES = ("regular", MEMORY, "blur", "noise")


def leaf(number: int) -> Leaf:
    return Leaf(tuple(float(number == each) for each in range(len(CLASSES))), 1)


# A tree that says of a row what its one feature counts.
ABOVE = Fork(0, -np.inf, 2.5, Fork(0, -np.inf, 1.5, leaf(1), leaf(2)), leaf(3))
RULES = Rules(CLASSES, ("q0 of conv:out",), Fork(0, -np.inf, 0.5, leaf(0), ABOVE))


def traces_of(
    wanted: Sequence[int], got: Sequence[float], kinds: Sequence[int] | None = None
) -> Traces:
    """Rows of which a label is wanted, and of which the tree gets another."""
    kind = [CLASSES[k or 1] for k in kinds or wanted]
    none = np.zeros(len(wanted), np.bool_)
    failed = np.array(wanted) > 0
    image = np.arange(len(wanted)) % 5
    origin = Origin.of(image, failed, none, kind=kind)  # type: ignore[arg-type]
    values = np.array(got, np.float32)[:, None]
    return Traces(RULES.features, values, np.zeros((len(got), 3), np.float32), origin)


def restated(wanted: Sequence[int], got: Sequence[int]) -> tuple[float, float]:
    """Precision and recall, each the mean over all classes but the first."""
    pairs = list(zip(wanted, got, strict=True))
    classes = sorted(set(wanted) - {0})
    precision = [
        sum(w == g == c for w, g in pairs) / max(sum(g == c for _, g in pairs), 1)
        for c in classes
    ]
    recall = [
        sum(w == g == c for w, g in pairs) / sum(w == c for w, _ in pairs)
        for c in classes
    ]
    return sum(precision) / len(classes), sum(recall) / len(classes)


def test_figures_are_means_over_the_fault_classes_of_each_level() -> None:
    chance = np.random.default_rng(0)
    wanted = chance.integers(4, size=60).tolist()
    got = np.where(
        chance.random(60) < 0.6, wanted, chance.integers(4, size=60)
    ).tolist()

    found = published.figures(RULES, traces_of(wanted, got))

    for level, most in (("cls", 3), ("cats", 2), ("sdc", 1)):
        merged = [[min(label, most) for label in labels] for labels in (wanted, got)]
        assert found.levels[level] == pytest.approx(restated(*merged))
    for number, name in enumerate(CLASSES[1:], start=1):
        alone = [[int(label == number) for label in labels] for labels in (wanted, got)]
        assert found.classes[name] == pytest.approx(restated(*alone))
    said = [g for w, g in zip(wanted, got, strict=True) if w == 0]
    assert found.false_positives == sum(g > 0 for g in said) / len(said)
    assert (found.layers, found.nodes, found.depth) == (1, 7, 3)


def test_what_is_not_finite_is_said_to_be_memory() -> None:
    traces = traces_of([0, 1, 2, 3], [np.nan, np.inf, -np.inf, 3.0])

    assert published.said(RULES, traces).tolist() == [1, 1, 1, 3]


def test_a_row_split_has_every_row_once_and_every_image_on_both_sides() -> None:
    traces = traces_of([1] * 100, np.arange(100.0).tolist())

    learning, trying = published.split_rows(traces, 0)

    assert len(learning) == 67
    values = np.concatenate([learning.values, trying.values]).ravel()
    assert sorted(values.tolist()) == list(range(100))
    for part in (learning, trying):
        assert set(part.origin.image.tolist()) == set(range(5))


def test_every_run_of_the_protocol_has_all_images_again() -> None:
    options = published.options_of(
        ["--images", "6", "--strengths", "12", "--runs", "2"]
    )
    options.bounds = 30

    found = published.traces_of("digits", options)

    clean = found.origin.kind == NOTHING
    others, traces = found.rows(clean), found.rows(~clean)
    origin, runs = traces.origin, options.runs
    assert len(others) == 30
    for kind in ("blur", "contrast", "noise"):
        here = origin.kind == kind
        counts = np.bincount(origin.image[here])
        assert counts.tolist() == [runs * len(set(origin.strength[here]))] * 6
        rows = np.unique(traces.values[here], axis=0)
        assert len(rows) == here.sum() // (1 if kind == "noise" else runs)
    # Weights and computed values, any bit and the three highest of the exponent.
    memory = origin.kind == MEMORY
    assert np.bincount(origin.image[memory]).tolist() == [2 * (runs + 5 * runs)] * 6
    assert (origin.bit[memory] >= 28).sum() >= 2 * 5 * runs * 6
    assert set(origin.site[memory]) == {
        *("conv1.weight", "conv2.weight", "conv1:out", "conv2:out")
    }
    layers = {name.partition(" of ")[2] for name in traces.features}
    assert layers == {"conv1:out", "conv2:out", "hidden:out", "head:out"}
