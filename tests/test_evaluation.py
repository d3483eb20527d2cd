"""Evaluation: measures against slow restatements, intervals against known answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from stoic.monitors.beside import OWN, standings
from stoic.monitors.breakdown import By, curves_by, groups, recalls_by
from stoic.monitors.evaluation import (
    check_examples,
    curve,
    curve_difference,
    false_alarms,
    levels,
    parts,
    right_rows,
)
from stoic.monitors.measures import Auroc, RecallAt, Shares
from stoic.monitors.resamples import Resamples
from stoic.monitors.traces import MEMORY, NOTHING, Origin, Traces
from stoic.monitors.worth import worth

CLASSES = ("regular", "memory", "blur", "noise")


def origin_of(kinds: Sequence[str], *, images: int, failing: float = 0.4) -> Origin:
    """Origins of every image under every kind; memory faults share four words."""
    chance = np.random.default_rng(1)
    kind = np.repeat(np.array(kinds), images)
    memory = kind == MEMORY
    spoilt = ~memory & (kind != NOTHING)
    number = np.arange(len(kind))
    return Origin(
        image=np.tile(np.arange(images), len(kinds)) + 7,
        kind=kind,
        strength=np.where(spoilt, np.where(number % 2, 0.5, 0.25), 0.0),
        share=np.where(spoilt, np.where(number % 2, 0.9, 0.5), 0.0),
        site=np.where(memory, np.where(number % 2, "a.weight", "b.weight"), ""),
        element=np.where(memory, number % 4, -1),
        bit=np.where(memory, 20 + number % 4, -1),
        bits=memory.astype(np.int64),
        failed=(kind != NOTHING) & (chance.random(len(kind)) < failing),
        broken=np.zeros(len(kind), np.bool_),
    )


def traces_of(origin: Origin) -> Traces:
    rows = len(origin.image)
    values = np.zeros((rows, 2), np.float32)
    return Traces(("a", "b"), values, np.zeros((rows, 3), np.float32), origin)


@pytest.fixture
def traces() -> Traces:
    return traces_of(origin_of((NOTHING, MEMORY, MEMORY, "blur", "noise"), images=120))


@pytest.fixture
def resamples(traces: Traces) -> Resamples:
    return Resamples.of(traces.origin, count=50)


@pytest.fixture
def labels(traces: Traces) -> NDArray[np.int64]:
    kinds = np.array([CLASSES.index(k) if k in CLASSES else 0 for k in origin(traces)])
    return np.where(traces.origin.failed, kinds, 0)


def origin(traces: Traces) -> list[str]:
    found: list[str] = traces.origin.kind.tolist()
    return found


@pytest.fixture
def said(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    chance = np.random.default_rng(2)
    wrong = chance.random(len(labels)) < 0.3
    return np.where(wrong, chance.integers(0, 4, len(labels)), labels)


@pytest.fixture
def score(traces: Traces) -> NDArray[np.float32]:
    """Few distinct scores, some infinite: ties matter."""
    chance = np.random.default_rng(3)
    rough = np.round(chance.normal(size=len(traces)) + traces.origin.failed, 1)
    return np.where(chance.random(len(traces)) < 0.05, np.inf, rough).astype(np.float32)


def everything(traces: Traces) -> NDArray[np.bool_]:
    return np.ones(len(traces), np.bool_)


# What is said.


def test_precision_and_recall_are_those_of_scikit_learn_at_every_level(
    traces: Traces,
    resamples: Resamples,
    labels: NDArray[np.int64],
    said: NDArray[np.int64],
) -> None:
    kind = np.array([0, 1, 2, 2])
    pairs = [(labels, said), (kind[labels], kind[said]), (labels > 0, said > 0)]

    found = levels(labels, said, CLASSES, resamples, everything(traces))

    assert [level.name for level in found] == [
        "fault class",
        "memory or input",
        "SDC or not",
    ]
    for level, (wanted, got) in zip(found, pairs, strict=True):
        faults = list(range(1, int(wanted.max()) + 1))
        precision, recall, _, _ = precision_recall_fscore_support(
            wanted.astype(int), got.astype(int), labels=faults
        )
        for judged, p, r in zip(level.classes, precision, recall, strict=True):
            assert judged.precision is not None and judged.recall is not None
            assert judged.precision.value == pytest.approx(p)
            assert judged.recall.value == pytest.approx(r)
            assert judged.recall.low < judged.recall.value < judged.recall.high
        assert level.macro.precision is not None and level.macro.recall is not None
        assert level.macro.precision.value == pytest.approx(precision.mean())
        assert level.macro.recall.value == pytest.approx(recall.mean())


def test_a_fault_taken_for_another_is_no_mistake_where_only_failure_counts(
    traces: Traces, resamples: Resamples, labels: NDArray[np.int64]
) -> None:
    swapped = np.array([0, 1, 3, 2])[labels]

    by_class, by_origin, by_failure = levels(
        labels, swapped, CLASSES, resamples, everything(traces)
    )

    recalls = [judged.recall for judged in by_class.classes]
    assert [r.value for r in recalls if r] == [1, 0, 0]
    mean = by_class.macro.recall
    assert mean and mean.low < mean.value < mean.high, "though no draw differs"
    for level in (by_origin, by_failure):
        assert level.macro.recall and level.macro.recall.value == 1
        assert level.macro.precision and level.macro.precision.value == 1


def test_a_row_that_is_not_finite_is_taken_for_a_memory_fault(
    traces: Traces, resamples: Resamples, labels: NDArray[np.int64]
) -> None:
    said = np.where(labels == 1, len(CLASSES), labels)

    found = levels(labels, said, CLASSES, resamples, everything(traces))

    assert all(level.macro.recall and level.macro.recall.value == 1 for level in found)


def test_a_level_has_no_class_that_the_monitor_has_not(
    traces: Traces, resamples: Resamples, labels: NDArray[np.int64]
) -> None:
    only = labels * (labels == 1)
    said = np.where(only, 2, 0)  # Nothing but rows that are not finite.

    for level in levels(only, said, CLASSES[:2], resamples, everything(traces)):
        (each,) = level.classes
        assert each.name in (MEMORY, "SDC")
        assert level.macro.recall and level.macro.recall.value == 1


def test_what_is_never_said_has_no_precision_rather_than_none_at_all(
    traces: Traces, resamples: Resamples, labels: NDArray[np.int64]
) -> None:
    said = np.where(labels == 2, 0, labels)

    level = levels(labels, said, CLASSES, resamples, everything(traces))[0]

    blur = level.classes[1]
    assert blur.name == "blur"
    assert blur.precision is None
    assert blur.recall is not None and blur.recall.value == 0 < blur.recall.high
    assert level.macro.precision is None


def test_a_class_without_example_is_refused_by_name(
    labels: NDArray[np.int64],
) -> None:
    check_examples(labels, CLASSES)

    with pytest.raises(ValueError, match="got none of noise"):
        check_examples(np.where(labels == 3, 0, labels), CLASSES)


def test_false_alarms_are_told_apart(traces: Traces, resamples: Resamples) -> None:
    kind, failed = traces.origin.kind, traces.origin.failed
    alarmed = traces.origin.image % 3 == 0
    clean = [a for a, k in zip(alarmed, kind, strict=True) if k == NOTHING]
    benign = [
        a
        for a, k, f in zip(alarmed, kind, failed, strict=True)
        if k != NOTHING and not f
    ]

    found = false_alarms(traces, alarmed, resamples, everything(traces))

    assert found.clean is not None and found.benign is not None
    assert found.clean.value == pytest.approx(sum(clean) / len(clean))
    assert (found.clean.n, found.benign.n) == (len(clean), len(benign))
    assert found.benign.value == pytest.approx(sum(benign) / len(benign))
    nobody = false_alarms(traces, alarmed, resamples, failed)
    assert nobody.clean is None and nobody.benign is None


def test_parts_are_rows_with_numbers_and_others_and_both(traces: Traces) -> None:
    traces.values[3, 1], traces.origin.broken[5] = np.nan, True

    found = parts(traces)

    assert np.flatnonzero(found["non-finite"]).tolist() == [3, 5]
    assert (found["finite"] ^ found["non-finite"]).all() and found["together"].all()


# What is scored.


def slow_recall(
    score: Sequence[float],
    wrong: Sequence[bool],
    clean: Sequence[bool],
    weight: Sequence[float],
    rate: float,
) -> float:
    """The best recall of any threshold that is allowed, by trying every one."""
    rows = list(zip(score, wrong, clean, weight, strict=True))
    all_clean = sum(w for _, _, c, w in rows if c)
    all_wrong = sum(w for _, f, _, w in rows if f)
    best = 0.0
    for threshold in score:
        false = sum(w for s, _, c, w in rows if c and s >= threshold)
        if false <= rate * all_clean:
            hits = sum(w for s, f, _, w in rows if f and s >= threshold)
            best = max(best, hits / all_wrong)
    return best


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_recall_at_a_rate_is_the_best_of_all_thresholds(seed: int, rate: float) -> None:
    chance = np.random.default_rng(seed)
    score = chance.choice([0.0, 0.5, 1.0, 2.0, np.inf], 30).astype(np.float32)
    kind, weight = chance.integers(0, 3, 30), chance.integers(0, 3, 30).astype(float)
    wrong, clean = kind == 1, kind == 2
    kind[0], weight[:2] = 1, 1

    found = RecallAt(score, wrong, clean, (rate,))(weight[None])[0, 0]

    if not (weight @ wrong and weight @ clean):
        assert math.isnan(found)
        return
    assert found == pytest.approx(slow_recall(score, wrong, clean, weight, rate))  # type: ignore[arg-type]


@given(st.integers(0, 1000))
def test_auroc_is_that_of_scikit_learn_under_weights_and_ties(seed: int) -> None:
    chance = np.random.default_rng(seed)
    score = chance.choice([-1.0, 0.0, 0.5, np.inf], 40).astype(np.float32)
    wrong = chance.random(40) < 0.4
    wrong[:2] = True, False
    weights = chance.integers(0, 4, (3, 40)).astype(float)
    weights[:, :2] = 1

    found = Auroc(score, wrong, ~wrong)(weights)[:, 0]

    plain = np.nan_to_num(score, posinf=9)
    wanted = [roc_auc_score(wrong, plain, sample_weight=w) for w in weights]
    assert found == pytest.approx(wanted)


def test_a_curve_compares_with_the_rows_that_were_asked_for(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    kind, failed = traces.origin.kind, traces.origin.failed
    rows = kind == "blur"
    plain = np.nan_to_num(score, posinf=99)
    others = {
        "clean": kind == NOTHING,
        "benign": rows & ~failed,
        "regular": (rows & ~failed) | (kind == NOTHING),
    }

    for against, right in others.items():
        found = curve(traces, score, resamples, rows, against=against, rates=(0.1,))  # type: ignore[arg-type]

        chosen = (rows & failed) | right
        assert found.auroc is not None
        wanted = roc_auc_score(failed[chosen], plain[chosen])
        assert found.auroc.value == pytest.approx(wanted)
        assert found.recall[0.1] is not None
        assert found.recall[0.1].value == pytest.approx(
            slow_recall(
                score.tolist(),
                (rows & failed).tolist(),
                (kind == NOTHING).tolist(),
                [1.0] * len(score),
                0.1,
            )
        )


def test_a_rate_that_clean_rows_cannot_show_has_no_recall(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    found = curve(traces, score, resamples, everything(traces), rates=(0.001, 0.01))

    assert found.recall[0.001] is None, "120 clean rows cannot show one in 1000"
    assert found.recall[0.01] is not None


def test_a_score_that_is_no_number_is_refused(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    score[4] = np.nan

    with pytest.raises(ValueError, match="scores must be numbers, got NaN for 1 rows"):
        curve(traces, score, resamples, everything(traces))


# What alarms are worth.


def test_worth_in_the_rows_is_counted_one_by_one(
    traces: Traces, resamples: Resamples
) -> None:
    alarmed, failed = traces.origin.image % 3 == 0, traces.origin.failed
    pairs = list(zip(alarmed.tolist(), failed.tolist(), strict=True))

    (found,) = worth(traces, alarmed, resamples, everything(traces))

    assert found.gain and found.hazard and found.cost and found.precision
    assert found.gain.value == pytest.approx(np.mean([a and f for a, f in pairs]))
    assert found.hazard.value == pytest.approx(np.mean([f > a for a, f in pairs]))
    assert found.cost.value == pytest.approx(np.mean([a > f for a, f in pairs]))
    shown = [f for a, f in pairs if a]
    assert found.precision.value == pytest.approx(sum(shown) / len(shown))


def test_worth_at_a_rate_is_that_of_rows_repeated_to_have_it(traces: Traces) -> None:
    kind, failed = traces.origin.kind, traces.origin.failed
    clean = np.flatnonzero(kind == NOTHING)
    # Four faulted sets of as many images as one clean set; the rate is 1 in 20.
    repeated = np.concatenate([np.arange(len(kind)), *[clean] * 75])
    more = traces.rows(repeated)
    alarmed = traces.origin.image % 3 == 0

    (at,) = worth(
        traces, alarmed, Resamples.of(traces.origin), everything(traces), [0.05]
    )
    (own,) = worth(more, alarmed[repeated], Resamples.of(more.origin), everything(more))

    for name in ("precision", "gain", "hazard", "cost"):
        one, other = getattr(at, name), getattr(own, name)
        assert one.value == pytest.approx(other.value), name
        assert one.low < one.value < one.high
    assert at.gain and at.hazard
    share = failed[kind != NOTHING].mean()
    assert at.gain.value + at.hazard.value == pytest.approx(0.05 * share)


def test_precision_falls_as_faults_become_rare(
    traces: Traces, resamples: Resamples
) -> None:
    alarmed = traces.origin.failed | (traces.origin.image % 30 == 0)
    rows = everything(traces)

    found = worth(traces, alarmed, resamples, rows, [0.5, 0.01, 1e-6])

    values = [each.precision.value for each in found if each.precision]
    assert values == sorted(values, reverse=True) and len(values) == 3
    assert values[-1] < 1e-4, "nearly every alarm is false"
    with pytest.raises(ValueError, match="rate of faults must be above 0"):
        worth(traces, alarmed, resamples, rows, [0.0])


def test_no_false_alarm_on_few_images_does_not_promise_precision(
    traces: Traces, resamples: Resamples
) -> None:
    """120 clean images without an alarm leave room for 3 % of them."""
    alarmed = traces.origin.failed

    often, rarely = worth(traces, alarmed, resamples, everything(traces), [0.9, 1e-4])

    assert often.precision and rarely.precision and rarely.cost and rarely.hazard
    assert often.precision.value == rarely.precision.value == 1
    assert often.precision.low > 0.9
    assert rarely.precision.low < 0.01
    assert rarely.cost.value == 0
    assert rarely.cost.high == pytest.approx(1 - 0.025 ** (1 / 120), rel=0.01)
    assert rarely.hazard.high <= 1e-4, "no more than there are faults"


def test_alarms_that_never_come_have_no_precision_and_no_cost(
    traces: Traces, resamples: Resamples
) -> None:
    silent = np.zeros(len(traces), np.bool_)

    own, at = worth(traces, silent, resamples, everything(traces), [None, 0.1])

    for found in (own, at):
        assert found.precision is None
        assert found.cost and found.cost.value == 0 < found.cost.high
        assert found.gain and found.gain.value == 0


# How sure all of it is.


def rows_of(image: Sequence[int], word: Sequence[int]) -> Origin:
    """Faults in memory, one row each; word -1 is no fault."""
    rows = len(image)
    return Origin.of(
        np.array(image),
        np.ones(rows, np.bool_),
        np.zeros(rows, np.bool_),
        kind=[MEMORY if w >= 0 else NOTHING for w in word],  # type: ignore[arg-type]
        site=["a.weight" if w >= 0 else "" for w in word],
        element=word,
    )


def share(counted: NDArray[np.bool_]) -> Shares:
    return Shares(counted[:, None], np.ones((len(counted), 1), np.bool_))


def test_copies_of_an_image_say_no_more_than_the_image() -> None:
    hit = np.arange(100) % 4 == 0
    alone = Resamples.of(rows_of(range(100), [-1] * 100), count=4000)
    copied = Resamples.of(rows_of(list(range(100)) * 20, [-1] * 2000), count=4000)

    (once,) = alone.estimates(share(hit))
    (often,) = copied.estimates(share(np.tile(hit, 20)))

    assert once is not None and often is not None
    assert (often.value, often.low, often.high) == pytest.approx(
        (once.value, once.low, once.high)
    )
    assert (once.n, often.n) == (100, 2000)
    exact = binom.ppf([0.025, 0.975], 100, 0.25) / 100
    assert (once.low, once.high) == pytest.approx(exact, abs=0.011)


def test_images_under_one_fault_say_no_more_than_the_fault() -> None:
    images, words = 200, 50
    image = np.tile(np.arange(images), words)
    word = np.repeat(np.arange(words), images)
    hit = word % 2 == 0

    found = Resamples.of(rows_of(image.tolist(), word.tolist()), count=4000)
    (estimate,) = found.estimates(share(hit))

    assert estimate is not None
    exact = binom.ppf([0.025, 0.975], words, 0.5) / words
    assert (estimate.low, estimate.high) == pytest.approx(exact, abs=0.021)
    assert estimate.about == "images like these 200 and words of weights like these 50"


def test_a_word_that_one_image_alone_was_hit_in_is_drawn_with_it() -> None:
    hit = np.arange(100) % 4 == 0
    clean = Resamples.of(rows_of(range(100), [-1] * 100), count=500)
    apart = Resamples.of(rows_of(range(100), range(100)), count=500)

    assert clean.estimates(share(hit)) == apart.estimates(share(hit))


def test_all_found_is_not_sure_to_be_all() -> None:
    perfect = np.ones(400, np.bool_)
    images = Resamples.of(rows_of(list(range(100)) * 4, [-1] * 400), count=50)
    words = Resamples.of(rows_of(list(range(100)) * 4, [0] * 200 + [1] * 200), count=50)

    (by_images,) = images.estimates(share(perfect))
    (by_words,) = words.estimates(share(perfect))

    assert by_images is not None and by_words is not None
    # What so many independent rows leave open: all of them found by luck.
    assert by_images.low == pytest.approx(0.025 ** (1 / 100))
    assert by_words.low == pytest.approx(0.025 ** (1 / 2)), "two words"


@pytest.mark.parametrize("hits", [0, 1, 3, 498, 500])
def test_few_counts_have_the_interval_of_a_count(hits: int) -> None:
    resamples = Resamples.of(rows_of(range(500), [-1] * 500), count=300)

    (found,) = resamples.estimates(share(np.arange(500) < hits))

    assert found is not None
    exact = binomtest(hits, 500).proportion_ci(0.95, "exact")
    assert found.low <= exact.low + 1e-9 and found.high >= exact.high - 1e-9
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=4e-3)


def test_draws_without_example_widen_the_interval() -> None:
    """One image of two has the failure: half of all draws have none to find."""
    among = np.array([[True], [False]])
    resamples = Resamples.of(rows_of([0, 1], [-1, -1]), count=1000)

    (found,) = resamples.estimates(Shares(among, among))

    assert found is not None and (found.value, found.n) == (1, 1)
    assert found.low < 0.05


def test_nothing_to_divide_by_is_none() -> None:
    resamples = Resamples.of(rows_of([0, 1], [-1, -1]), count=10)
    nothing = np.zeros((2, 1), np.bool_)

    assert resamples.estimates(Shares(nothing, nothing)) == (None,)
    assert resamples.differences(
        Shares(nothing, nothing), Shares(nothing, nothing)
    ) == (None,)


def test_draws_in_pieces_are_draws_at_once(
    traces: Traces, score: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = everything(traces)
    once = curve(traces, score, Resamples.of(traces.origin, count=40), rows)

    monkeypatch.setattr("stoic.monitors.resamples._PIECE", 1)

    assert curve(traces, score, Resamples.of(traces.origin, count=40), rows) == once


def test_a_paired_difference_is_surer_than_two_intervals(
    traces: Traces, score: NDArray[np.float32]
) -> None:
    """The second score is the first one, spoilt a little: both have the same luck."""
    rows, resamples = everything(traces), Resamples.of(traces.origin, count=400)
    chance = np.random.default_rng(0)
    worse = np.where(chance.random(len(score)) < 0.4, 0, score).astype(np.float32)

    auroc, recall = curve_difference(traces, score, worse, resamples, rows)

    one, other = (curve(traces, s, resamples, rows).auroc for s in (score, worse))
    assert auroc is not None and one is not None and other is not None
    assert auroc.value == pytest.approx(one.value - other.value)
    assert auroc.verdict == "above" and one.low < other.high
    assert recall[0.001] is None and recall[0.01] is not None
    same, _ = curve_difference(traces, score, score, resamples, rows)
    assert same is not None
    assert same.value == 0 and same.low < 0 < same.high
    assert same.verdict == "not shown"
    back, _ = curve_difference(traces, worse, score, resamples, rows)
    assert back is not None and back.verdict == "below"


# Tables.


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("bit", ["20", "21", "22", "23"]),
        ("bits", ["1 bit"]),
        ("site", ["b.weight", "a.weight"]),
        ("kind", ["blur", "memory", "noise"]),
        ("strength", ["blur 0.25", "blur 0.5", "noise 0.25", "noise 0.5"]),
    ],
)
def test_groups_hold_each_row_once(traces: Traces, by: By, names: list[str]) -> None:
    kind = traces.origin.kind
    meant = {
        "bit": kind == MEMORY,
        "bits": kind == MEMORY,
        "site": kind == MEMORY,
        "kind": kind != NOTHING,
        "strength": (kind != NOTHING) & (kind != MEMORY),
    }

    found = list(groups(traces, by))

    assert [group.name for group in found] == names
    assert (sum(group.rows.astype(int) for group in found) == meant[by]).all()
    shares = {group.share for group in found}
    assert shares == ({0.5, 0.9} if by == "strength" else {None})


def test_lines_of_a_table_are_counted_one_by_one(
    traces: Traces, resamples: Resamples
) -> None:
    alarmed, failed = traces.origin.image % 3 == 0, traces.origin.failed

    lines = recalls_by(traces, alarmed, resamples, everything(traces), "bit")

    for line in lines:
        rows = [n for n in range(len(traces)) if str(traces.origin.bit[n]) == line.name]
        wrong, right = (
            [bool(alarmed[n]) for n in rows if failed[n] == fails]
            for fails in (True, False)
        )
        assert line.failed and line.recall and line.benign
        assert line.failed.value == pytest.approx(len(wrong) / len(rows))
        assert line.recall.value == pytest.approx(sum(wrong) / len(wrong))
        assert line.benign.value == pytest.approx(sum(right) / len(right))
    none_failed = recalls_by(traces, alarmed, resamples, ~failed, "site")
    assert [line.recall for line in none_failed] == [None, None]


def test_curves_of_strengths_compare_with_clean_rows(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    found = curves_by(
        traces, score, resamples, everything(traces), "strength", rates=(0.05,)
    )

    rows = (traces.origin.kind == "noise") & (traces.origin.strength == 0.5)
    alone = curve(traces, score, resamples, rows, against="clean", rates=(0.05,))
    assert found["noise 0.5"] == alone
    assert len(found) == 4
    assert right_rows(traces, "clean").sum() == 120


# Beside others.


@dataclass(frozen=True, eq=False)
class Given:
    """A detector that says what it was given."""

    name: str
    said: NDArray[np.float32]
    features: tuple[str, ...] = ()

    def score(self, traces: Traces) -> NDArray[np.float32]:
        return self.said


def test_a_detector_stands_in_each_group_as_it_does_alone(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    """Noise here is learnt from; darkness, which nobody has seen, stands for blur."""
    kind = np.where(traces.origin.kind == "blur", "darkness", traces.origin.kind)
    bits = np.where(traces.origin.kind == MEMORY, 1 + traces.origin.image % 2, 0)
    traces = replace(traces, origin=replace(traces.origin, kind=kind, bits=bits))
    others = [Given("one", -score), Given("other", np.round(score))]

    found = list(standings(traces, score, others, resamples, rates=(0.05,)))

    rows = {
        "memory": (kind == MEMORY) & (bits == 1),
        "memory, several bits": (kind == MEMORY) & (bits == 2),
        "input, known kinds": kind == "noise",
        "input, unseen kinds": kind == "darkness",
    } | {group.name: group.rows for group in groups(traces, "strength")}
    scores = {OWN: score, "one": -score, "other": np.round(score)}
    assert [(each.group, each.detector) for each in found] == [
        (group, name) for group in rows for name in scores
    ]
    for each in found:
        own, here = scores[each.detector], rows[each.group]
        alone = curve(traces, own, resamples, here, rates=(0.05,))
        assert (each.auroc, each.recall) == (alone.auroc, alone.recall)
        if each.detector == OWN:
            assert each.less is None
            continue
        less, recall = curve_difference(
            traces, score, own, resamples, here, rates=(0.05,)
        )
        assert (each.less, each.recall_less) == (less, recall)


def test_strengths_are_groups_only_where_several_detectors_are_compared(
    traces: Traces, resamples: Resamples, score: NDArray[np.float32]
) -> None:
    (first, *_, last) = standings(traces, score, [Given("one", score)], resamples)

    assert first.group == "memory" and last.group == "input, known kinds"
    assert last.less and last.less.value == 0
