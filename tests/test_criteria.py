"""Criteria against slow restatements, their clearance as a law, their contract."""

import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from stoic import criteria
from stoic.criteria import (
    AnyChange,
    Criterion,
    Custom,
    DetectionsChanged,
    Threshold,
    Tolerance,
    Top1Changed,
    Top1Wrong,
    TopKLost,
    named_criterion,
)

NAN, INF = math.nan, math.inf

Row = Sequence[float]


def disagree(golden: Tensor, faulty: Tensor, labels: Tensor | None) -> Tensor:
    return golden.argmax(-1) != faulty.argmax(-1)


EVERY: list[Criterion] = [
    Top1Changed(),
    Top1Wrong(),
    TopKLost(1),
    TopKLost(2),
    TopKLost(3),
    Threshold(0.0),
    Threshold(0.25),
    Tolerance(0.25),
    Tolerance(0.0, 0.5),
    AnyChange(),
    Custom(disagree, name="disagree"),
    DetectionsChanged(),
    DetectionsChanged(0.75, 0.5),
]
# Those of scores; `test_detections` has more of the other one.
NAMED = [c for c in EVERY if not isinstance(c, Custom | DetectionsChanged)]

# --- The definitions, one row at a time, in plain Python -----------------------------


def best(row: Row) -> int:
    return max(range(len(row)), key=lambda i: (row[i], -i))


def broken(row: Row) -> bool:
    return not all(math.isfinite(score) for score in row)


def top1_changed(golden: Row, faulty: Row, label: int) -> bool:
    return broken(faulty) or best(golden) != best(faulty)


def top1_wrong(golden: Row, faulty: Row, label: int) -> bool:
    return best(golden) == label and (broken(faulty) or best(faulty) != label)


def lost(k: int) -> Callable[[Row, Row, int], bool]:
    def verdict(golden: Row, faulty: Row, label: int) -> bool:
        ranking = sorted(range(len(faulty)), key=lambda i: (-faulty[i], i))
        return broken(faulty) or best(golden) not in ranking[:k]

    return verdict


def crossed(level: float) -> Callable[[Row, Row, int], bool]:
    def verdict(golden: Row, faulty: Row, label: int) -> bool:
        sides = zip(golden, faulty, strict=True)
        return broken(faulty) or any((a > level) != (b > level) for a, b in sides)

    return verdict


def off(absolute: Fraction, relative: Fraction) -> Callable[[Row, Row, int], bool]:
    def verdict(golden: Row, faulty: Row, label: int) -> bool:
        if broken(faulty):
            return True
        pairs = [
            (Fraction(a), Fraction(b)) for a, b in zip(golden, faulty, strict=True)
        ]
        return any(abs(b - a) > absolute + relative * abs(a) for a, b in pairs)

    return verdict


def other_words(golden: Row, faulty: Row, label: int) -> bool:
    return any(
        struct.pack("<f", a) != struct.pack("<f", b)
        for a, b in zip(golden, faulty, strict=True)
    )


RESTATED = [
    (Top1Changed(), top1_changed),
    (Top1Wrong(), top1_wrong),
    (TopKLost(1), lost(1)),
    (TopKLost(2), lost(2)),
    (TopKLost(3), lost(3)),
    (Threshold(0.0), crossed(0.0)),
    (Threshold(0.25), crossed(0.25)),
    (Threshold(0.1), crossed(0.1)),
    (Tolerance(0.25), off(Fraction(1, 4), Fraction(0))),
    (Tolerance(0.125, 0.5), off(Fraction(1, 8), Fraction(1, 2))),
    (AnyChange(), other_words),
]

# Few numbers, so that ties and edges are common; the floats find the rest.
EDGES = [0.0, -0.0, 0.125, 0.25, 0.375, 1.0, -1.0, 1.5]
finite = st.sampled_from(EDGES) | st.floats(-4, 4, width=16)
anything = finite | st.sampled_from([NAN, INF, -INF, 3e38])
CLASSES = 4


@st.composite
def runs(draw: st.DrawFn) -> tuple[Row, Row, int]:
    """A golden row, a faulty one that often shares scores with it, and a label."""
    golden = draw(st.lists(finite, min_size=CLASSES, max_size=CLASSES))
    faulty = [draw(st.just(score) | anything) for score in golden]
    return golden, faulty, draw(st.integers(0, CLASSES - 1))


