"""Tables against a slow recount of the trials as a test wrote them down."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binomtest
from scipy.stats import t as student_t

from made_runs import SITES, MadeTrial, a_manifest, a_site, make_run
from stoic.estimates import (
    OUTCOMES,
    Estimate,
    Row,
    outcome_shares,
    per_class,
    per_input,
    pvf,
    summary,
    worst_sites,
)
from stoic.plans import Exhaustive, Stratified, Stratum, Uniform
from stoic.records import Run, SiteRecord, SpaceRecord, StratumRecord, bit_role
from test_estimates_clusters import expected as definition

INPUTS = 6
GOLDEN = [i % 3 for i in range(INPUTS)]


def faults_of(sites: Iterable[SiteRecord]) -> list[tuple[SiteRecord, int, int]]:
    """Every fault of a space: site, element, bit."""
    return [
        (site, element, bit)
        for site in sites
        for element in range(site.elements)
        for bit in range(site.bits)
    ]


def a_trial(
    rng: np.random.Generator, site: SiteRecord, element: int, bit: int, **more: Any
) -> MadeTrial:
    """Half of the trials are masked; a few crash or stay unknown."""
    status = rng.choice(["done", "crash", "unknown"], p=[0.9, 0.05, 0.05])
    kinds = rng.choice(5, INPUTS, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    if rng.random() < 0.5 or status != "done":
        kinds[:] = 0
    fails, differs, bad, untold = (
        [int(i) for i in np.flatnonzero(kinds == k)] for k in (1, 2, 3, 4)
    )
    return MadeTrial(
        site.name,
        element,
        bit,
        failed=fails + bad[:1],
        differs=differs,
        nonfinite=bad,
        untold=untold,
        status=str(status),
        **more,
    )


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[MadeTrial]]:
    """60 of 224 faults, drawn uniformly."""
    rng = np.random.default_rng(0)
    space = faults_of(SITES)
    draws = Uniform(60).draws([Stratum("all", len(space))], seed=0)
    trials = [a_trial(rng, *space[draw.position]) for draw in draws]
    return make_run(tmp_path_factory.mktemp("run"), a_manifest(), trials), trials


def share(trial: MadeTrial) -> tuple[float, float]:
    """The least and the largest share of inputs that may have failed."""
    if trial.status == "unknown":
        return 0.0, 1.0
    failed = 1.0 if trial.status == "crash" else len(trial.failed) / INPUTS
    return failed, failed


def mean_of(trials: Iterable[MadeTrial]) -> float:
    known = [share(t)[0] for t in trials if t.status != "unknown"]
    return sum(known) / len(known) if known else 0.5


def key_of(name: str, site: SiteRecord, element: int, bit: int) -> tuple[Any, ...]:
    match name:
        case "network":
            return ("tiny",)
        case "stratum":
            return ("all",)
        case "channel":
            if not site.channels:
                return ()
            return (site.name, element // (site.elements // site.channels))
        case "bit":
            return (bit,)
        case "role":
            return (bit_role(site.dtype, bit),)
        case "kind":
            return (site.kind,)
        case "component":
            return (site.component,)
    return (site.name,)


GROUPINGS = (
    ("network",),
    ("stratum",),
    ("kind",),
    ("component",),
    ("site",),
    ("channel",),
    ("bit",),
    ("role",),
    ("site", "bit"),
    ("component", "role"),
    ("role", "channel"),
)


@pytest.mark.parametrize("by", GROUPINGS, ids="-".join)
def test_groups_are_recounted(by: Any, uniform: tuple[Run, list[MadeTrial]]) -> None:
    run, trials = uniform
    site = {s.name: s for s in SITES}

    def key(where: SiteRecord, element: int, bit: int) -> tuple[Any, ...]:
        parts = [key_of(name, where, element, bit) for name in by]
        return sum(parts, ()) if all(parts) else ()

    members: dict[Any, list[MadeTrial]] = {}
    for trial in trials:
        members.setdefault(key(site[trial.site], trial.element, trial.bit), []).append(
            trial
        )
    members.pop((), None)
    faults = [key(*fault) for fault in faults_of(SITES)]

    rows = {row.key: row for row in pvf(run, by)}

    assert rows.keys() == members.keys()
    for name, row in rows.items():
        assert row.trials == row.estimate.n == len(members[name])
        assert row.faults == faults.count(name)
        assert row.estimate.value == pytest.approx(mean_of(members[name]))
        low = sum(share(t)[0] for t in members[name]) / row.faults
        assert row.estimate.low >= low - 1e-12


def test_one_name_is_a_grouping_by_itself(uniform: Any) -> None:
    assert pvf(uniform[0], "bit") == pvf(uniform[0], ("bit",))
    assert pvf(uniform[0]) == pvf(uniform[0], ("network",))


def test_rows_are_in_the_order_of_the_space(uniform: Any) -> None:
    sites = [row.key[0] for row in pvf(uniform[0], "site")]
    bits = [row.key[0] for row in pvf(uniform[0], "bit")]

    assert sites == [site.name for site in SITES]
    assert bits == sorted(bits)


def test_the_worst_sites_come_first(uniform: Any) -> None:
    rows = worst_sites(uniform[0], 2)

    values = sorted(
        (row.estimate.value for row in pvf(uniform[0], "site")), reverse=True
    )
    assert [row.estimate.value for row in rows] == values[:2]


def outcome_of(trial: MadeTrial, i: int) -> str:
    if trial.status != "done":
        return trial.status
    if i in trial.nonfinite:
        return "nonfinite"
    if i in trial.failed:
        return "sdc"
    if i in trial.untold:
        return "harmless"
    return "benign" if i in trial.differs else "masked"


def test_outcomes_are_recounted(uniform: tuple[Run, list[MadeTrial]]) -> None:
    run, trials = uniform
    told = [t for t in trials if t.status != "unknown"]

    rows = {str(row.key[0]): row for row in outcome_shares(run)}

    # An exact run tells masked and benign apart; only adaptive ones prove anything.
    hidden = ("harmless", "sdc_or_nonfinite", "proved to hold", "proved to fail")
    assert list(rows) == [outcome for outcome in OUTCOMES if outcome not in hidden]
    for outcome, row in rows.items():
        base = trials if outcome == "unknown" else told
        found = [outcome_of(t, i) for t in base for i in range(INPUTS)]
        assert row.estimate.value == pytest.approx(found.count(outcome) / len(found))
        assert row.faults == 224
    assert rows["sdc"].estimate.kind == "guaranteed"
    assert rows["crash"].estimate.kind == "exact"
    assert rows["unknown"].estimate.kind == "exact"


def test_sdc_and_nonfinite_are_counted_together_where_asked(
    uniform: tuple[Run, list[MadeTrial]],
) -> None:
    run, trials = uniform
    told = [t for t in trials if t.status != "unknown"]
    found = [outcome_of(t, i) for t in told for i in range(INPUTS)]
    apart = {row.label: row for row in outcome_shares(run)}

    together = {row.label: row for row in outcome_shares(run, with_nonfinite=True)}

    row = together.pop("sdc_or_nonfinite")
    expected = sum(outcome in ("sdc", "nonfinite") for outcome in found) / len(found)
    assert row.estimate.value == pytest.approx(expected)
    assert row.estimate.low <= expected <= row.estimate.high
    assert together == {k: v for k, v in apart.items() if k not in ("sdc", "nonfinite")}


def test_pvf_is_sdc_with_the_nonfinite_that_fail_and_crashes(
    uniform: tuple[Run, list[MadeTrial]],
) -> None:
    run, trials = uniform
    told = [t for t in trials if t.status != "unknown"]
    shares = {row.label: row.estimate.value for row in outcome_shares(run)}
    failing = sum(
        i in t.failed and outcome_of(t, i) == "nonfinite"
        for t in told
        for i in range(INPUTS)
    )

    whole = pvf(run)[0].estimate.value

    nonfinite = failing / len(told) / INPUTS
    assert nonfinite < shares["nonfinite"], "some must be non-finite without failing"
    assert whole == pytest.approx(shares["sdc"] + nonfinite + shares["crash"])


def test_inputs_are_recounted(uniform: tuple[Run, list[MadeTrial]]) -> None:
    run, trials = uniform
    known = [t for t in trials if t.status != "unknown"]

    rows = per_input(run)

    assert [row.key for row in rows] == [(i,) for i in range(INPUTS)]
    for i, row in enumerate(rows):
        failed = sum(t.status == "crash" or i in t.failed for t in known)
        assert row.estimate.value == pytest.approx(failed / len(known))
        assert row.estimate.kind == "exact"
        assert row.estimate.about == "1 of these 6 inputs"
    mean = sum(row.estimate.value for row in rows) / INPUTS
    assert mean == pytest.approx(pvf(run)[0].estimate.value)


def test_classes_are_recounted(uniform: tuple[Run, list[MadeTrial]]) -> None:
    run, trials = uniform
    known = [t for t in trials if t.status != "unknown"]

    rows = per_class(run)

    assert [row.key for row in rows] == [(0,), (1,), (2,)]
    for label, row in enumerate(rows):
        members = [i for i in range(INPUTS) if GOLDEN[i] == label]
        failed = sum(
            t.status == "crash" or i in t.failed for t in known for i in members
        )
        expected = failed / len(known) / len(members)
        assert row.estimate.value == pytest.approx(expected)
        assert row.estimate.kind == "guaranteed"


def judged(trial: MadeTrial, fails: Callable[[int], bool]) -> float:
    if trial.status == "crash":
        return 1.0
    return sum(fails(i) for i in range(INPUTS)) / INPUTS


@pytest.mark.parametrize("name", ["top1-changed", "top1-wrong", "top-k", "any-change"])
def test_another_criterion_is_judged_from_the_facts(
    name: str, uniform: tuple[Run, list[MadeTrial]], tmp_path: Path
) -> None:
    """Failures were recorded by a custom criterion; labels differ from golden."""
    trials = uniform[1]
    labels = [0, 1, 2, 1, 1, 0]
    manifest = a_manifest(criterion={"name": "custom"})
    run = make_run(tmp_path, manifest, trials, labels=labels)

    def changed(trial: MadeTrial, i: int) -> bool:
        return trial.status == "done" and (i in trial.failed or i in trial.nonfinite)

    verdicts: dict[str, Callable[[MadeTrial, int], bool]] = {
        "top1-changed": changed,
        "top1-wrong": lambda t, i: changed(t, i) and GOLDEN[i] == labels[i],
        "top-k": changed,
        "any-change": lambda t, i: (
            changed(t, i) or (i in t.differs and t.status == "done")
        ),
    }
    known = [t for t in trials if t.status != "unknown"]
    shares = [judged(t, lambda i, t=t: verdicts[name](t, i)) for t in known]  # type: ignore[misc]
    record = {"name": name, "k": 1} if name == "top-k" else {"name": name}

    (row,) = pvf(run, criterion=record)

    assert row.estimate.value == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize(
    ("criterion", "changes"),
    [
        ({"name": "tolerance", "absolute": 0.1}, {}),
        ({"name": "top-k", "k": 2}, {}),
        ({"name": "any-change"}, {"mode": "fast"}),
    ],
)
def test_a_criterion_that_the_facts_do_not_allow_is_refused(
    criterion: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    trials = [MadeTrial("conv.weight", 0, 0)]
    run = make_run(tmp_path, a_manifest(**changes), trials)

    with pytest.raises(ValueError, match="criterion must be the recorded .* run the"):
        pvf(run, criterion=criterion)


def test_an_exhaustive_run_has_no_width(tmp_path: Path) -> None:
    sites = SITES[1:2]
    rng = np.random.default_rng(1)
    trials = [a_trial(rng, *fault) for fault in faults_of(sites)]
    for trial in trials:
        trial.status = "done"
    run = make_run(tmp_path, a_manifest(sites, plan=Exhaustive().as_record()), trials)

    rows = [row for by in GROUPINGS for row in pvf(run, by)]  # type: ignore[arg-type]
    rows += [*outcome_shares(run), *per_input(run), *per_class(run)]

    assert {row.estimate.kind for row in rows} == {"census"}
    assert all(row.estimate.low == row.estimate.high for row in rows)
    assert pvf(run)[0].estimate.value == pytest.approx(mean_of(trials))


def test_the_first_part_of_an_exhaustive_run_is_no_sample(tmp_path: Path) -> None:
    sites = SITES[1:2]
    trials = [MadeTrial("conv.bias", 0, bit, failed=range(6)) for bit in range(8)]
    run = make_run(tmp_path, a_manifest(sites, plan=Exhaustive().as_record()), trials)

    (row,) = pvf(run)

    assert (row.estimate.low, row.estimate.high) == (8 / 32, 1.0)
    assert row.estimate.value == 1.0


STRATA = (
    StratumRecord(
        name="high", size=48, sites=["conv.weight", "conv.bias"], bits=[*range(10, 16)]
    ),
    StratumRecord(
        name="low", size=80, sites=["conv.weight", "conv.bias"], bits=[*range(10)]
    ),
    StratumRecord(name="fc", size=96, sites=["fc.weight"]),
)


def stratum_of(site: SiteRecord, bit: int) -> int:
    return 2 if site.name == "fc.weight" else int(bit < 10)


@pytest.fixture(scope="module")
def stratified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[MadeTrial]]:
    """Most trials where failures are expected."""
    rng = np.random.default_rng(2)
    parts: list[Any] = [[], [], []]
    for fault in faults_of(SITES):
        parts[stratum_of(fault[0], fault[2])].append(fault)
    plan = Stratified({"high": 30, "low": 10, "fc": 20})
    strata = [Stratum(s.name, s.size) for s in STRATA]
    trials = [
        a_trial(rng, *parts[d.stratum][d.position], stratum=d.stratum)
        for d in plan.draws(strata, seed=0)
    ]
    manifest = a_manifest(plan=plan.as_record(), strata=STRATA)
    return make_run(tmp_path_factory.mktemp("run"), manifest, trials), trials


@pytest.mark.parametrize("by", ["network", "site", "bit", "component", "stratum"])
def test_strata_are_weighed_by_their_size(by: str, stratified: Any) -> None:
    run, trials = stratified

    def key(site: SiteRecord, element: int, bit: int) -> tuple[Any, ...]:
        if by == "stratum":
            return (STRATA[stratum_of(site, bit)].name,)
        return key_of(by, site, element, bit)

    site = {s.name: s for s in SITES}
    sizes: dict[Any, list[int]] = {}
    for fault in faults_of(SITES):
        own = sizes.setdefault(key(*fault), [0, 0, 0])
        own[stratum_of(fault[0], fault[2])] += 1
    for row in pvf(run, by):  # type: ignore[arg-type]
        members = [t for t in trials if key(site[t.site], t.element, t.bit) == row.key]
        weights = [
            (size, mean_of(t for t in members if t.stratum == h))
            for h, size in enumerate(sizes[row.key])
            if any(t.stratum == h for t in members)
        ]
        expected = sum(w * m for w, m in weights) / sum(w for w, _ in weights)
        assert row.faults == sum(sizes[row.key])
        assert row.estimate.value == pytest.approx(expected)
        assert row.estimate.low <= expected <= row.estimate.high
        assert row.estimate.kind in ("guaranteed", "census")


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[MadeTrial]]:
    """A plan that draws from two of three strata, all of one of these."""
    rng = np.random.default_rng(7)
    parts: list[Any] = [[], [], []]
    for fault in faults_of(SITES):
        parts[stratum_of(fault[0], fault[2])].append(fault)
    plan = Stratified({"high": 48, "low": 20, "fc": 0})
    strata = [Stratum(s.name, s.size) for s in STRATA]
    trials = [
        a_trial(rng, *parts[d.stratum][d.position], stratum=d.stratum)
        for d in plan.draws(strata, seed=0)
    ]
    manifest = a_manifest(plan=plan.as_record(), strata=STRATA)
    return make_run(tmp_path_factory.mktemp("run"), manifest, trials), trials


def test_a_stratum_left_out_is_in_the_interval_and_not_in_the_value(
    left_out: tuple[Run, list[MadeTrial]],
) -> None:
    run, trials = left_out
    high = [t for t in trials if t.stratum == 0]
    low = [t for t in trials if t.stratum == 1]
    rows = {row.label: row.estimate for row in pvf(run, "stratum")}

    (whole,) = pvf(run)

    # 48 and 80 of 224 faults, and 96 of which nothing is known.
    value = (48 * mean_of(high) + 80 * mean_of(low)) / 128
    least = sum(share(t)[0] for t in high)
    most = sum(share(t)[1] for t in high)
    assert rows.keys() == {"high", "low"}
    assert whole.estimate.value == pytest.approx(value)
    assert whole.estimate.low == pytest.approx((least + 80 * rows["low"].low) / 224)
    assert whole.estimate.high == pytest.approx(
        (most + 80 * rows["low"].high + 96) / 224
    )
    assert whole.faults == 224
    # By site, the stratum left out is a site of its own: it has no row.
    assert [row.label for row in pvf(run, "site")] == ["conv.weight", "conv.bias"]
    # By kind, all of them: the same bounds as for the whole.
    assert pvf(run, "kind")[0].estimate == whole.estimate


def test_shares_of_outcomes_allow_for_a_stratum_left_out(left_out: Any) -> None:
    run, _ = left_out

    rows = outcome_shares(run)

    assert sum(row.estimate.value for row in rows if row.label != "unknown") <= 1.001
    assert all(row.estimate.high >= row.estimate.low + 96 / 224 for row in rows)


def test_a_sentence_says_what_was_left_out(left_out: Any) -> None:
    (row,) = pvf(left_out[0])

    assert summary(left_out[0].manifest, row.estimate).endswith(
        "; 68 faults drawn from 3 strata of 224 faults, none from 1 of them with "
        "42.9 % of the faults: these are unknown, the value is that of the others and "
        "the interval allows for both."
    )


def again_run(path: Path, trials: int, *, one_input: bool) -> tuple[Run, Any]:
    """More draws with replacement than there are faults."""
    rng = np.random.default_rng(9)
    site = a_site("conv:out", 2, channels=2, inputs=INPUTS * one_input)
    site = site.model_copy(update={"faults": 32 * (INPUTS if one_input else 1)})
    failing = rng.random((2, 16)) < 0.3
    plan = Uniform(trials, replacement=True)
    made = []
    for draw in plan.draws([Stratum("all", site.faults)], seed=0):
        row, rest = divmod(draw.position, 32)
        element, bit = divmod(rest, 16)
        hit = [row] if one_input else range(INPUTS)
        failed = list(hit) if failing[element, bit] else []
        made.append(
            MadeTrial(
                site.name, element, bit, failed=failed, input=row if one_input else -1
            )
        )
    return make_run(path, a_manifest([site], plan=plan.as_record()), made), made


def test_draws_with_replacement_are_those_of_an_endless_population(
    tmp_path: Path,
) -> None:
    run, trials = again_run(tmp_path, 300, one_input=True)
    failures = sum(bool(t.failed) for t in trials)

    rows = [*pvf(run), *pvf(run, interval="approximate")]

    low, high = (
        beta.ppf(0.025, failures, 301 - failures),
        beta.ppf(0.975, failures + 1, 300 - failures),
    )
    wilson = binomtest(failures, 300).proportion_ci(0.95, method="wilson")
    assert [row.estimate.value for row in rows] == pytest.approx([failures / 300] * 2)
    assert (rows[0].estimate.low, rows[0].estimate.high) == pytest.approx((low, high))
    assert (rows[1].estimate.low, rows[1].estimate.high) == pytest.approx(wilson)
    assert rows[0].estimate.kind == "exact"


def test_more_draws_than_faults_are_no_census(tmp_path: Path) -> None:
    run, trials = again_run(tmp_path, 300, one_input=False)
    shares = [share(t)[0] for t in trials]

    guaranteed, approximate = (
        pvf(run, interval=kind)[0].estimate for kind in ("guaranteed", "approximate")
    )
    tables = [row for by in ("site", "channel", "bit", "role") for row in pvf(run, by)]
    tables += [*outcome_shares(run), *per_input(run), *per_class(run)]

    half = student_t.ppf(0.975, 299) * np.std(shares, ddof=1) / math.sqrt(300)
    assert approximate.value == pytest.approx(np.mean(shares))
    assert approximate.high - approximate.value == pytest.approx(half)
    assert guaranteed.high - guaranteed.low > approximate.high - approximate.low
    assert all(row.estimate.low < row.estimate.high for row in tables)
    assert {row.estimate.kind for row in tables} == {"guaranteed", "exact"}
    assert "300 faults drawn uniformly with replacement from 32" in summary(
        run.manifest, guaranteed
    )


def test_strata_that_nobody_described_allow_no_table_by_site(tmp_path: Path) -> None:
    strata = [StratumRecord(name=name, size=112) for name in "ab"]
    plan = Stratified({"a": 1, "b": 1}).as_record()
    trials = [MadeTrial("conv.weight", 0, 0, stratum=h) for h in range(2)]
    run = make_run(tmp_path, a_manifest(plan=plan, strata=strata), trials)

    assert len(pvf(run, "stratum")) == 2
    assert pvf(run)[0].trials == 2
    with pytest.raises(ValueError, match="strata must hold every fault once .* got 2"):
        pvf(run, "site")


ACTIVATION = a_site(
    "conv:out",
    4,
    kind="activation",
    component="conv",
    shape=[2, 2],
    channels=2,
    faults=4 * 16 * INPUTS,
    inputs=INPUTS,
)


def one_input_run(path: Path, trials: int) -> tuple[Run, list[MadeTrial]]:
    rng = np.random.default_rng(3)
    places = list(itertools.product(range(INPUTS), range(4), range(16)))
    draws = Uniform(trials).draws([Stratum("all", len(places))], seed=0)
    made = []
    for draw in draws:
        row, element, bit = places[draw.position]
        failed = [row] if rng.random() < 0.3 else []
        made.append(MadeTrial("conv:out", element, bit, failed=failed, input=row))
    plan = Uniform(trials).as_record()
    return make_run(path, a_manifest([ACTIVATION], plan=plan), made), made


def test_a_fault_in_one_input_is_a_coin(tmp_path: Path) -> None:
    run, trials = one_input_run(tmp_path, 100)

    (row,) = pvf(run)

    assert row.estimate.kind == "exact"
    assert row.estimate.value == sum(bool(t.failed) for t in trials) / 100
    assert row.faults == 384
    assert {r.estimate.kind for r in pvf(run, "channel")} == {"exact"}


def test_inputs_share_the_faults_that_reach_one_of_them(tmp_path: Path) -> None:
    run, trials = one_input_run(tmp_path, 100)

    for row in per_input(run):
        own = [t for t in trials if t.input == row.key[0]]
        assert (row.faults, row.trials) == (64, len(own))
        assert row.estimate.value == sum(bool(t.failed) for t in own) / len(own)
        assert row.estimate.kind == "exact"
    for row in per_class(run):
        own = [t for t in trials if GOLDEN[t.input] == row.key[0]]
        assert (row.faults, row.trials) == (128, len(own))
        assert row.estimate.value == sum(bool(t.failed) for t in own) / len(own)


def test_several_faults_per_trial_allow_no_table_by_site(tmp_path: Path) -> None:
    trials = [MadeTrial("conv.weight", 0, 0, failed=[1], more_faults=2)]
    run = make_run(tmp_path, a_manifest(), trials)

    assert pvf(run)[0].estimate.value == 1 / 6
    assert len(per_input(run)) == INPUTS
    with pytest.raises(ValueError, match="one fault per trial, got 3 in trial 0"):
        pvf(run, "site")


def test_faults_of_several_bits_allow_no_table_by_bit(tmp_path: Path) -> None:
    manifest = a_manifest()
    space = manifest.space.model_dump() | {
        "fault_model": {"name": "multi-flip", "k": 2}
    }
    manifest = manifest.model_copy(update={"space": SpaceRecord(**space)})
    run = make_run(tmp_path, manifest, [MadeTrial("conv.weight", 0, 0)])

    assert len(pvf(run, "site")) == 1
    for by in ("bit", "role"):
        with pytest.raises(
            ValueError, match="tables by bit must have faults of one bit"
        ):
            pvf(run, by)


def test_a_run_without_trials_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, a_manifest(), [])

    for table in (pvf, worst_sites, outcome_shares, per_input):
        with pytest.raises(ValueError, match="at least 1 trial, got 0"):
            table(run)


def test_classes_need_labels(tmp_path: Path) -> None:
    manifest = a_manifest()
    data = manifest.data.model_copy(update={"labelled": False})
    run = make_run(tmp_path, manifest.model_copy(update={"data": data}), [])

    with pytest.raises(ValueError, match="inputs must have labels"):
        per_class(run)


def population_run(path: Path, sources: int) -> tuple[Run, list[MadeTrial]]:
    inputs = 2 * sources
    rng = np.random.default_rng(4)
    space = faults_of(SITES)
    trials = []
    for draw in Uniform(60).draws([Stratum("all", len(space))], seed=0):
        site, element, bit = space[draw.position]
        failed = [int(i) for i in np.flatnonzero(rng.random(inputs) < 0.2)]
        failed = failed if rng.random() < 0.4 else []
        trials.append(MadeTrial(site.name, element, bit, failed=failed))
    clusters = [100 + i // 2 for i in range(inputs)]
    run = make_run(path, a_manifest(inputs=inputs), trials, clusters=clusters)
    return run, trials


def test_a_population_is_wider_than_these_inputs(tmp_path: Path) -> None:
    run, trials = population_run(tmp_path, 32)

    (row,) = pvf(run, about="population")
    (fixed,) = pvf(run, interval="approximate")

    assert row.estimate.value == pytest.approx(
        np.mean([len(t.failed) / 64 for t in trials])
    )
    assert row.estimate.kind == "approximate"
    assert row.estimate.high > fixed.estimate.high
    assert row.estimate.about == "inputs like these, of 32 clusters"
    assert len(pvf(run, "site", about="population")) == 3


def mixed_run(path: Path, mode: str) -> tuple[Run, list[MadeTrial]]:
    """Every outcome there is, 32 sources with 2 inputs each."""
    rng = np.random.default_rng(8)
    space = faults_of(SITES)
    trials = []
    for draw in Uniform(60).draws([Stratum("all", len(space))], seed=0):
        site, element, bit = space[draw.position]
        kinds = rng.choice(5, 64, p=[0.6, 0.1, 0.1, 0.1, 0.1])
        status = str(rng.choice(["done", "crash", "unknown"], p=[0.85, 0.1, 0.05]))
        kinds = kinds if status == "done" and rng.random() < 0.7 else kinds * 0
        fails, differs, bad, untold = (np.flatnonzero(kinds == k) for k in range(1, 5))
        trials.append(
            MadeTrial(
                site.name,
                element,
                bit,
                failed=[int(i) for i in fails],
                differs=[int(i) for i in differs],
                nonfinite=[int(i) for i in bad],
                untold=[int(i) for i in untold] if mode == "fast" else [],
                status=status,
                exact=mode == "exact" or bool(rng.random() < 0.5),
            )
        )
    clusters = [100 + i // 2 for i in range(64)]
    manifest = a_manifest(inputs=64, mode=mode)
    return make_run(path, manifest, trials, clusters=clusters), trials


def shares_by_source(trials: list[MadeTrial], names: tuple[str, ...]) -> Any:
    """By trial and source: inputs that had one of some outcomes, of all inputs."""

    def had(trial: MadeTrial, i: int) -> bool:
        outcome = outcome_of(trial, i)
        masked = outcome == "masked" and not trial.exact
        return ("harmless" if masked else outcome) in names

    return np.array(
        [
            [had(t, 2 * c) / 64 + had(t, 2 * c + 1) / 64 for c in range(32)]
            for t in trials
        ]
    )


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_outcomes_of_a_population_fit_the_definition(mode: str, tmp_path: Path) -> None:
    run, trials = mixed_run(tmp_path, mode)
    reach = np.full((60, 32), 1 / 32)
    told = [t for t in trials if t.status != "unknown"]
    drawn = 60 / 224

    for together in (False, True):
        rows = outcome_shares(run, about="population", with_nonfinite=together)

        for row in rows:
            names = ("sdc", "nonfinite") if "_or_" in row.label else (row.label,)
            base = trials if row.label == "unknown" else told
            value = shares_by_source(base, names).sum() / len(base)
            least = shares_by_source(trials, names)
            most = shares_by_source(trials, (*names, "unknown"))
            low, below = definition(least, reach, drawn)
            high, above = definition(most, reach, drawn)
            assert row.estimate.about == "inputs like these, of 32 clusters"
            assert row.estimate.kind == "approximate"
            assert row.estimate.value == pytest.approx(value)
            assert row.estimate.low == pytest.approx(max(0, low - below))
            assert row.estimate.high == pytest.approx(min(1, high + above))
        labels = [row.label for row in rows]
        assert ("harmless" in labels) == (mode == "fast")
        assert ("sdc" in labels) != together


def test_what_estimates_are_about_is_one_of_two(uniform: Any) -> None:
    for table in (pvf, outcome_shares, worst_sites):
        with pytest.raises(ValueError, match="inputs or population, got 'faults'"):
            table(uniform[0], about="faults")  # type: ignore[arg-type]


def test_a_population_needs_clusters_and_a_plain_sample(tmp_path: Path) -> None:
    run, _ = population_run(tmp_path / "few", 29)

    with pytest.raises(ValueError, match="at least 30 clusters .* got 29"):
        pvf(run, about="population")
    with pytest.raises(ValueError, match="at least 30 clusters .* got 29"):
        outcome_shares(run, about="population")
    strata = stratified_run(tmp_path / "strata", inputs=30)
    with pytest.raises(ValueError, match="by all trials, got strata, 2 of them"):
        pvf(strata, about="population")
    part = make_run(
        tmp_path / "part",
        a_manifest(inputs=30, plan=Exhaustive().as_record()),
        [MadeTrial("conv.weight", 0, 0)],
    )
    with pytest.raises(ValueError, match="got the first 1 of an exhaustive plan"):
        pvf(part, about="population")


def stratified_run(path: Path, inputs: int) -> Run:
    strata = [StratumRecord(name=name, size=112) for name in "ab"]
    plan = Stratified({"a": 1, "b": 1}).as_record()
    trials = [MadeTrial("conv.weight", 0, 0, stratum=h) for h in range(2)]
    return make_run(path, a_manifest(inputs=inputs, plan=plan, strata=strata), trials)


def test_a_run_reads_as_one_sentence(uniform: Any, stratified: Any) -> None:
    for (run, _), how in (
        (uniform, "60 faults drawn uniformly from 224."),
        (stratified, "60 faults drawn from 3 strata of 224 faults."),
    ):
        (row,) = pvf(run)

        text = summary(run.manifest, row.estimate)

        assert text == (
            f"PVF {row.estimate} for single-bit flips in 3 sites (parameters) of tiny, "
            f"over these 6 inputs; {how}"
        )


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"name": "flip", "bits": "exponent"}, "single-bit flips (bits exponent) in"),
        ({"name": "burst", "k": 2}, "flips of 2 neighbouring bits in"),
        ({"name": "stuck-at", "level": 1}, "bits stuck at 1 in"),
        ({"name": "new"}, "new faults in"),
        (
            {"name": "flip", "several": {"count": 3, "rate": None}},
            "single-bit flips, 3 at a time, in",
        ),
        (
            {"name": "flip", "several": {"count": None, "rate": 1e-6}},
            "single-bit flips at a rate of 1e-06 in",
        ),
    ],
)
def test_a_sentence_names_the_fault_model(model: dict[str, Any], text: str) -> None:
    space = a_manifest().space.model_copy(update={"fault_model": model})
    manifest = a_manifest().model_copy(update={"space": space})
    estimate = Estimate(0.5, 0.4, 0.6, 9, 0.95, "guaranteed", "these 6 inputs")

    sentence = summary(manifest, estimate)

    assert f"for {text} 3 sites (parameters) of tiny, over these 6" in sentence
    assert ("drawn anew" in sentence) == ("several" in model)


def test_a_sentence_about_all_faults_needs_no_how() -> None:
    estimate = Estimate(0.5, 0.5, 0.5, 224, 0.95, "census", "these 6 inputs")

    assert summary(a_manifest(), estimate).endswith("of tiny, over these 6 inputs.")


def test_a_row_has_a_label() -> None:
    row = Row(("conv", 3), None, 1, 1)  # type: ignore[arg-type]

    assert row.label == "conv / 3"


def test_tables_need_no_torch(uniform: Any) -> None:
    code = (
        "import sys; from stoic.estimates import pvf;"
        "from stoic.records import open_run;"
        "print(pvf(open_run(sys.argv[1]), 'site')[0].label, 'torch' in sys.modules)"
    )

    told = subprocess.run(
        [sys.executable, "-c", code, str(uniform[0].path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ).stdout

    assert told == "conv.weight False\n"
