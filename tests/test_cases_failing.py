"""Failures of known cause: how they are looked for, and what they are due to."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from benchmarks import failures as counted
from torch import Tensor, nn

from cases_support import assert_one_line
from stoic import cases
from stoic.cases import Case, CaseError
from stoic.cases.afflicted import search, table
from stoic.cases.afflicted.cause import Cause
from stoic.cases.afflicted.search import Found, Recipe, Tried
from stoic.cases.afflicted.stage import Stage
from stoic.cases.afflicted.truth import scenarios
from stoic.cases.signs.failing import signs_failing, signs_stage
from stoic.cases.signs.render import render
from stoic.cases.signs.scenes import CAUSES, Scenes, afflict, nominal, reset
from stoic.cases.wrong import wrong_inputs
from stoic.causes.failures import UNKNOWN, Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST

NAMES = "abcdf"
RANGES = dict.fromkeys(NAMES, (0.0, 0.5))


class Toy(nn.Module):
    """Wrong where a, or d, or b with c is large; and for reasons of its own (f)."""

    def forward(self, pictures: Tensor) -> Tensor:
        a, b, c, d, f = pictures[:, 0, 0].unbind(1)
        wrong = (a > 1) | (d > 1) | ((b > 1) & (c > 1)) | (f > 0.495)
        return torch.stack([(~wrong).float(), wrong.float()], dim=1)


@pytest.fixture(scope="module")
def toy() -> Stage[table.Table]:
    return Stage(
        name="toy",
        network=Toy(),
        classes=("right", "wrong"),
        causes=tuple(Cause(name, name, 2.0, 3.0) for name in "abcd"),
        nominal=lambda count, series: table.nominal(
            count, series, classes=1, ranges=RANGES
        ),
        afflict=table.afflict,
        reset=table.reset,
        pictures=lambda scenes: torch.stack(list(scenes.columns.values()), 1)[
            :, None, None
        ].float(),
        labels=lambda scenes: scenes.label,
        recorded=lambda scenes: {n: c.numpy() for n, c in scenes.columns.items()},
    )


def toy_truth(row: dict[str, float]) -> str:
    large = {name for name in "abcd" if row[name] > 1}
    if row["f"] > 0.495:
        return UNKNOWN
    blamed = large & {"a", "d"} or large & {"b", "c"}
    return "+".join(sorted(blamed))


def test_scenarios_are_what_the_network_looks_at(toy: Stage[table.Table]) -> None:
    found = search.search(toy, 200, 3).inquiry.failures

    rows = [
        {name: float(found.recorded[name][row]) for name in NAMES}
        for row in range(len(found))
    ]
    assert found.scenarios is not None
    assert found.scenarios.tolist() == [toy_truth(row) for row in rows]
    told = set(found.scenarios.tolist())
    assert {"a", "d", "a+d", "b+c", UNKNOWN} == told


def test_every_failure_is_one_and_the_examples_are_of_what_was_learned(
    toy: Stage[table.Table],
) -> None:
    inquiry = search.search(toy, 60, 3).inquiry

    assert bool((inquiry.network(inquiry.failures.images).argmax(1) == 1).all())
    assert len(set(inquiry.failures.names)) == len(inquiry.failures) == 60
    learned = toy.pictures(toy.nominal(search.EXAMPLES, toy.learned))
    assert torch.equal(inquiry.examples.images, learned)


def test_kinds_give_what_they_are_asked_for_and_make_up_for_others(
    toy: Stage[table.Table],
) -> None:
    found = search.search(toy, 200, 3)

    by_kind = {each.kind: each for each in found.tried}
    # One of b and c alone is harmless: such scenes fail for reasons of their own.
    assert by_kind["b"].failures < 25 < 60 < by_kind["a"].failures
    assert abs(by_kind["a"].failures - by_kind["d"].failures) <= 1
    assert sum(each.failures for each in found.tried) == 200
    assert by_kind["no cause"].scenes == 100


@pytest.mark.parametrize("share", [0.005, 0.02, 0.5])
def test_a_rare_cause_has_exactly_its_share(
    toy: Stage[table.Table], share: float
) -> None:
    recipe = Recipe(shares={"a": share}, untouched=0)

    found = search.search(toy, 400, 3, recipe).inquiry.failures

    assert found.scenarios is not None
    large = found.recorded["a"] > 1
    assert int(large.sum()) == round(share * 400)
    assert set(found.scenarios[large].tolist()) <= {"a", UNKNOWN}


def test_looking_is_what_going_through_the_scenes_one_by_one_is(
    toy: Stage[table.Table],
) -> None:
    recipe = Recipe(combined=0.0, shares={"a": 0.5}, untouched=0)

    found = search.search(toy, 40, 3, recipe).inquiry.failures

    series = toy.failing + 6 * 3
    expected: list[str] = []
    place = 0
    while len(expected) < 20:
        one = toy.nominal(place + 1, series).rows(slice(place, place + 1))
        sick = toy.afflict(one, toy.causes[0], torch.tensor([True]))
        if not bool(toy.right(sick)):
            expected.append(f"toy {int(sick.seed)}")
        place += 1
    large = np.flatnonzero(found.recorded["a"] > 1)
    assert {found.names[row] for row in large} == set(expected)


def test_the_same_seed_finds_the_same_failures(toy: Stage[table.Table]) -> None:
    one, same, other = (
        search.search(toy, 40, seed).inquiry.failures for seed in (3, 3, 4)
    )

    assert one.names == same.names
    assert not set(one.names) & set(other.names)


@pytest.mark.parametrize(
    ("count", "recipe", "words"),
    [
        (9, Recipe(), "must be at least 10"),
        (40, Recipe(shares={"z": 0.1}), "shares must be of a, b, c, d, got 'z'"),
        (40, Recipe(shares={"a": 0.95}), "shares must be at least 0 and 1 at most"),
        (40, Recipe(shares={"a": -0.1}), "shares must be at least 0"),
        (40, Recipe(shares={"a": 0.1, "b": 0.1, "c": 0.1}), "with two causes left"),
        (10, Recipe(combined=0.0, shares={"b": 1.0}, untouched=0), "got [0-9] of 250"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    toy: Stage[table.Table], count: int, recipe: Recipe, words: str
) -> None:
    with pytest.raises(CaseError, match=words) as error:
        search.search(toy, count, 3, recipe)

    assert_one_line(error)


def one_by_one(stage: Stage[Scenes], sick: Scenes, given: list[str]) -> str:
    """Try every set of resets on one picture; name those of the smallest that help."""
    by_name = {cause.name: cause for cause in CAUSES}
    for size in range(1, len(given) + 1):
        helping: set[str] = set()
        for names in combinations(given, size):
            healed = sick
            for name in names:
                healed = reset(healed, by_name[name])
            if int(stage.network(render(healed)).argmax()) == int(healed.sign):
                helping |= set(names)
        if helping:
            return "+".join(sorted(helping))
    return UNKNOWN


def test_the_cause_of_a_sign_read_wrong_is_what_must_be_reset() -> None:
    stage = signs_stage()
    sick, chance = nominal(60, seed=5), torch.Generator().manual_seed(0)
    given = torch.rand(60, len(CAUSES), generator=chance).argsort(1) < 2
    for place, cause in enumerate(CAUSES):
        sick = afflict(sick, cause, given[:, place])
    wrong = (~stage.right(sick)).nonzero()[:16, 0]

    found = scenarios(stage, sick.rows(wrong), given[wrong])

    expected = []
    with torch.inference_mode():
        for row in wrong.tolist():
            names = [c.name for c, on in zip(CAUSES, given[row], strict=True) if on]
            one = sick.rows(slice(row, row + 1))
            expected.append(one_by_one(stage, one, names))
    assert found.tolist() == expected
    assert any("+" in name for name in expected)
    assert any("+" not in name for name in expected)


def test_failures_of_signs_are_rendered_from_what_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "EXAMPLES", 8)
    found = signs_failing(16, 0, Recipe(untouched=0.2))

    failures, classes = found.inquiry.failures, found.inquiry.classes
    columns = {
        name: torch.from_numpy(column)
        for name, column in failures.recorded.items()
        if name != "sign"
    }
    signs = [classes.index(name) for name in failures.recorded["sign"]]
    seeds = [int(name.removeprefix("signs ")) for name in failures.names]
    scenes = Scenes(seed=torch.tensor(seeds), sign=torch.tensor(signs), **columns)
    assert torch.equal(render(scenes), failures.images)
    assert (failures.labels == signs).all()
    assert (failures.predicted != failures.labels).all()
    assert failures.scenarios is not None
    told = Counter("+".join(failures.scenarios).split("+"))
    assert set(told) == {cause.name for cause in CAUSES}


class Halves(nn.Module):
    """Names the class by the mean of the picture."""

    def forward(self, pictures: Tensor) -> Tensor:
        mean = pictures.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def halves(wrong: int = 12, **changes: object) -> Case:
    levels = torch.linspace(0.1, 0.9, 40)
    labels = (levels > 0.5).long()
    labels[:wrong] = 1 - labels[:wrong]
    parts: dict[str, object] = {
        "name": "halves",
        "network": Halves().eval(),
        "inputs": levels[:, None, None, None].expand(-1, 1, 4, 4).clone(),
        "labels": labels,
    }
    return Case(**parts | changes)  # type: ignore[arg-type]


def raising(scores: Tensor) -> Tensor:
    raise RuntimeError("one\ntwo")


def test_failures_of_any_case_are_what_its_network_gets_wrong() -> None:
    scenarios = ["dim"] * 6 + [UNKNOWN] * 34
    recorded = {"level": torch.arange(40.0), "lamp": np.array(["old", "new"] * 20)}
    case = halves(scenarios=scenarios, recorded=recorded)

    inquiry = wrong_inputs(case, 1_000, 0)

    failures = inquiry.failures
    assert failures.names == tuple(f"halves {row}" for row in range(12))
    assert failures.scenarios is not None
    assert failures.scenarios.tolist() == scenarios[:12]
    assert failures.recorded["level"].tolist() == list(range(12))
    assert failures.recorded["lamp"].tolist() == ["old", "new"] * 6
    assert len(inquiry.examples) == 28
    assert float(inquiry.pictures(failures.images).min()) == 0.0
    assert wrong_inputs(halves(names=list(map(str, range(40)))), 11, 0).failures.names


def test_fewer_failures_are_drawn_by_the_seed() -> None:
    one, same, other = (
        wrong_inputs(halves(20), 10, seed).failures.names for seed in (0, 0, 1)
    )

    assert one == same != other
    assert len(one) == 10


def test_scores_that_are_no_numbers_are_failures() -> None:
    case = halves(12, tail=lambda scores: scores.masked_fill(scores > 0.39, torch.nan))

    assert len(wrong_inputs(case, 100, 0).failures) == 12 + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wrong": 9}, "got 9 of 40 inputs; give more"),
        ({"wrong": 40}, "that its network gets right"),
        ({"labels": None}, r"got none; return \(network, inputs, labels\)"),
        ({"labels": torch.zeros(40)}, "got torch.float32"),
        ({"criterion": "tolerance:0.1"}, "about classes"),
        ({"inputs": torch.zeros(40, 3)}, "must be one tensor of images"),
        ({"inputs": (torch.zeros(40, 3),)}, "got a tuple"),
        ({"inputs": torch.eye(4).log().expand(40, 1, 4, 4)}, "in 40 of 40, the first"),
        ({"tail": raising}, r"at once, got RuntimeError: one two; mend the network"),
        ({"tail": lambda scores: scores * torch.nan}, "got NaN or infinity for each"),
    ],
)
def test_a_case_whose_failures_cannot_be_told_is_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(CaseError, match=words) as error:
        wrong_inputs(halves(**changes), 100, 0)  # type: ignore[arg-type]

    assert_one_line(error, "halves")


def test_what_is_said_of_each_row_stays_with_it() -> None:
    case = halves(
        names=[f"{row}.png" for row in range(40)],
        recorded={"level": torch.arange(40.0)},
        scenarios=np.array(["x", ""] * 20),
    )

    few = cases.case.moved(case.first(3), "cpu")

    assert few.names == ["0.png", "1.png", "2.png"]
    assert few.recorded is not None and len(few.recorded["level"]) == 3
    assert few.scenarios is not None and list(few.scenarios) == ["x", "", "x"]
    for wrong in ({"names": ["a"]}, {"recorded": {"level": torch.zeros(40, 2)}}):
        with pytest.raises(CaseError, match="one value for each of the 40 inputs"):
            halves(**wrong)


def test_a_case_without_a_way_to_fail_gives_what_it_gets_wrong() -> None:
    inquiry = cases.failing("digits", 1_200, 0)

    assert 2 * LEAST <= len(inquiry.failures) < 20
    with pytest.raises(CaseError, match="scenes must be about classes"):
        cases.failing("scenes", 1_200, 0)


def test_the_benchmark_counts_scenes_and_causes() -> None:
    known = np.array(["blur", "blur+roll", "blur+roll", "", "roll+yaw"])
    failures = Failures(
        torch.zeros(5, 1, 1, 1),
        np.zeros(5, int),
        np.zeros((5, 2), np.float32),
        ("",) * 5,
        {},
        known,
    )
    black, white = torch.zeros(1), torch.ones(1)
    examples = Examples(failures.images, failures.labels)
    inquiry = Inquiry(nn.Identity(), failures, examples, black, white)
    found = Found(inquiry, (Tried("blur", 1000, 1), Tried("two causes", 9, 4)))
    assert counted.rows(found)[0]["scenes looked at"] == "1,000"
    assert counted.summary(found) == (
        "5 failures, 1 of no known cause; of 4 with two causes 3 are due to both, in 2 "
        "combinations"
    )
