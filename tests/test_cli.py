"""The command as a user runs it: what it prints where, and its exit codes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stoic.cli import commands
from stoic.cli import progress as cli_progress
from stoic.cli.commands import main
from stoic.estimates import TABLES
from stoic.estimates.measured import open_measured
from stoic.settings import Settings
from stoic.study import pvf

A_CASE = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    inputs = torch.randn(6, 4)
    return network, inputs, network(inputs).argmax(1)

def normed():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    return network.eval(), torch.randn(6, 1, 6, 6)

def many():
    network, _, _ = small()
    inputs = 3 * torch.randn(40, 4)
    return network, inputs, network(inputs).argmax(1)

def detecting():
    torch.manual_seed(0)
    network, inputs = nn.Linear(4, 4).eval(), torch.randn(6, 4)
    def boxed(scores):
        there = torch.ones(len(scores), 1)
        sides = [0 * there, 0 * there, there, 1 + scores[:, :1].abs()]
        kind, sure = (scores[:, 1:2] > 0).float(), scores[:, 2:3].sigmoid()
        return torch.cat([*sides, kind, sure], 1)[:, None]
    labels = boxed(network(inputs))[..., :5].detach()
    return {
        "network": network, "inputs": inputs, "labels": labels, "tail": boxed,
        "criterion": "detections-changed",
    }

def deciding():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)
        def forward(self, x):
            return self.head(x) if float(x.sum()) < 1e9 else x[:, :3]
    torch.manual_seed(0)
    return Deciding().eval(), torch.randn(6, 4)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # A name that no other test has imported.
    (tmp_path / "cli_case.py").write_text(A_CASE)


def measure(*options: str, case: str = "cli_case:small") -> int:
    return main(["pvf", case, "--faults", "60", "--seed", "1", *options])


def test_results_on_stdout_and_chatter_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert measure("--out", "run") == 0

    said = capsys.readouterr()
    assert said.out.startswith("PVF ")
    for word in ("masked", "SDC", "0.weight", "95 % guaranteed interval"):
        assert word in said.out
    assert "report: run/report.html" in said.err
    assert Path("run/report.html").stat().st_size > 10_000
    assert Path("run/manifest.json").exists()


def test_json_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--out", "run", "--json") == 0

    record = json.loads(capsys.readouterr().out)
    assert 0 <= record["pvf"]["low"] <= record["pvf"]["value"] <= record["pvf"]["high"]


@pytest.mark.parametrize("model", ["flips:2", "burst:3", "set:1.5", "random"])
def test_json_has_no_table_that_the_fault_model_has_not(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure("--fault-model", model, "--json") == 0

    record = json.loads(capsys.readouterr().out)
    assert "site" in record and "bit" not in record


def test_the_report_of_a_run_says_the_same_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure("--out", "run", "--json")
    first = json.loads(capsys.readouterr().out)
    Path("run/report.html").unlink()

    assert main(["report", "run", "--out", "page.html", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == first
    assert "<svg" in Path("page.html").read_text()


def test_chosen_tables_are_printed_and_no_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["report", "run", "--table", "bit", "--table", "class,input"]
    measure("--out", "run", "--fault-model", "stuck-at-1")
    capsys.readouterr()

    assert main(command) == 0
    said = capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)

    summary, *tables = said.strip().split("\n\n")
    assert summary == record["summary"]
    assert list(record) == ["summary", "run", "pvf", "bit", "class", "input"]
    for name, text in zip(("bit", "class", "input"), tables, strict=True):
        heading, *lines = text.splitlines()
        assert heading.split() == [name, "share", "trials", "of", "faults"]
        assert [line.split()[0] for line in lines] == [
            str(row["key"][0]) for row in record[name]
        ]


def test_a_population_is_what_every_answer_is_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("--about", "population")
    assert measure("--out", "run", *asked, case="cli_case:many") == 0
    said = capsys.readouterr().out
    page = Path("run/report.html").read_text()
    assert main(["report", "run", "--json", *asked]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main(["report", "run", "--json"]) == 0
    fixed = json.loads(capsys.readouterr().out)

    about = "inputs like these, of 40 clusters"
    assert f"approximate interval {100 * record['pvf']['low']:.1f}" in said
    assert f"over {about}; 60 faults drawn" in said
    assert about in page and "taken for a sample of a population" in page
    for name in ("outcomes", "component", "site", "bit", "role"):
        assert {row["about"] for row in record[name]} == {about}
        assert {row["kind"] for row in record[name]} == {"approximate"}
        assert [row["value"] for row in record[name]] == pytest.approx(
            [row["value"] for row in fixed[name]]
        )
    assert fixed["pvf"]["about"] == "these 40 inputs"


def test_sdc_and_nonfinite_are_one_outcome_where_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure("--out", "run", "--bits", "30", "--json")
    apart = json.loads(capsys.readouterr().out)["outcomes"]
    shares = {row["key"][0]: row["value"] for row in apart}

    assert main(["report", "run", "--with-nonfinite", "--json"]) == 0
    together = json.loads(capsys.readouterr().out)["outcomes"]
    assert main(["report", "run", "--with-nonfinite"]) == 0

    assert "SDC or non-finite" in capsys.readouterr().out
    assert "SDC or non-finite" in Path("run/report.html").read_text()
    assert shares["nonfinite"] > 0 and shares["sdc"] > 0
    assert {row["key"][0]: row["value"] for row in together} == pytest.approx(
        {
            "masked": shares["masked"],
            "benign": shares["benign"],
            "sdc_or_nonfinite": shares["sdc"] + shares["nonfinite"],
            "crash": shares["crash"],
            "unknown": shares["unknown"],
        }
    )


def test_a_case_says_by_what_it_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--out", "run", "--verify", "60", case="cli_case:detecting") == 0
    assert measure("--out", "fast", "--mode", "fast", case="cli_case:detecting") == 0
    other = ("--out", "other", "--criterion", "any-change")
    assert measure(*other, case="cli_case:detecting") == 0

    exact, fast, any_change = (open_measured(name) for name in ("run", "fast", "other"))
    data = exact.run.manifest.data
    assert exact.run.manifest.criterion["name"] == "detections-changed"
    assert any_change.run.manifest.criterion["name"] == "any-change"
    assert (data.labelled, data.rows) == (False, True)
    assert "with labels" in Path("run/report.html").read_text()
    shares = [each.pvf.value for each in (exact, fast, any_change)]
    assert 0 < shares[0] == shares[1] < shares[2]

    assert measure("--table", "class", case="cli_case:detecting") == 2
    assert (
        "table class must have one right class per input as labels"
        in capsys.readouterr().err
    )


def test_every_table_is_asked_for_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--fault-model", "stuck-at-1", "--json", "--table", "network") == 0
    run = json.loads(capsys.readouterr().out)["run"]
    page = (Path(__file__).parent.parent / "docs" / "measure.md").read_text()
    for name in TABLES:
        assert f"`{name}`" in page.partition("## Tables")[2]
        assert main(["report", run, "--json", "--table", name]) == 0
        (row, *_) = json.loads(capsys.readouterr().out)[name]
        assert {"key", "value", "low", "high", "kind", "confidence", "about"} <= {*row}


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--bits", "30", "--fail-above", "0.01"), 1, "above"),
        (("--bits", "0", "--fail-above", "0.5"), 0, "below"),
        (("--bits", "30", "--fail-above", "0.28"), 3, "not shown"),
    ],
)
def test_a_limit_decides_the_exit_code(
    options: tuple[str, ...],
    code: int,
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = measure("--json", *options)

    said = capsys.readouterr()
    record: dict[str, Any] = json.loads(said.out)["pvf"]
    assert measured == code, (record, said.err)
    assert f"PVF is {word} {float(options[-1]):g} at one-sided 95 %" in said.err


def test_the_same_command_goes_on_with_a_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure("--out", "run", "--json")
    first = capsys.readouterr().out

    assert measure("--out", "run", "--json") == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    "options",
    [
        ("--mode", "fast", "--verify", "60"),
        ("--kind", "activation,input", "--verify", "60"),
        ("--kind", "activation", "--scope", "batch", "--fault-model", "burst:3"),
        ("--fault-model", "stuck-at-1", "--strata", "bit", "--bits", "exponent"),
        ("--fault-model", "flips:2", "--exclude", "*bias", "--sites", "0.*,2.*"),
        ("--rate", "0.001", "--criterion", "top1-wrong"),
        ("--per-trial", "3", "--criterion", "tolerance:0.1,0.1"),
        ("--memory", "1M", "--batch", "2", "--threads", "1", "--inputs", "5"),
        ("--replacement", "--sites", "2.bias", "--bits", "sign", "--verify", "60"),
        ("--strata", "role", "--allocation", "float32 sign=20,float32 exponent=9"),
        ("--slow-path", "--time-limit", "5", "--best", "1"),
    ],
    ids=" ".join,
)
def test_every_option_makes_a_run_with_a_report(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure("--out", "run", *options) == 0, capsys.readouterr().err
    assert "report: run/report.html" in capsys.readouterr().err


def test_an_allocation_decides_how_many_faults_a_stratum_gets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("wanted.json").write_text('{"0.weight": 30, "2.bias": 5}')
    asked = ("--strata", "site", "--out", "run", "--json", "--table", "stratum")

    assert measure(*asked, "--allocation", "2.bias=5, 0.weight=30") == 0
    first = capsys.readouterr().out
    # The same from a file is the same campaign: it goes on; another one does not.
    assert measure(*asked, "--allocation", "wanted.json") == 0
    assert capsys.readouterr().out == first
    assert measure(*asked, "--allocation", "2.bias=6,0.weight=30") == 2
    assert "plan.trials.2.bias (5 there, 6 here)" in capsys.readouterr().err

    record = json.loads(first)
    drawn = {row["key"][0]: row["trials"] for row in record["stratum"]}
    assert drawn == {"0.weight": 30, "2.bias": 5}
    assert "none from 2 of them with 47.8 % of the faults" in record["summary"]
    assert record["pvf"]["high"] > 0.478
    page = Path("run/report.html").read_text()
    assert "none from 2, which stay unknown" in page


def test_draws_with_replacement_may_outnumber_the_faults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("--sites", "2.bias", "--bits", "30", "--replacement", "--json")

    assert measure("--out", "run", *asked) == 0
    record = json.loads(capsys.readouterr().out)
    assert measure("--out", "run", *asked[:-2]) == 2
    assert "faults must be at most 3" in capsys.readouterr().err

    assert "60 faults drawn uniformly with replacement from 3." in record["summary"]
    assert record["pvf"]["kind"] == "guaranteed"
    assert record["pvf"]["low"] < record["pvf"]["value"] < record["pvf"]["high"]
    trials = {row["key"][0]: (row["faults"], row["trials"]) for row in record["site"]}
    assert trials == {"2.bias": (3, 60)}


def test_a_network_as_it_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--as-deployed", "--json", case="cli_case:normed") == 0
    assert "as deployed" in json.loads(capsys.readouterr().out)["summary"]


def test_every_fault_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pvf", "cli_case:small", "--sites", "2.bias", "--exhaustive"]

    assert main([*command, "--json", "--out", "run"]) == 0

    assert json.loads(capsys.readouterr().out)["pvf"]["kind"] == "census"


def test_the_slow_path_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(case="cli_case:deciding") == 0

    said = capsys.readouterr().err
    assert said.count("slow path, the network cannot be captured") == 1


def test_cases_and_sites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("signs", "digits", "imagenet"))
    assert main(["cases", "--json"]) == 0
    assert {"signs", "digits"} <= {
        c["name"] for c in json.loads(capsys.readouterr().out)
    }
    assert main(["sites", "cli_case:small", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["0.weight"]["shape"] == "8x4"
    assert rows["1:out"]["kind"] == "activation"
    assert main(["sites", "cli_case:small", "--left-out"]) == 0


def test_options_are_settings_or_what_the_page_says_of_them() -> None:
    """As the page on measuring lists them."""
    renamed = {
        "kind": "kinds",
        "fault_model": "model",
        "per_trial": "several",
        "rate": "several",
        "exhaustive": "faults",
        "time_limit": "limit_s",
        "slow_path": "captured",
        "time": "seconds",
    }
    of_pvf = {"out", "verify", "about", "with_nonfinite"}
    alone = {"device", "inputs", "threads", "table", "as_json", "fail_above", "case"}
    options = {*inspect.signature(commands.pvf).parameters}
    fields = {field.name for field in dataclasses.fields(Settings)}

    assert {renamed.get(name, name) for name in options - of_pvf - alone} | {
        "shard"
    } == fields
    assert of_pvf <= {*inspect.signature(pvf).parameters}
    page = (Path(__file__).parent.parent / "docs" / "measure.md").read_text()
    for name in {*renamed, *of_pvf, *alone} - {"case", "as_json"}:
        assert f"`--{name.replace('_', '-')}" in page, name
    assert "`--json`" in page


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()
    assert main(["pvf", "--help"]) == 0
    assert "--fail-above" in capsys.readouterr().out


def test_a_line_of_progress_tells_no_pace_that_is_not_known_and_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli_progress, "_FIRST_S", 0.0)
    monkeypatch.setattr(cli_progress, "_EVERY_S", 0.0)
    said: list[str] = []
    with cli_progress.lines(said.append, "inputs") as told:
        for done in (2, 3, 4):
            told(done, 4)
    assert said[0] == "2 of 4 inputs"
    assert len(said) == 2
    assert re.fullmatch(r"3 of 4 inputs, [\d.]+/s, about \d+ s left", said[1])
