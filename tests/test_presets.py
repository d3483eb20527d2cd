"""Plans on units that no outcome changes: importance, strata, uniform, side by side."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.stats import chisquare

from stoic.estimates.course import Portion
from stoic.estimates.preset import PresetCourse
from stoic.plans import Known, Preset, Stratum, nested, read_plan
from stoic.study import open_measured
from test_adaptive import exhaustive, measure
from test_resume import assert_refused, decisions
from test_search import SIZES, shares, strata

DESIGNS = ("uniform", "stratified", "importance")
# One of ten is proved to fail.
KNOWN = Known(sum(SIZES) + 20, 20, 2.0)


def lot_of(plan: Preset, seed: int = 0) -> list[tuple[int, int]]:
    return [(d.stratum, d.position) for d in plan.lot(strata(), seed).draws]


def ran(plan: Preset, seed: int, units: Any, of: Any = None) -> PresetCourse:
    of = of or strata()
    course = PresetCourse(plan, of, KNOWN, seed)
    lot = course.batch()
    assert lot is not None and course.batch() is None
    found = np.array([units[d.stratum][d.position] for d in lot.draws])
    course.learn(found, found)
    return course


def truth(units: Any) -> float:
    return (2.0 + sum(sum(own) for own in units)) / KNOWN.size


# --- what is drawn ---------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS)
def test_units_are_a_pure_function_of_the_seed(design: Any) -> None:
    plan = Preset(design, 60)

    assert lot_of(plan, 3) == lot_of(plan, 3) != lot_of(plan, 4)
    assert len(lot_of(plan)) == 60
    assert all(0 <= u < SIZES[leaf] for leaf, u in lot_of(plan))
    if design != "importance":
        assert len(set(lot_of(plan))) == 60
    assert read_plan(plan.as_record()) == plan


def odds(even: float = 0.2) -> list[float]:
    """How much likelier than uniformly each unit is: a mixture, leaf by leaf."""
    hints = [0.02 * (i + 1) for i in range(len(SIZES))]
    mean = sum(n * h**0.5 for n, h in zip(SIZES, hints, strict=True)) / sum(SIZES)
    return [even + (1 - even) * h**0.5 / mean for h in hints]


def test_importance_draws_a_mixture_of_evenly_and_by_score() -> None:
    plan = Preset("importance", 40_000)
    lot = plan.lot(strata(), 0)
    drawn = Counter(d.stratum for d in lot.draws)
    units = Counter(d.position for d in lot.draws if d.stratum == 0)

    chances = [n * o / sum(SIZES) for n, o in zip(SIZES, odds(), strict=True)]
    assert sum(chances) == pytest.approx(1)
    expected = [40_000 * chance for chance in chances]
    assert chisquare([drawn[i] for i in range(6)], expected).pvalue > 0.01
    assert chisquare([units[i] for i in range(SIZES[0])]).pvalue > 0.01
    assert lot.weight == pytest.approx([1 / odds()[d.stratum] for d in lot.draws])


def test_no_draw_speaks_for_more_units_than_the_even_part_allows() -> None:
    """Also where scores are zero but for a few."""
    of = [Stratum("most", 10**9, hint=1e-24), Stratum("few", 3, hint=1.0)]

    weight = Preset("importance", 5_000, even=0.25).lot(of, 0).weight

    assert 3.9 < weight.max() <= 4 and weight.min() < 1e-3


@pytest.mark.parametrize("trials", [12, 60, 172])
def test_strata_have_two_units_or_more_and_none_twice(trials: int) -> None:
    lot = Preset("stratified", trials).lot(strata(), 1)
    counts = np.bincount(lot.group)

    assert counts.sum() == trials and counts.min() >= 2
    assert lot.sizes == (80, 85, 7) and (counts <= lot.sizes).all()
    # What they speak for adds up to all units.
    assert lot.weight.sum() * sum(SIZES) / trials == pytest.approx(sum(SIZES))


# --- what is said of it ----------------------------------------------------


def test_every_unit_adds_its_share_to_what_importance_expects() -> None:
    """One draw, enumerated: chance times estimate, summed over all units."""
    units, total = shares(), 0.0
    for leaf, size in enumerate(SIZES):
        chance = odds()[leaf] / sum(SIZES)
        for unit in range(size):
            of = Preset("importance", 1)
            seed = next(s for s in range(99) if lot_of(of, s)[0][0] == leaf)
            course = PresetCourse(of, strata(), KNOWN, seed)
            share = np.array([units[leaf][unit] / 20])
            course.learn(share, share)
            total += chance * course.estimate(guaranteed=False).value

    small = (2.0 + sum(map(sum, units)) / 20) / KNOWN.size
    assert total == pytest.approx(small)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_mean_of_many_campaigns_is_the_truth(design: Any) -> None:
    units = shares()
    values = [
        ran(Preset(design, 40, guaranteed=False), seed, units)
        .estimate(guaranteed=False)
        .value
        for seed in range(400)
    ]

    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values) - truth(units)) < 3.5 * error


def hidden() -> list[list[float]]:
    """Failures only where scores are lowest."""
    return [[1.0] * 4 + [0.0] * (SIZES[0] - 4), *([0.0] * size for size in SIZES[1:])]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("units", [shares(), hidden()], ids=["usual", "hidden"])
def test_guaranteed_intervals_hold_whatever_scores_say(design: Any, units: Any) -> None:
    missed = 0
    for seed in range(60):
        own = ran(Preset(design, 50), seed, units).estimate(guaranteed=True)
        missed += not own.low <= truth(units) <= own.high
        assert own.kind in ("exact", "guaranteed")
    assert missed <= 6


@pytest.mark.parametrize("design", DESIGNS)
def test_approximate_intervals_hold_about_as_often_as_they_say(design: Any) -> None:
    units, missed = shares(), 0
    for seed in range(300):
        course = ran(Preset(design, 60, guaranteed=False), seed, units)
        own = course.estimate(guaranteed=False)
        missed += not own.low <= truth(units) <= own.high
        assert own.kind == "approximate"
    assert missed <= 24


def test_an_approximate_interval_without_a_failure_is_not_empty() -> None:
    zeros = [[0.0] * size for size in SIZES]

    own = ran(Preset("importance", 50), 0, zeros).estimate(guaranteed=False)

    assert own.low == own.value == pytest.approx(2 / KNOWN.size)
    assert own.high > own.value + 0.01


def test_importance_knows_nothing_of_a_group_without_a_draw() -> None:
    """Nor does it take draws that all failed for all units."""
    of = [Stratum("often", 1000, hint=0.5), Stratum("never", 3, hint=1e-9)]
    course = PresetCourse(Preset("importance", 50, False), of, Known(1003), 0)
    assert course.batch() is not None and not course.drawn.any()
    ones = np.ones(50)
    course.learn(ones, ones)

    group = np.array([False, True])
    *ends, kind = course.part(
        Portion(group, 3, 0.0, ones, ones), 0.95, guaranteed=False
    )
    assert kind == "guaranteed"
    assert ends == pytest.approx([0.0, 0.0, 3 / 1003])
    whole = course.estimate(guaranteed=False)
    assert whole.kind == "guaranteed" and whole.low < 0.999 < whole.high


def test_importance_is_not_certain_where_chance_drew_a_group_too_often() -> None:
    """All of its draws failed, and they speak for more units than it has."""
    of = [Stratum(name, 500, hint=0.5) for name in "ab"]
    ones = np.ones(100)
    group = np.array([True, False])
    sure = 0
    for seed in range(40):
        course = PresetCourse(Preset("importance", 100, False), of, Known(1000), seed)
        assert course.batch() is not None
        course.learn(ones, ones)
        found = course.part(
            Portion(group, 500, 0.0, ones, ones), 0.95, guaranteed=False
        )
        assert found[3] != "census"
        sure += found[3] == "guaranteed"
    assert sure > 0


def test_scores_that_tell_make_importance_narrower_than_uniform() -> None:
    sizes, hints = (9_000, 900, 100), (1e-6, 1e-3, 0.5)
    of = nested(
        [Stratum(f"{h}", n, hint=h) for n, h in zip(sizes, hints, strict=True)],
        [(h,) for h in hints],
    )
    known = Known(10_000)
    units = [[0.0] * 9_000, [0.0] * 899 + [1.0], [0.0, 1.0] * 50]
    width = {}
    design: Any
    for design in DESIGNS:
        course = PresetCourse(Preset(design, 500, False), of, known, 0)
        lot = course.batch()
        assert lot is not None
        found = np.array([units[d.stratum][d.position] for d in lot.draws])
        course.learn(found, found)
        own = course.estimate(guaranteed=False)
        width[design] = own.high - own.low
    assert max(width["importance"], width["stratified"]) < width["uniform"]


# --- campaigns -------------------------------------------------------------


def campaign(out: Path | str | None = None, **changes: Any) -> Any:
    """Of few trials, in small shards."""
    given = {"half_width": None, "plan": "importance", "faults": 160, "shard": 16}
    return measure(out, **{**given, **changes})


@pytest.mark.parametrize("design", DESIGNS)
def test_the_truth_of_nearly_every_row_is_in_its_interval(design: Any) -> None:
    """At 95 % each."""
    found, missed = campaign(plan=design, faults=600, shard=1024), 0

    for name in ("network", "site", "component", "bit", "role"):
        own = {row.key: row for row in found.table(name)}
        for row in exhaustive().table(name):
            low, high = own[row.key].estimate.low, own[row.key].estimate.high
            missed += not low - 1e-9 <= row.estimate.value <= high + 1e-9
            assert own[row.key].faults == row.faults
        assert sum(row.trials for row in own.values()) == found.pvf.n == 600
    assert missed <= 2, "of 42 rows"
    shares = {row.key[0]: row.estimate for row in found.outcomes()}
    assert sum(own.value for own in shares.values()) == pytest.approx(1, abs=0.15)


def test_a_site_without_a_trial_stands_where_proofs_put_it() -> None:
    """Nothing is known of it: the middle of 0 and 1 is no finding."""
    found = campaign(plan="uniform", faults=2, shard=64)
    rows = found.table("worst")

    worth = [row.estimate.value if row.trials else row.estimate.low for row in rows]
    assert worth == sorted(worth, reverse=True)
    assert any(not row.trials and row.estimate.value > max(worth) for row in rows)


def test_all_plans_see_the_same_units(tmp_path: Path) -> None:
    cells = []
    for name in DESIGNS:
        campaign(tmp_path / name, plan=name, bits="30", faults=40, shard=64)
    measure(tmp_path / "adaptive", bits="30", half_width=0.3)
    for name in (*DESIGNS, "adaptive"):
        file = str(tmp_path / name / "cells.parquet")
        found = duckdb.sql(f"FROM read_parquet('{file}')")
        assert found is not None
        cells.append(found.fetchall())

    assert all(own == cells[0] for own in cells)


def test_a_halted_campaign_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    done = campaign(whole)
    shutil.copytree(whole, halted)
    for shard in sorted((halted / "shards").iterdir())[3:]:
        shutil.rmtree(shard)

    part = open_measured(halted).pvf
    assert part.n == 48 and part.low <= done.pvf.value <= part.high
    campaign(halted)
    assert decisions(halted) == decisions(whole)
    assert open_measured(halted).pvf == done.pvf
    others: tuple[tuple[dict[str, Any], str], ...] = (
        ({"plan": "uniform"}, "plan.design"),
        ({"faults": 161}, "plan.trials"),
        ({"interval": "approximate"}, "plan.guaranteed"),
    )
    for changes, named in others:
        assert_refused(partial(campaign, halted, **changes), named, halted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"design": "spread"}, "plan must be one of uniform, stratified, importance"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"even": 0.0}, "even part must be above 0 and at most 1, got 0.0"),
        ({"per_trial": 0}, "per_trial must be at least 1, got 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preset(**{"design": "uniform", "trials": 9, **given})


@pytest.mark.parametrize("design", DESIGNS[:2])
def test_more_units_than_there_are_cannot_be_drawn(design: Any) -> None:
    with pytest.raises(ValueError, match="at most 172, as many units are not proved"):
        Preset(design, 173).outlook(strata(), KNOWN)
