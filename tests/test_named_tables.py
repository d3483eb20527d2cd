"""Tables by name: from Python, for machines, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_runs import SITES, MadeTrial, a_manifest, make_run
from stoic.estimates import TABLES, check_table
from stoic.estimates.measured import Measured, open_measured
from stoic.plans import Stratum, Uniform
from test_tables import INPUTS, a_trial, faults_of, key_of, mean_of

Made = tuple[Measured, list[MadeTrial]]
PLACES = ["network", "kind", "component", "site", "channel", "bit", "role", "stratum"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """70 of 224 faults, drawn uniformly."""
    rng = np.random.default_rng(5)
    space = faults_of(SITES)
    draws = Uniform(70).draws([Stratum("all", len(space))], seed=1)
    trials = [a_trial(rng, *space[draw.position]) for draw in draws]
    run = make_run(tmp_path_factory.mktemp("run"), a_manifest(), trials)
    return Measured(run), trials


def in_groups(name: str, trials: list[MadeTrial]) -> dict[Any, list[MadeTrial]]:
    site = {s.name: s for s in SITES}
    found: dict[Any, list[MadeTrial]] = {}
    for trial in trials:
        key = key_of(name, site[trial.site], trial.element, trial.bit)
        found.setdefault(key, []).append(trial)
    found.pop((), None)
    return found


@pytest.mark.parametrize("name", PLACES)
def test_a_table_by_place_has_the_means_of_its_trials(name: str, made: Made) -> None:
    measured, trials = made
    groups = in_groups(name, trials)

    rows = measured.table(name)

    assert {row.key for row in rows} == groups.keys()
    for row in rows:
        assert row.trials == len(groups[row.key])
        assert row.estimate.value == pytest.approx(mean_of(groups[row.key]))


def test_the_worst_sites_are_the_sites_with_the_highest_means(made: Made) -> None:
    measured, trials = made
    means = {key: mean_of(own) for key, own in in_groups("site", trials).items()}

    rows = measured.table("worst")

    assert [row.key for row in rows] == sorted(means, key=lambda key: -means[key])


def test_inputs_and_classes_average_to_the_whole(made: Made) -> None:
    measured, _ = made

    for name, parts in (("input", INPUTS), ("class", 3)):
        rows = measured.table(name)

        # Classes are of one size, so that each counts as much as the others.
        assert len(rows) == parts
        mean = sum(row.estimate.value for row in rows) / parts
        assert mean == pytest.approx(measured.pvf.value)


def test_machines_get_every_table_with_what_its_intervals_mean(made: Made) -> None:
    measured, _ = made
    names = [name for name in TABLES if name != "changed"]

    record = json.loads(json.dumps(measured.as_record(names)))

    assert list(record) == ["summary", "run", "pvf", *names, "worst_within"]
    for name in names:
        rows = measured.table(name)
        assert len(record[name]) == len(rows) > 0
        for told, row in zip(record[name], rows, strict=True):
            assert told["key"] == list(row.key)
            assert told["kind"] in ("census", "exact", "guaranteed")
            assert told["confidence"] == 0.95
            assert told["about"] == row.estimate.about
            assert told["low"] <= told["value"] <= told["high"]
            assert (told["faults"], told["trials"]) == (row.faults, row.trials)


def test_machines_get_a_few_tables_unless_they_choose(made: Made) -> None:
    record = made[0].as_record()

    assert list(record)[3:] == ["outcomes", "component", "site", "bit", "role"]
    assert list(made[0].as_record(["bit"]))[3:] == ["bit"]


@pytest.mark.parametrize(
    ("name", "model", "labelled", "words"),
    [
        ("sitez", {"name": "flip"}, True, "one of network, .* got 'sitez'; near it: s"),
        ("xyzzy", {"name": "flip"}, True, "one of network, .* changed, got 'xyzzy'$"),
        ("", {"name": "flip"}, True, "one of network, .* changed, got ''$"),
        ("bit", {"name": "burst", "k": 2}, True, "table bit must have faults of one b"),
        ("role", {"name": "set"}, True, "got fault model set; ask for site"),
        ("class", {"name": "flip"}, False, "per input as labels, got none; give lab"),
        ("changed", {"name": "flip"}, True, "got fault model flip, which always"),
        *(
            (name, {"name": "flip", "several": {"count": 2}}, True, "one fault per tri")
            for name in ("kind", "component", "site", "worst", "channel", "bit", "role")
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_one_line(
    name: str, model: dict[str, Any], labelled: bool, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_table(name, model=model, labelled=labelled)
    assert "\n" not in str(caught.value)


def test_boxes_are_no_classes_to_make_a_table_of() -> None:
    with pytest.raises(ValueError, match="got rows such as boxes; ask for input$"):
        check_table("class", model={"name": "flip"}, labelled=False, rows=True)


def test_a_run_says_which_tables_it_has(made: Made, tmp_path: Path) -> None:
    data = a_manifest().data.model_copy(update={"labelled": False})
    manifest = a_manifest().model_copy(update={"data": data})
    make_run(tmp_path, manifest, [MadeTrial("conv.weight", 0, 0)])
    unlabelled = open_measured(tmp_path)

    assert [name for name in TABLES if not made[0].has(name)] == ["changed"]
    assert [name for name in TABLES if not unlabelled.has(name)] == ["class", "changed"]
    with pytest.raises(ValueError, match="class must have one right class per input"):
        unlabelled.table("class")
