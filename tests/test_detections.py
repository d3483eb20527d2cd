"""Detections: overlaps and matching against slow restatements, and the criterion."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stoic.criteria import named_criterion
from stoic.detections import DetectionsChanged, found, overlaps

NAN, INF = math.nan, math.inf

Row = Sequence[float]
NOTHING = (0.0, 0.0, 0.0, 0.0, -1.0)


def overlap(one: Row, other: Row) -> Fraction:
    """Intersection over union in exact numbers."""
    left, top, right, bottom = (
        pick(Fraction(a), Fraction(b))
        for pick, a, b in zip((max, max, min, min), one, other, strict=False)
    )
    common = max(right - left, Fraction(0)) * max(bottom - top, Fraction(0))
    union = area(one) + area(other) - common
    return common / union if union else Fraction(0)


def area(box: Row) -> Fraction:
    left, top, right, bottom = map(Fraction, box[:4])
    return (right - left) * (bottom - top)


def most_found(ones: Sequence[Row], truth: Sequence[Row]) -> int:
    """Try every way to give each detection a truth of its own, or none."""

    fits = [
        [one[4] == true[4] >= 0 and overlap(one, true) >= 0.5 for true in truth]
        for one in ones
    ]
    choices = [*range(len(truth)), *(-1 for _ in ones)]
    return max(
        sum(
            int(number >= 0 and row[number])
            for row, number in zip(fits, chosen, strict=True)
        )
        for chosen in itertools.permutations(choices, len(ones))
    )


# Few places and classes, so that boxes overlap, touch and compete.
side = st.tuples(st.integers(0, 2), st.integers(1, 2))


@st.composite
def boxes(draw: st.DrawFn) -> Row:
    (left, width), (top, height) = draw(side), draw(side)
    kind = draw(st.integers(-1, 1))
    return tuple(map(float, (left, top, left + width, top + height, kind)))


three = st.lists(boxes(), min_size=3, max_size=3)
TWO_FOR_TWO: tuple[list[Row], list[Row]] = (
    [(0.0, 0.0, 2.0, 2.0, 0.0), (0.0, 0.0, 1.0, 2.0, 0.0), NOTHING],
    [(0.0, 0.0, 2.0, 2.0, 0.0), (0.0, 0.0, 2.0, 1.0, 0.0), NOTHING],
)


@settings(max_examples=80)
@given(pairs=st.lists(st.tuples(three, three), min_size=1, max_size=3))
def test_as_much_is_found_as_any_matching_finds(
    pairs: list[tuple[list[Row], list[Row]]],
) -> None:
    pairs = [*pairs, TWO_FOR_TWO]
    ones, truth = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))

    expected = [most_found(*pair) for pair in pairs]

    assert found(ones, truth).tolist() == expected
    assert expected[-1] == 2


@given(ones=three, others=three)
def test_an_overlap_is_the_intersection_over_the_union(
    ones: list[Row], others: list[Row]
) -> None:
    first, second = (torch.tensor(rows)[:, :4].double() for rows in (ones, others))

    shares = overlaps(first, second)

    expected = [[float(overlap(one, other)) for other in others] for one in ones]
    assert torch.allclose(shares, torch.tensor(expected).double())


def test_boxes_without_area_overlap_nothing() -> None:
    point = torch.tensor([[1.0, 1.0, 1.0, 1.0]])

    assert overlaps(point, point).tolist() == [[0.0]]


# --- The criterion --------------------------------------------------------------------

SIGN = (10.0, 10.0, 30.0, 30.0, 2.0)
OTHER = (50.0, 50.0, 90.0, 90.0, 1.0)
CRITERION = DetectionsChanged()


def rows(*detections: Row) -> Tensor:
    """One input with three rows."""
    width = len(detections[0]) if detections else 6
    nothing = [*NOTHING, 0.0][:width]
    filled = [*map(list, detections), *([nothing] * (3 - len(detections)))]
    return torch.tensor([filled])


GOLDEN = rows((*SIGN, 0.9), (*OTHER, 0.9))


@pytest.mark.parametrize(
    ("faulty", "failed"),
    [
        ([(*SIGN, 0.9), (*OTHER, 0.9)], False),
        ([(*OTHER, 0.3), (*SIGN, 0.25)], False),
        ([(*SIGN, 0.9), (*OTHER, 0.9), (*OTHER, 0.2)], False),
        ([(12.0, 10.0, 32.0, 30.0, 2.0, 0.9), (*OTHER, 0.9)], False),
        ([(*SIGN, 0.9)], True),
        ([(*SIGN, 0.9), (*OTHER, 0.24)], True),
        ([(*SIGN, 0.9), (*OTHER[:4], 2.0, 0.9)], True),
        ([(*SIGN, 0.9), (*OTHER, 0.9), (*OTHER, 0.3)], True),
        ([(20.0, 10.0, 40.0, 30.0, 2.0, 0.9), (*OTHER, 0.9)], True),
        ([(*SIGN, 0.9), (*OTHER, 0.9), (*SIGN, NAN)], True),
        ([(*SIGN, 0.9), (*OTHER, 0.9), (0.0, 0.0, INF, 1.0, 3.0, 0.1)], True),
        ([(*SIGN, INF), (*OTHER, 0.9)], True),
    ],
)
@pytest.mark.parametrize("labels", [None, rows(SIGN, OTHER)], ids=["golden", "labels"])
def test_a_fault_counts_where_it_changes_what_is_found(
    faulty: list[Row], failed: bool, labels: Tensor | None
) -> None:
    assert CRITERION.failed(GOLDEN, rows(*faulty), labels).tolist() == [failed]


def test_what_was_missed_before_may_be_missed_again() -> None:
    labels = rows(SIGN, OTHER)
    one, wrong = rows((*SIGN, 0.9)), rows((*SIGN[:4], 1.0, 0.9))

    assert CRITERION.failed(one, one, labels).tolist() == [False]
    assert CRITERION.failed(one, rows((*OTHER, 0.9)), labels).tolist() == [False]
    assert CRITERION.failed(one, wrong, labels).tolist() == [True]


@settings(max_examples=60)
@given(
    pairs=st.lists(st.tuples(three, three, three), min_size=1, max_size=3),
    scores=st.lists(st.sampled_from([0.1, 0.25, 0.9]), min_size=6, max_size=6),
    labelled=st.booleans(),
)
def test_the_criterion_is_its_definition(
    pairs: list[tuple[list[Row], list[Row], list[Row]]],
    scores: list[float],
    labelled: bool,
) -> None:
    def scored(boxes: list[Row], own: list[float]) -> list[Row]:
        return [(*box, score) for box, score in zip(boxes, own, strict=True)]

    def counts(detections: list[Row], truth: list[Row]) -> tuple[int, int, int]:
        sure = [d for d in detections if d[4] >= 0 and d[5] >= 0.25]
        right = most_found(sure, truth)
        return right, len(sure) - right, len(truth) - right

    before = [scored(golden, scores[:3]) for golden, _, _ in pairs]
    after = [scored(faulty, scores[3:]) for _, faulty, _ in pairs]
    labels = torch.tensor([truth for _, _, truth in pairs]) if labelled else None

    failed = CRITERION.failed(torch.tensor(before), torch.tensor(after), labels)

    for golden, faulty, (_, _, given_), verdict in zip(
        before, after, pairs, failed.tolist(), strict=True
    ):
        truth = [row for row in given_ if row[4] >= 0]
        if not labelled:
            truth = [row for row in golden if row[4] >= 0 and row[5] >= 0.25]
        assert verdict == (counts(golden, truth) != counts(faulty, truth))


def test_the_limits_have_a_name_on_the_command_line() -> None:
    assert named_criterion("detections-changed") == CRITERION
    assert named_criterion("detections-changed:0.75,0.5") == DetectionsChanged(
        0.75, 0.5
    )
    with pytest.raises(ValueError, match="OVERLAP.*above 0, at most 1.*got 'det"):
        named_criterion("detections-changed:2")
    with pytest.raises(ValueError, match="confidence must be above 0 .* got 1.5"):
        DetectionsChanged(0.5, 1.5)


@pytest.mark.parametrize(
    "output", [{"boxes": 1}, torch.ones(2, 6), torch.ones(2, 3, 5)]
)
def test_what_is_no_detection_is_refused(output: object) -> None:
    with pytest.raises(ValueError, match="output must be rows of box, class and score"):
        CRITERION.failed(output, output, None)


def test_classes_are_no_labels_of_detections() -> None:
    with pytest.raises(ValueError, match="labels must be rows of box and class"):
        CRITERION.failed(GOLDEN, GOLDEN, torch.zeros(1, dtype=torch.long))
