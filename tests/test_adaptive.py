"""Campaigns that go on until enough is known: trials, folder, tables and command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brute import Network, assert_true, capture_once, recorded
from stoic import settings
from stoic.campaign.facts import Judge
from stoic.campaign.looking import looked_at
from stoic.campaign.trials import Bay
from stoic.campaign.verify import VerifyError
from stoic.cli.commands import main
from stoic.criteria import Custom, Top1Changed
from stoic.estimates import TABLES
from stoic.estimates import pvf as tabled
from stoic.estimates.course import Course
from stoic.faults.models import MultiFlip, RandomWord, StuckAt
from stoic.faults.space import fault_space
from stoic.network.patch import same_words
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.plans import Adaptive
from stoic.records import RunError, open_run
from stoic.records.files import write_sums
from stoic.study import Measured, open_measured, pvf
from test_criteria import top1_changed
from test_resume import assert_refused, decisions

INPUTS = 6


def quick_pilot(patch: pytest.MonkeyPatch) -> None:
    """Pilots of 60 trials in place of 400: tiny networks have few units."""
    patch.setattr(settings, "Adaptive", partial(Adaptive, pilot=60))


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        capture_once(patch)
        quick_pilot(patch)
        yield


@cache
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


@cache
def normed() -> nn.Module:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
    )
    network[1].get_buffer("running_mean").normal_()
    network[1].get_buffer("running_var").uniform_(0.5, 2)
    return network.eval()


def points() -> Tensor:
    # Large ones, so that some faults overflow.
    return 8 * torch.randn(INPUTS, 2, generator=torch.Generator().manual_seed(2))


def measure(out: Path | str | None = None, of: Any = None, **changes: Any) -> Measured:
    """Without a graph by default: to prove on noise how steps compute takes longest."""
    given = {"half_width": 0.06, "shard": 64, "seed": 5, "captured": False}
    return pvf(of or network(), points(), out=out, **{**given, **changes})


def in_parts(out: Path | str, **changes: Any) -> Measured:
    """The campaign that is halted and gone on with: in small shards."""
    return measure(out, **{"half_width": 0.1, "shard": 16, **changes})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    in_parts(out)
    return out


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A run of which proofs say the most."""
    out = tmp_path_factory.mktemp("runs") / "proved"
    return measure(out, captured=True, seed=1, half_width=0.02)


# --- trials ----------------------------------------------------------------

OF_BUFFERS = {"of": normed(), "kinds": ("parameter", "buffer")}
IN_VALUES = {"kinds": ("activation", "input"), "half_width": 0.1}