def tensors(
    rows: Sequence[tuple[Row, Row, int]], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    golden, faulty, labels = zip(*rows, strict=True)
    return (
        torch.tensor(golden, dtype=dtype),
        torch.tensor(faulty, dtype=dtype),
        torch.tensor(labels),
    )


def named(value: object) -> str | None:
    # Without addresses: the processes that share the tests must agree on names.
    return re.sub(r" at 0x\w+", "", repr(value)) if not callable(value) else None


@pytest.mark.parametrize(("criterion", "verdict"), RESTATED, ids=named)
@settings(max_examples=60)
@given(rows=st.lists(runs(), min_size=1, max_size=4))
@example(rows=[([1.0, 0.0, 0.0, 0.0], [NAN] * 4, 0)])
@example(rows=[([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], 1)])
@example(rows=[([0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], 3)])
@example(rows=[([1.0, 0.0, 0.0, 0.0], [INF, 0.0, 0.0, 0.0], 0)])
@example(rows=[([1.0, 0.0, 0.0, 0.0], [1.0, -INF, 0.0, 0.0], 0)])
def test_a_criterion_is_its_definition(
    criterion: Criterion,
    verdict: Callable[[Row, Row, int], bool],
    rows: list[tuple[Row, Row, int]],
) -> None:
    golden, faulty, labels = tensors(rows)

    failed = criterion.failed(golden, faulty, labels)

    assert failed.tolist() == [verdict(*row) for row in rows]


def test_a_row_of_nothing_but_nan_fails_class_0() -> None:
    golden = torch.tensor([[2.0, 1.0, 0.0, 0.0]])
    faulty = torch.full((1, 4), NAN)
    assert int(faulty.argmax()) == 0, "else the trap is not there"

    for criterion in NAMED:
        assert criterion.failed(golden, faulty, torch.tensor([0])).tolist() == [True]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_counts_the_k_best(k: int) -> None:
    golden = torch.tensor([[9.0, 0.0, 0.0, 0.0]]).repeat(4, 1)
    # The golden class has none, one, two and three others before it.
    faulty = torch.tensor([[0.5, n > 0, n > 1, n > 2] for n in range(4)])

    failed = TopKLost(k).failed(golden, faulty, None)

    assert failed.tolist() == [others >= k for others in range(4)]


@pytest.mark.parametrize("k", [4, 5, 1000])
def test_top_k_needs_more_classes_than_k(k: int) -> None:
    golden = torch.zeros(2, 4)

    with pytest.raises(
        ValueError, match=rf"k must be in 1\.\.3 for 4 classes, got {k}"
    ):
        TopKLost(k).failed(golden, golden, None)


# --- Clearance ------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", NAMED, ids=named)
@settings(max_examples=60)
@given(
    row=runs(),
    moves=st.lists(st.floats(-1, 1), min_size=CLASSES, max_size=CLASSES),
    share=st.sampled_from([0.5, 0.99, 1 - 1e-9]),
)
def test_less_than_the_clearance_never_turns_a_verdict(
    criterion: Criterion, row: tuple[Row, Row, int], moves: list[float], share: float
) -> None:
    golden, faulty, labels = tensors([row], torch.float64)
    clearance = criterion.clearance(golden, faulty, labels)
    # Not a number, or none: nobody relies on the verdict.
    assume(bool(clearance > 0))
    reach = min(float(clearance), 1e3) * share

    moved = faulty + reach * torch.tensor(moves, dtype=torch.float64)
    gap = (moved - faulty)[faulty.isfinite()].abs()
    assume(not len(gap) or float(gap.max()) < float(clearance))

    before = criterion.failed(golden, faulty, labels)
    assert criterion.failed(golden, moved, labels).tolist() == before.tolist()


@pytest.mark.parametrize(
    ("criterion", "golden", "faulty", "expected"),
    [
        (Top1Changed(), [2, 0, 1, 0], [1.5, 0, 1, 0], 0.25),
        (Top1Changed(), [2, 0, 1, 0], [1, 0, 2, 0], 0.5),
        (Top1Changed(), [2, 0, 1, 0], [1, 0, 1, 0], 0.0),
        (Top1Wrong(), [2, 0, 1, 0], [1.5, 0, 1, 0], 0.25),
        (Top1Wrong(), [0, 2, 1, 0], [1.5, 0, 1, 0], INF),
        (TopKLost(2), [2, 0, 1, 0], [0, 3, 2, 1], 1.0),
        (TopKLost(2), [2, 0, 1, 0], [4, 3, 2, 1], 1.0),
        (TopKLost(3), [2, 0, 1, 0], [4, 3, 2, 1], 1.5),
        (Threshold(0.5), [1, 1, 1, 1], [0.75, 1, 3, 0], 0.25),
        (Tolerance(0.5), [1, 1, 1, 1], [1, 1.25, 1, 1], 0.25),
        (Tolerance(0.5), [1, 1, 1, 1], [1, 3, 1, 1], 1.5),
        (AnyChange(), [1, 1, 1, 1], [1, 1, 1.5, 1.25], 0.5),
        (AnyChange(), [1, 1, 1, 1], [1, 1, 1, 1], 0.0),
        (Custom(disagree), [1, 0, 0, 0], [9, 0, 0, 0], 0.0),
    ],
    ids=named,
)
def test_the_clearance_is_the_distance_to_the_edge(
    criterion: Criterion, golden: Row, faulty: Row, expected: float
) -> None:
    before, after, labels = tensors([(golden, faulty, 0)])

    assert criterion.clearance(before, after, labels).tolist() == [expected]


@pytest.mark.parametrize("criterion", NAMED, ids=named)
def test_nobody_relies_on_a_verdict_on_nan(criterion: Criterion) -> None:
    golden, faulty, labels = tensors([([2.0, 1.0, 0.0, 0.0], [NAN] * 4, 0)])

    assert not bool(criterion.clearance(golden, faulty, labels) > 0)


# --- The contract of every criterion --------------------------------------------------


def test_the_contract_speaks_of_every_public_criterion() -> None:
    public = {getattr(criteria, name) for name in criteria.__all__}
    members = {c for c in public if isinstance(c, type) and c is not Criterion}

    assert {type(criterion) for criterion in EVERY} == members


@pytest.fixture(params=EVERY, ids=named)
def criterion(request: pytest.FixtureRequest) -> Criterion:
    found: Criterion = request.param
    return found


def detections(scores: Tensor) -> Tensor:
    """As many boxes as there are scores, side by side, each of a class of its own."""
    place = torch.arange(CLASSES).expand_as(scores).to(scores.dtype)
    zero, one = torch.zeros_like(scores), torch.ones_like(scores)
    rows = [place, zero, place + 1, one, place, scores.sigmoid()]
    return torch.stack(rows, dim=2)


def judged_by(criterion: Criterion, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and their classes, as the criterion takes outputs and labels."""
    classes = scores.argmax(1)
    if not isinstance(criterion, DetectionsChanged):
        return scores, classes
    output = detections(scores)
    return output, output[torch.arange(len(scores)), classes, None, :5]


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_criterion_is_pure_and_gives_one_verdict_per_input(
    criterion: Criterion, dtype: torch.dtype
) -> None:
    golden = torch.randn(6, CLASSES).to(dtype)
    faulty = golden.clone()
    faulty[1, 2], faulty[2, 0], faulty[3] = INF, NAN, 0.5
    faulty[4] = faulty[4].flip(0)
    golden, labels = judged_by(criterion, golden)
    faulty, _ = judged_by(criterion, faulty)
    given_ = [golden.clone(), faulty.clone(), labels.clone()]

    failed, again = (criterion.failed(golden, faulty, labels) for _ in range(2))
    clearance = criterion.clearance(golden, faulty, labels)

    assert failed.dtype == torch.bool
    assert failed.shape == clearance.shape == (6,)
    assert failed.tolist() == again.tolist()
    assert bool((clearance.isnan() | (clearance >= 0)).all())
    assert not bool(failed[0]), "the golden output is no failure"
    for before, now in zip(given_, (golden, faulty, labels), strict=True):
        assert torch.equal(before.nan_to_num(9), now.nan_to_num(9))


def test_inputs_do_not_see_each_other(criterion: Criterion) -> None:
    scores, noise = torch.randn(8, CLASSES), torch.randn(8, CLASSES)
    golden, labels = judged_by(criterion, scores)
    faulty, _ = judged_by(criterion, scores + noise * (torch.arange(8)[:, None] > 3))

    together = criterion.failed(golden, faulty, labels).tolist()

    alone = [
        bool(criterion.failed(*(t[i : i + 1] for t in (golden, faulty, labels))))
        for i in range(8)
    ]
    assert together == alone


@pytest.mark.parametrize("known", [*NAMED, *EVERY[-2:]], ids=named)
def test_a_criterion_is_made_again_from_its_record(known: Criterion) -> None:
    record = json.loads(json.dumps(known.as_record()))

    numbers = [str(value) for name, value in record.items() if name != "name"]
    text = ":".join([record["name"], *([",".join(numbers)] if numbers else [])])

    assert named_criterion(text) == known
    assert repr(known).startswith(type(known).__name__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("top1-changed", Top1Changed()),
        ("top1-wrong", Top1Wrong()),
        ("any-change", AnyChange()),
        ("top-k:5", TopKLost(5)),
        ("threshold:-0.5", Threshold(-0.5)),
        ("tolerance:1e-3", Tolerance(1e-3)),
        ("tolerance:1e-3,0.1", Tolerance(1e-3, 0.1)),
    ],
)
def test_a_criterion_has_a_name_on_the_command_line(
    text: str, expected: Criterion
) -> None:
    assert named_criterion(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "top1", "top-k", "top-k:", "top-k:0", "top-k:-1", "top-k:1.5", "top-k:x"]
    + ["threshold", "threshold:nan", "threshold:inf", "tolerance:-1", "tolerance:nan"]
    + ["tolerance:1,2,3", "tolerance:0,-1", "top1-changed:3", "custom"],
)
def test_what_is_no_criterion_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ValueError, match="criterion must be one of .*top-k:K") as error:
        named_criterion(text)

    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: TopKLost(0), "k must be at least 1, got 0"),
        (lambda: Threshold(NAN), "level must be finite, got nan"),
        (lambda: Tolerance(-1.0), "absolute must be at least 0 and finite, got -1.0"),
        (
            lambda: Tolerance(0.0, INF),
            "relative must be at least 0 and finite, got inf",
        ),
    ],
)
def test_impossible_limits_are_refused(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError) as error:
        make()

    assert str(error.value) == rule


# --- Outputs of other shapes ----------------------------------------------------------

BY_VALUE = [c for c in NAMED if isinstance(c, Threshold | Tolerance | AnyChange)]
BY_CLASS = [c for c in NAMED if c not in BY_VALUE]


@pytest.mark.parametrize("known", BY_VALUE, ids=named)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2, 3), (5, 2, 2, 2)])
def test_numbers_are_judged_in_any_shape(
    known: Criterion, shape: tuple[int, ...]
) -> None:
    golden = torch.ones(shape)
    faulty = golden.clone()
    faulty[3] = -7.0

    assert known.failed(golden, faulty, None).tolist() == [False] * 3 + [True, False]
    assert known.clearance(golden, faulty, None).shape == (5,)


@pytest.mark.parametrize("known", BY_VALUE, ids=named)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_whole_numbers_are_judged_too(known: Criterion, dtype: torch.dtype) -> None:
    golden = torch.ones(3, 2).to(dtype)
    faulty = golden.clone()
    faulty[1] = 0

    assert known.failed(golden, faulty, None).tolist() == [False, True, False]
    assert known.clearance(golden, faulty, None).shape == (3,)


@pytest.mark.parametrize("known", BY_CLASS, ids=named)
@pytest.mark.parametrize(
    "output", [torch.ones(5), torch.ones(5, 1), torch.ones(5, 2, 2)]
)
def test_what_has_no_classes_is_refused(known: Criterion, output: Tensor) -> None:
    labels = torch.zeros(5, dtype=torch.long)

    with pytest.raises(ValueError, match="output must be scores of 2 or more classes"):
        known.failed(output, output, labels)


@pytest.mark.parametrize("known", [*NAMED, DetectionsChanged()], ids=named)
def test_what_is_no_tensor_is_refused(known: Criterion) -> None:
    with pytest.raises(ValueError, match="got dict"):
        known.failed({"boxes": 1}, {"boxes": 1}, torch.zeros(1, dtype=torch.long))


def test_top1_wrong_needs_labels() -> None:
    golden = torch.ones(2, 3)

    with pytest.raises(
        ValueError, match="labels must be given for criterion top1-wrong"
    ):
        Top1Wrong().failed(golden, golden, None)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda *_: torch.zeros(3), "one bool per input, got torch.float32"),
        (lambda *_: torch.zeros(3, 2) > 1, r"of shape \(3, 2\)"),
        (lambda *_: [True][3], "must judge every output, got IndexError"),
    ],
)
def test_a_function_must_return_one_bool_per_input(
    function: Callable[..., object], reason: str
) -> None:
    golden = torch.ones(3, 2)

    with pytest.raises(ValueError, match=reason) as error:
        Custom(function, name="mine").failed(golden, golden, None)

    assert "criterion mine" in str(error.value)


def test_a_function_of_the_users_gets_everything_and_may_return_a_list() -> None:
    seen = []

    def function(golden: object, faulty: object, labels: object) -> object:
        seen.append((golden, faulty, labels))
        return [True, False]

    failed = Custom(function, name="mine").failed("golden", "faulty", None)

    assert failed.tolist() == [True, False]
    assert seen == [("golden", "faulty", None)]
    assert Custom(function, name="mine").as_record() == {
        "name": "custom",
        "function": "mine",
    }