@pytest.mark.parametrize(
    ("mode", "captured", "batch", "changes"),
    [
        ("exact", True, 1, {}),
        ("fast", True, 2, {"inputs_per_fault": 2}),
        ("exact", False, INPUTS, {"inputs_per_fault": INPUTS, "half_width": 0.1}),
        ("exact", True, 2, {**OF_BUFFERS, "inputs_per_fault": 2}),
        ("fast", True, 1, OF_BUFFERS),
        ("exact", True, 1, IN_VALUES),
        ("fast", False, 3, {**IN_VALUES, "inputs_per_fault": 3}),
        ("exact", False, 2, {**IN_VALUES, "inputs_per_fault": 2, "scope": "batch"}),
        ("exact", True, 1, {"model": StuckAt(1)}),
        ("exact", False, 1, {"model": RandomWord(), "half_width": 0.2}),
        ("fast", False, 1, {"model": MultiFlip(2), "relative": 0.9}),
    ],
    ids=str,
)
def test_every_fact_is_that_of_a_changed_copy(
    mode: Any, captured: bool, batch: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    measured = measure(
        tmp_path / "run", mode=mode, captured=captured, verify=20, **changes
    )

    of = Network(changes.get("of", network()), (points(),), batch)
    trials = recorded(measured.path)
    failures = assert_true(
        measured.path,
        of,
        top1_changed,
        exact=mode == "exact",
        top_k=3,
        # The pilot, and what came after it.
        trials=trials[:30] + trials[-30:],
    )
    assert failures > 0
    hit = {
        (trial.first, f["site"], f["element"], f["input"], f["bit"], f["new"])
        for trial in trials
        for f in trial.faults
    }
    assert len(hit) == len(trials) > 60, "no unit is tried twice"
    whole = measured.pvf
    half = (whole.high - whole.low) / 2
    relative = changes.get("relative", 0.0) * whole.value
    assert half <= max(changes.get("half_width", 0.06), relative)


@cache
def exhaustive() -> Measured:
    """The truth, from one input at a time."""
    return pvf(network(), points(), faults=None, batch=1, captured=False)


def test_intervals_hold_the_truth_for_twenty_seeds() -> None:
    """Of the plan on this network's units; what comes of them is looked up."""
    truth = exhaustive()
    with truth.run.connection() as connection:
        rows = connection.execute(
            "SELECT site, element, bit, o.input FROM outcomes o JOIN faults f "
            "USING (trial) WHERE failed"
        ).fetchall()
    failed = set(rows)
    inputs = Inputs((points(),), {})
    subject = prepare(network(), inputs)
    bay = Bay(subject, inputs, None, 1, Judge(Top1Changed(), None))
    sites = [site for site in subject.sites if site.kind == "parameter"]
    population = looked_at(bay, fault_space(sites, inputs=INPUTS))
    half_width, trials = 0.01, set()

    for seed in range(20):
        plan = Adaptive(half_width, guaranteed=True, pilot=60)
        course = Course(plan, population.strata(), population.known, seed)
        while (batch := course.batch()) is not None:
            units = population.units([(d.stratum, d.position) for d in batch.draws])
            faults = [(u.fault.site.name, u.fault, u.row) for u in units]
            places = [(n, f.element, f.corruption.bit, row) for n, f, row in faults]
            share = np.array([float(place in failed) for place in places])
            course.learn(share, share)
        whole = course.estimate(guaranteed=True)
        trials.add(whole.n)
        assert whole.low <= truth.pvf.value <= whole.high, seed
        assert (whole.high - whole.low) / 2 <= half_width
    assert truth.pvf.kind == "census" and len(failed) > 50
    assert len(trials) > 1, "other seeds are other campaigns"


def test_the_truth_of_every_row_is_in_its_interval(proved: Measured) -> None:
    """At 95 % each: a few of all rows may be missed, and this seed misses none."""
    truth = exhaustive()

    for name in ("network", "site", "component", "bit", "role"):
        own = {row.key: row.estimate for row in proved.table(name)}
        for row in truth.table(name):
            estimate = own.pop(row.key)
            assert estimate.low - 1e-9 <= row.estimate.value <= estimate.high + 1e-9
        assert not own


def test_a_campaign_through_every_unit_is_a_census() -> None:
    """Of one tensor: what is proved and what was tried make the truth."""
    truth = pvf(
        network(), points(), sites="0.bias", faults=None, batch=1, captured=False
    )

    found = measure(sites="0.bias", half_width=1e-4, captured=True)

    assert found.pvf.kind == "census" and 0 < found.pvf.n < 6 * 32 * INPUTS
    assert found.pvf.value == pytest.approx(truth.pvf.value)
    for name in ("site", "bit", "role"):
        shares = {row.key: row.estimate.value for row in found.table(name)}
        assert shares == pytest.approx(
            {row.key: row.estimate.value for row in truth.table(name)}
        )
        faults = {row.key: row.faults for row in found.table(name)}
        assert faults == {row.key: row.faults for row in truth.table(name)}


def test_what_is_proved_altogether_needs_no_trial(tmp_path: Path) -> None:
    truth = pvf(
        network(), points(), faults=None, sites="2.bias", batch=1, captured=False
    )

    measured = measure(tmp_path / "run", sites="2.bias", captured=True, verify=20)

    assert measured.pvf.n == 0 and measured.pvf.kind == "census"
    assert measured.pvf.value == pytest.approx(truth.pvf.value)
    assert "proved" in measured.summary
    shares = {row.key[0]: row.estimate.value for row in measured.outcomes()}
    assert shares["proved to fail"] == pytest.approx(truth.pvf.value)
    assert sum(shares.values()) == pytest.approx(1)
    assert main(["report", str(tmp_path / "run")]) == 0


class Fragile(nn.Module):
    """Raises where a value is not finite, and takes long where one is large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x)
        if not bool(out.isfinite().all()):
            raise RuntimeError("no number")
        if float(out.abs().max()) > 1e38:
            time.sleep(0.06)
        return out


def test_crashes_fail_and_what_is_unknown_widens_the_interval(tmp_path: Path) -> None:
    """Every unit is tried: only the unknown ones are left open."""
    # Only bits that make a word large.
    given = {"of": Fragile().eval(), "bits": "30", "limit_s": 0.04}
    measured = measure(tmp_path / "run", half_width=1e-4, **given)

    status = Counter(trial.status for trial in recorded(measured.path))
    shares = {row.key[0]: row.estimate for row in measured.outcomes()}
    assert status["crash"] and status["unknown"] and status["done"]
    units = 9 * INPUTS
    assert measured.pvf.n == units
    assert measured.pvf.high - measured.pvf.low == pytest.approx(
        status["unknown"] / units
    )
    assert shares["crash"].low == pytest.approx(status["crash"] / units)
    assert shares["unknown"].low == pytest.approx(status["unknown"] / units)
    # Nothing is run again.
    assert measure(tmp_path / "run", half_width=1e-4, **given).pvf == measured.pvf


# --- the run folder --------------------------------------------------------


def test_what_the_folder_says_is_what_the_campaign_said(undisturbed: Path) -> None:
    first = open_measured(undisturbed).as_record()

    assert in_parts(undisturbed).as_record() == first
    assert first["pvf"]["high"] - first["pvf"]["low"] <= 0.2


@pytest.mark.parametrize("shards", [1, 6])
def test_a_halted_campaign_ends_as_an_undisturbed_one(
    shards: int, undisturbed: Path, tmp_path: Path
) -> None:
    """Also in the middle of a batch; and what is there tells what it can until then."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    every = sorted((out / "shards").iterdir())
    # The pilot is four shards, the last one smaller; the next batch is of four.
    assert len(every) > 8
    for shard in every[shards:]:
        shutil.rmtree(shard)

    halted, whole = open_measured(out), open_measured(undisturbed)
    assert halted.pvf.n == len(recorded(out)) == {1: 16, 6: 60 + 2 * 16}[shards]
    assert halted.pvf.low <= whole.pvf.value <= halted.pvf.high
    in_parts(out)

    assert decisions(out) == decisions(undisturbed)


def test_a_campaign_with_little_time_does_a_shard_at_a_time(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    counts = [in_parts(out, seconds=1e-9).pvf.n for _ in range(3)]
    in_parts(out)

    assert counts == [16, 32, 48]
    assert decisions(out) == decisions(undisturbed)


@pytest.mark.parametrize("gone", [0, 5])
def test_a_shard_that_was_deleted_is_run_again(
    gone: int, undisturbed: Path, tmp_path: Path
) -> None:
    """What comes after it was drawn by what came of it; nothing may be mistaken."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    shutil.rmtree(out / "shards" / f"{gone:06d}")
    kept = {f: f.stat().st_mtime_ns for f in out.glob("shards/*/*")}

    with pytest.raises(ValueError, match="the same command runs it again") as error:
        open_measured(out).outcomes()
    assert "\n" not in str(error.value)
    in_parts(out)

    assert decisions(out) == decisions(undisturbed)
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())


# Run by a process of its own, so that it can be killed at any moment.
CAMPAIGN = """
import sys, pytest, torch
import test_adaptive
torch.set_num_threads(1)
test_adaptive.quick_pilot(pytest.MonkeyPatch())
test_adaptive.in_parts(sys.argv[1])
"""


def test_a_killed_campaign_ends_as_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", CAMPAIGN, str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while len(list(out.glob("shards/*"))) < 3 and process.poll() is None:
        time.sleep(0.002)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert killed, "the campaign was too quick to be killed"
    assert decisions(out) != decisions(undisturbed)
    in_parts(out)
    assert decisions(out) == decisions(undisturbed)
    assert not list(out.glob("**/*.part*"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"half_width": 0.05}, "plan.half_width"),
        ({"relative": 0.5}, "plan.relative"),
        ({"interval": "approximate"}, "plan.guaranteed"),
        ({"inputs_per_fault": 2}, "batch"),
        ({"at_most": 900}, "plan.most"),
        ({"seed": 6}, "seed"),
        ({"criterion": "any-change"}, "criterion"),
        ({"model": StuckAt(0)}, "fault_model"),
        ({"half_width": None}, "plan"),
    ],
    ids=str,
)
def test_another_campaign_is_refused_by_name(
    changes: dict[str, Any], named: str, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)

    assert_refused(lambda: in_parts(out, **changes), named, out)


def test_an_adaptive_campaign_does_not_go_on_with_a_fixed_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    pvf(network(), points(), faults=20, out=out, shard=32, seed=5, batch=1)

    assert_refused(lambda: in_parts(out), "plan", out)


def test_a_table_of_cells_that_was_deleted_is_made_again(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    (out / "cells.parquet").unlink()

    with pytest.raises(RunError, match="delete it and run the same command") as error:
        open_measured(out)
    assert "\n" not in str(error.value)
    in_parts(out)

    before = (undisturbed / "cells.parquet").read_bytes()
    assert (out / "cells.parquet").read_bytes() == before


def test_a_damaged_table_of_cells_is_named(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    file = out / "cells.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    with pytest.raises(RunError, match=r"cells\.parquet"):
        open_measured(out)


def test_trials_that_the_plan_does_not_draw_are_refused(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    rewrite(out / "shards" / "000000", "trials", "* REPLACE (stratum + 1 AS stratum)")

    with pytest.raises(ValueError, match="that the plan draws, got others") as error:
        open_measured(out).outcomes()
    assert "\n" not in str(error.value)


def rewrite(shard: Path, table: str, select: str) -> None:
    """Rewrite a table of a shard, with sums that are right for it."""
    file = shard / f"{table}.parquet"
    other = file.with_suffix(".other")
    query = f"SELECT {select} FROM read_parquet('{file}')"
    duckdb.execute(f"COPY ({query}) TO '{other}' (FORMAT parquet)")
    other.rename(file)
    write_sums(shard, [f"{name}.parquet" for name in ("trials", "faults", "outcomes")])


@pytest.mark.parametrize(
    ("table", "select"),
    [
        ("outcomes", "* REPLACE (nextafter(score0, 0) AS score0)"),
        ("faults", "* REPLACE (xor(new, 1) AS new)"),
    ],
)
def test_a_record_that_is_not_true_is_found(
    table: str, select: str, undisturbed: Path, tmp_path: Path
) -> None:
    """In the last shard: what came of others decided what is drawn."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    rewrite(max((out / "shards").iterdir()), table, select)

    with pytest.raises(VerifyError) as error:
        in_parts(out, verify=10_000)

    assert "trial" in str(error.value) and "\n" not in str(error.value)


# --- answers ---------------------------------------------------------------


def cells_of(path: Path) -> dict[str, Any]:
    with open_run(path).connection() as connection:
        return connection.execute("FROM cells ORDER BY cell").fetchnumpy()


def test_tables_count_faults_and_trials_where_they_are(undisturbed: Path) -> None:
    measured = open_measured(undisturbed)
    drawn = Counter(t.faults[0]["site"] for t in recorded(undisturbed))
    bits = Counter(t.faults[0]["bit"] for t in recorded(undisturbed))
    sizes = {n: p.numel() * 32 for n, p in network().named_parameters()}

    assert {row.key[0]: row.faults for row in measured.table("site")} == sizes
    assert {r.key[0]: r.trials for r in measured.table("site") if r.trials} == drawn
    assert {r.key[0]: r.trials for r in measured.table("bit") if r.trials} == bits
    assert {r.faults for r in measured.table("bit")} == {sum(sizes.values()) // 32}
    assert sum(r.trials for r in measured.table("role")) == measured.pvf.n
    cells = cells_of(undisturbed)
    strata = {row.key[0]: row for row in measured.table("stratum")}
    assert strata.keys() == set(cells["bin"])
    assert sum(row.trials for row in strata.values()) == measured.pvf.n
    (kind,) = measured.table("kind")
    assert kind.key == ("parameter",) and kind.faults == sum(sizes.values())
    assert len(measured.table("component")) == 2
    worst = measured.table("worst")
    values = [row.estimate.value for row in worst]
    assert values == sorted(values, reverse=True) and len(worst) == 4


def test_nothing_is_certain_that_the_pilot_alone_has_looked_at(
    tmp_path: Path,
) -> None:
    """Its trials have no weight, so they show no variance; that is none of 0."""
    measured = measure(tmp_path / "run", interval="approximate", half_width=0.1)
    cells = cells_of(tmp_path / "run")
    rows = [*measured.table("stratum"), *measured.table("bit")]

    assert any(row.estimate.kind == "guaranteed" for row in rows)
    for row in measured.table("stratum"):
        units = int(cells["units"][cells["bin"] == row.key[0]].sum())
        certain = row.trials == units
        assert (row.estimate.kind == "census") == certain
        assert (row.estimate.low == row.estimate.high) == certain


def test_outcomes_are_shares_of_all_units(proved: Measured) -> None:
    """Each is fair by itself, so together they are only about 1."""
    cells = cells_of(proved.path)
    shares = {row.key[0]: row.estimate for row in proved.outcomes()}

    size = cells["units"].sum() + cells["known"].sum()
    held = (cells["known"] - cells["failed"]).sum() / size
    assert shares["proved to hold"].value == pytest.approx(held)
    assert shares["proved to fail"].value == pytest.approx(cells["failed"].sum() / size)
    assert held > 0.5 and cells["failed"].sum() > 0
    assert sum(own.value for own in shares.values()) == pytest.approx(1, abs=0.1)
    assert sum(own.low for own in shares.values()) <= 1
    assert sum(own.high for own in shares.values()) >= 1


def test_another_criterion_is_refused_where_verdicts_are_proved(
    proved: Measured, undisturbed: Path
) -> None:
    plain = open_measured(undisturbed)

    with pytest.raises(ValueError, match="by which verdicts were proved") as error:
        tabled(proved.run, criterion={"name": "any-change"})
    assert "\n" not in str(error.value)
    (row,) = tabled(plain.run, criterion={"name": "any-change"})
    assert row.estimate.value > plain.pvf.value


# --- the command -----------------------------------------------------------

A_CASE = """
import torch
from torch import nn

def good():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    inputs = 8 * torch.randn(6, 2)
    return network, inputs, network(inputs).argmax(1)

def many():
    network, _, _ = good()
    return network, torch.randn(40, 2)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # A name that no other test has imported.
    (tmp_path / "adaptive_case.py").write_text(A_CASE)
    return tmp_path


def command(*options: str, case: str = "adaptive_case:good") -> int:
    return main(["pvf", case, "--seed", "1", *options])


def test_a_run_of_the_command_has_answers_and_a_report(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--half-width", "0.05", "--out", "run", "--verify", "30") == 0

    said = capsys.readouterr()
    assert said.out.startswith("PVF ") and "95 % guaranteed interval" in said.out
    assert "trials on 1 input each, chosen from" in said.out
    for word in ("masked", "SDC", "proved to hold", "0.weight"):
        assert word in said.out
    assert "% of the units are proved; ± 5 points guaranteed need at least" in said.err
    assert said.err.count("\n") < 10, "no warnings"
    page = (here / "run/report.html").read_text()
    for part in (
        "until the interval is ± 5 points",
        "the first 60 only show where to look",
        "proved to hold",
        "proved to fail",
        "score 2^",
        "0.<wbr>weight",
        "<svg",
    ):
        assert part in page


def test_every_table_that_there_is_can_be_had(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--half-width", "0.1", "--interval", "approximate", "--out", "r")
    without = ("input", "class", "channel", "changed")
    names = [name for name in TABLES if name not in without]
    tables = ("--table", ",".join(names), "--json")

    assert command(*asked, "--slow-path", *tables) == 0

    record = json.loads(capsys.readouterr().out)
    assert record["pvf"]["kind"] == "approximate"
    assert record["pvf"]["high"] - record["pvf"]["low"] <= 0.2
    assert list(record) == ["summary", "run", "pvf", *names, "worst_within"]
    for row in (row for name in names for row in record[name]):
        assert {"key", "value", "low", "high", "kind", "confidence", "about"} <= {*row}
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    for name in without:
        assert main(["report", "r", "--json", "--table", name]) == 2
        said = capsys.readouterr()
        (told,) = said.err.splitlines()
        assert f"stoic: table {name} must" in told and said.out == ""
    usual = open_measured("r").as_record()
    assert {"outcomes", "component", "site", "bit", "role"} <= usual.keys()


@pytest.mark.parametrize(
    "options",
    [
        ("--time", "0.01s", "--slow-path"),
        ("--time", "1m", "--at-most", "70", "--slow-path"),
        ("--half-width", "0.1", "--inputs-per-fault", "3", "--mode", "fast"),
        ("--relative", "0.9", "--kind", "activation,input", "--slow-path"),
        ("--half-width", "0.05", "--at-most", "50", "--interval", "approximate"),
        ("--half-width", "0.2", "--fail-above", "0.9", "--slow-path"),
        ("--half-width", "0.2", "--criterion", "any-change", "--slow-path"),
    ],
    ids=" ".join,
)
def test_every_option_makes_a_run_with_a_report(
    options: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", "run", *options) == 0, capsys.readouterr().err
    assert "report: run/report.html" in capsys.readouterr().err


WRONG = {
    "--half-width 0": ["half width must be between 0 and 1, got 0"],
    "--half-width 1": ["half width must be between 0 and 1, got 1"],
    "--half-width=-0.1": ["half width must be between 0 and 1, got -0.1"],
    "--half-width nan": ["half width must be between 0 and 1, got nan"],
    "--half-width wide": ["--half-width", "number"],
    "--relative 0": ["relative must be between 0 and 1, got 0"],
    "--relative 1.5": ["relative must be between 0 and 1, got 1.5"],
    "--relative=-1": ["relative must be between 0 and 1, got -1"],
    "--relative nan": ["relative must be between 0 and 1, got nan"],
    "--time abc": ["time must be such as 90s, 10m or 2h, got 'abc'"],
    "--time 5d": ["time must be such as 90s, 10m or 2h, got '5d'"],
    "--time m": ["time must be such as", "'m'"],
    "--time 0": ["time must be above 0 s, got 0"],
    "--time=-5s": ["time must be above 0 s, got -5"],
    "--time nan": ["time must be above 0 s, got nan"],
    "--time inf": ["time must be above 0 s, got inf"],
    "--half-width 0.1 --inputs-per-fault 4": ["must divide the 6 inputs", "got 4"],
    "--half-width 0.1 --inputs-per-fault 7": ["must divide the 6 inputs", "got 7"],
    "--half-width 0.1 --inputs-per-fault few": ["whole number or auto, got 'few'"],
    "--inputs-per-fault auto": ["or a plan, got auto without; give one"],
    "--half-width 0.1 --inputs-per-fault 0": ["inputs_per_fault", "at least 1", "0"],
    "--half-width 0.1 --at-most 0": ["at_most must be at least 1, got 0"],
    "--half-width 0.001 --at-most 90": ["half width of 0.001", "got 90 at most"],
    "--half-width 0.1 --interval sure": ["sure"],
    "--inputs-per-fault 2": ["inputs per fault must come with a half width", "got 2"],
    "--at-most 50": ["at most must come with a half width", "got 50"],
    "--interval approximate": ["interval must come with a half width"],
    "--half-width 0.1 --strata bit": ["choice of faults", "got strata bit as well"],
    "--half-width 0.1 --exhaustive": ["choice of faults", "got every fault as well"],
    "--relative 0.1 --replacement": ["choice of faults", "with replacement"],
    "--time 9s --per-trial 2": ["choice of faults", "got several faults at once"],
    "--time 9s --rate 0.1": ["choice of faults", "got several faults at once"],
    "--half-width 0.1 --batch 3": ["choice of faults", "got a batch as well"],
    "--half-width 0.1 --allocation x=3": ["allocation must be to strata"],
    "--half-width 0.1 --about population": ["about must be inputs where each trial"],
    "--half-width 0.1 --table input": ["table input must be of trials on all inputs"],
    "--half-width 0.1 --table class": ["table class must be of trials on all inputs"],
    "--half-width 0.1 --table channel": ["table channel must be of trials on all"],
    "--half-width 0.1 --table changed --fault-model stuck-at-1": ["table changed must"],
    "--half-width 0.1 --kind parameter,activation": ["measure them apart"],
    "--half-width 0.1 --plan importance": ["choice of faults", "plan importance as"],
    "--plan importance --strata bit": ["plan importance must leave", "strata bit"],
    "--plan uniform --exhaustive": ["plan uniform must leave", "got every fault"],
    "--plan uniform --margin 0.1": ["plan uniform must leave", "got a margin"],
    "--plan uniform --at-most 9": ["at most must come with a half width", "got 9"],
    "--plan uniform --faults 9999": ["at most 7488, as many units are not proved"],
    "--plan stratified --faults 2": ["faults must be at least", "two for each of"],
    "--plan stratified --table input": ["table input must be of trials on all inputs"],
    "--plan spread": ["spread"],
}


@pytest.mark.parametrize(("options", "words"), WRONG.items(), ids=str)
def test_an_option_that_cannot_be(
    options: str, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with one line on stderr, nothing on stdout, and no folder."""
    case = "many" if "population" in options else "good"
    asked = ("--out", "run", "--slow-path", *options.split())
    assert command(*asked, case=f"adaptive_case:{case}") == 2
    said = capsys.readouterr()

    assert said.out == "" and "Traceback" not in said.err
    told = [line for line in said.err.splitlines() if line.startswith("stoic: ")]
    # What the parser of options refuses comes in a box of its own.
    assert len(told) == 1 or "Usage" in said.err, said.err
    assert all(word in said.err for word in words), said.err
    assert not (here / "run").exists()


def test_nothing_is_left_of_a_campaign_that_was_refused() -> None:
    before = {name: p.clone() for name, p in network().named_parameters()}

    with pytest.raises(ValueError, match="must divide"):
        measure(inputs_per_fault=5, captured=True)

    assert all(same_words(before[n], p) for n, p in network().named_parameters())
    assert all(p.grad is None and p.requires_grad for p in network().parameters())


def test_a_criterion_of_ones_own_has_no_proofs(tmp_path: Path) -> None:
    def far(golden: Tensor, faulty: Tensor, labels: Tensor | None) -> Tensor:
        return (golden - faulty).abs().amax(1).nan_to_num(9.0) > 0.5

    measured = measure(
        tmp_path / "run", criterion=Custom(far, name="far"), captured=True
    )

    cells = cells_of(measured.path)
    assert np.sum(cells["known"]) == 0
    assert 0 < measured.pvf.low < measured.pvf.high < 1
