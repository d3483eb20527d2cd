"""Rehearsals: what a policy makes of faults, counted by hand; and the command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import networks
from monitor_support import captured, many_rows, monitor_of
from stoic.cli import main
from stoic.criteria import Top1Changed
from stoic.monitoring import MonitorSettings, fit, fit_checksums
from stoic.monitors.counters import Counters
from stoic.monitors.guarded import Guarded, Plan
from stoic.monitors.markers import MARKERS, Moments
from stoic.monitors.monitor import Monitor
from stoic.monitors.policies import AlarmError
from stoic.monitors.rehearsal import Rehearsal, Tally, named_policy, weight_faults
from stoic.monitors.rules import Rules
from stoic.network.general import held
from stoic.network.subject import Inputs
from stoic.records.files import ELSEWHERE, RunError, check_writable, writing


def guarded() -> Guarded:
    build = networks.resnet
    return Guarded(Plan.of(captured(build), build().inputs, monitor_of(build)))


def rehearsal(policy: str, told: list[str], *, passing: bool = False) -> Rehearsal:
    network, clean = guarded(), many_rows(networks.resnet().inputs, 20, 3)
    chosen = named_policy(policy, network, [clean], told.append)
    return Rehearsal(
        networks.resnet().network,
        network,
        chosen,
        passing=passing,
        counters=Counters(network.plan.monitor.classes),
        batch=8,
    )


def test_verdicts_and_failures_are_those_of_plain_runs() -> None:
    told: list[str] = []
    found, inputs = rehearsal("warn", told), many_rows(networks.resnet().inputs, 20)
    faults = weight_faults(found.guarded, 5, bits="30", seed=0)

    tallies = found.tallies(inputs, inputs, faults)

    wanted = {name: [0, 0, 0, 0] for name in found.guarded.plan.monitor.classes}
    alarmed = 0
    for number, fault in enumerate(faults):
        rows = inputs.rows(8 * (number % 3), min(8 * (number % 3) + 8, 20))
        with torch.no_grad():
            golden = found.network(*rows.args)
            with held(found.network, [fault]):
                own = found.network(*rows.args)
                _, verdict = found.guarded(*rows.args)
        failed = Top1Changed().failed(golden, own, None)
        for label, unlike, wrong in zip(
            *map(list, (verdict.label, verdict.unlike, failed)), strict=True
        ):
            line = wanted[found.guarded.plan.monitor.classes[int(label)]]
            for place, more in enumerate((1, unlike, wrong, wrong)):
                line[place] += int(more)
        alarmed += bool((verdict.label > 0).any())
    assert tallies == tuple(Tally(name, *line) for name, line in wanted.items())
    assert len(told) == alarmed > 0
    assert found.counters is not None
    assert [found.counters.count(n) for n in range(len(tallies))] == [
        tally.inferences for tally in tallies
    ]
    assert networks.resnet().fingerprint() == networks.resnet().born


def test_a_fault_that_passes_is_gone_when_the_network_runs_again() -> None:
    network, clean = networks.resnet().network, many_rows(networks.resnet().inputs, 80)
    monitor = fit_checksums(network, clean, rate=0.1)
    sums = Guarded(Plan.of(captured(networks.resnet), clean, monitor))
    faults = weight_faults(sums, 12, bits="30", seed=0)
    inputs = clean.rows(0, 8)
    left = {}
    for passing in (False, True):
        policy = named_policy("retry", sums, [], lambda line: None)
        found = Rehearsal(network, sums, policy, passing=passing)
        _, *tallies = found.tallies(inputs, inputs, faults)
        assert sum(tally.failed for tally in tallies) > 0
        left[passing] = [(tally.failed, tally.left) for tally in tallies]

    assert all(before == after for before, after in left[False])
    assert all(after == 0 for _, after in left[True])


def test_a_policy_that_raises_ends_it_and_gives_the_weights_back() -> None:
    inputs = many_rows(networks.resnet().inputs, 8)
    found = rehearsal("raise", [])
    faults = weight_faults(found.guarded, 9, bits="30", seed=0)
    with pytest.raises(AlarmError, match="row"):
        found.tallies(inputs, inputs, faults)

    assert networks.resnet().fingerprint() == networks.resnet().born


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="policy must be one of keep, warn, .*'pray'"):
        named_policy("pray", guarded(), [], print)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of two monitors of the case digits."""
    import stoic

    case, folder = stoic.load("digits", 420), tmp_path_factory.mktemp("monitors")
    settings = MonitorSettings(
        marker=Moments(), corruptions=False, features=2, rate=0.05, alpha=0.001
    )
    made = {
        "moments": fit(case.network, case.inputs, settings).monitor,
        "checksums": fit_checksums(case.network, case.inputs, settings),
    }
    paths = {name: folder / f"{name}.json" for name in made}
    for name, monitor in made.items():
        monitor.save(paths[name])
    return paths


@pytest.mark.parametrize("name", ["moments", "checksums"])
def test_the_command_prints_verdicts_and_writes_counters(
    name: str,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = tmp_path / "stoic.prom"
    line = ["monitor", "run", "digits", str(files[name]), "--inputs", "60"]
    more = ["--faults", "4", "--bits", "30", "--metrics", str(metrics)]

    assert main([*line, *more]) == 0

    printed = capsys.readouterr()
    assert "failed after warn" in printed.out and "memory" in printed.out
    assert "row" in printed.err
    assert 'stoic_verdicts_total{case="digits",class="memory"}' in metrics.read_text()
    assert main([*line, *more, "--policy", "raise"]) == 1
    assert main([*line, "--corrupt", "noise", "--strength", "0.3"]) == 0


def test_images_are_corrupted_within_the_range_that_the_monitor_knows(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(files["moments"].read_text())
    record["about"]["pixels"] = {"black": [0.0], "white": [1e-6]}
    (tmp_path / "black.json").write_text(json.dumps(record))
    options = ["--inputs", "60", "--corrupt", "noise", "--strength", "0.001"]
    failed = []

    for path in (files["moments"], tmp_path / "black.json"):
        assert main(["monitor", "run", "digits", str(path), *options]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        failed.append(sum(int(row[-1]) for row in rows if row[-1].isdigit()))

    # Where white is black, every image is; hardly any is, where it is not.
    assert failed[0] < 5 and failed[1] > 40


BAD = {
    "--policy pray": "policy must be one of",
    "--corrupt pixie": "corrupt must be one of",
    "--corrupt noise": "strength of noise must be given",
    "--faults -1": "faults must be at least 0",
    "--faults 1 --bits 77": "bits must be in 0..31",
    "--inputs 300": "in 1..180 for the case digits, as 420 come before the first",
    "--first 600": "600 of which 600 come before the first",
    "--corrupt noise --strength -3": "strength of noise must be in 0..4, got -3",
    "--corrupt contrast --strength 5": "strength of contrast must be in 0..1, got 5",
    "--corrupt noise --strength nan": "strength of noise must be in 0..4, got nan",
    "--strength 2": "strength must be that of a corruption, got 2 without any",
    "--metrics /proc/x/stoic.prom": "metrics must be a file that can be written",
}


@pytest.mark.parametrize("options", BAD)
def test_the_command_says_in_one_line_what_is_wrong(
    options: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["monitor", "run", "digits", str(files["moments"]), "--inputs", "30"]

    assert main([*line, *options.split()]) == 2

    said = capsys.readouterr().err
    assert BAD[options] in said and len(said.strip().splitlines()) == 1


def test_a_monitor_of_checksums_has_nothing_to_clamp(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["monitor", "run", "digits", str(files["checksums"]), "--inputs", "30"]

    assert main([*line, "--policy", "clamp"]) == 2
    assert "must have watched values to clamp" in capsys.readouterr().err


def test_the_command_knows_all_markers_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["monitor", "fit", "digits", "--out", str(tmp_path / "x.json")]

    assert main([*line, "--marker", "strange"]) == 2
    assert f"marker must be one of {', '.join(MARKERS)}" in capsys.readouterr().err


def test_a_network_with_one_channel_is_refused() -> None:
    from torch import nn

    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 3)).eval()
    with pytest.raises(ValueError, match="it has one channel") as caught:
        fit(network, torch.randn(40, 1, 4, 4), values=("0:out",), rate=0.2)

    assert "\n" not in str(caught.value)


def test_reference_data_that_is_not_finite_is_refused() -> None:
    network = networks.resnet().network
    images = many_rows(networks.resnet().inputs, 80).leaves[0]
    images[30, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite") as caught:
        fit(network, Inputs((images,), {}), rate=0.2)

    assert "\n" not in str(caught.value)


def test_the_command_writes_a_page_of_how_well_a_monitor_does(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    line = ["monitor", "evaluate", "digits", str(files["checksums"])]

    assert main([*line, "--inputs", "100", "--out", str(page)]) == 0

    text = page.read_text()
    assert "checksum excess of" in text and "Tried on 100 inputs" in text
    assert f"page: {page}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[1]", "no", '{"stoic monitor": 99}'])
def test_a_file_that_is_no_monitor_is_refused_in_one_line(
    text: str, files: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    whole = json.loads(files["moments"].read_text())
    torn = {key: part for key, part in whole.items() if key != "rules"}
    for given in (text, json.dumps(torn)):
        path.write_text(given)
        with pytest.raises(ValueError, match="must be") as caught:
            Monitor.load(path)
        assert "\n" not in str(caught.value)


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "no rules": ({"rules": {}}, "rules without 'features'"),
    "no spans": ({"alarm": {"rate": 1}}, "alarm without 'spans'"),
    "a number": ({"watches": 5}, "watches 5, which is not a list"),
    "another value": ({"watches": []}, "which nothing watches"),
    "no steps": ({"points": {"distance": None}}, "points without"),
    "inputs": ({"about": {"inputs": "many"}}, "about that cannot be read: inputs must"),
    "pixels": ({"about": {"corruptions": [["blur", 1.0, 0.5]]}}, "without 'pixels'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_monitor_says_what_is_wrong_where(
    damage: str,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, (changes, wanted) = tmp_path / "bad.json", DAMAGE[damage]
    path.write_text(json.dumps(json.loads(files["moments"].read_text()) | changes))

    assert main(["monitor", "show", str(path)]) == 2

    (said,) = capsys.readouterr().err.strip().splitlines()
    assert str(path) in said and wanted in said and said.endswith("; fit it again")


def test_every_feature_that_is_missing_is_named(files: dict[str, Path]) -> None:
    whole = json.loads(files["moments"].read_text())
    watch = whole["watches"][0]
    text = json.dumps(whole | {"watches": [{**watch, "value": "zzz:out"}]})
    path = files["moments"].with_name("renamed.json")
    path.write_text(text)

    with pytest.raises(
        ValueError, match=f"'mean.* of {watch['value']}', which nothing"
    ):
        Monitor.load(path)


def test_a_leaf_has_a_share_of_each_class() -> None:
    record = {"shares": [1.0], "rows": 3}
    with pytest.raises(ValueError, match="one for each of 2 classes, got 1"):
        Rules.of_record({"classes": ["a", "b"], "features": [], "tree": record})


def test_a_value_is_watched_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["monitor", "fit", "digits", "--inputs", "420", "--rate", "0.05"]
    out = tmp_path / "x.json"

    assert main([*line, "--watch", "head:out,head:out", "--out", str(out)]) == 2

    assert "named once each, got 'head:out' twice" in capsys.readouterr().err
    assert not out.exists()


UNTRIED = {
    "": "as 420 come before the first, got 1000; add --inputs 180",
    "--inputs 0": "inputs must be at least 1, got 0",
    "--inputs -5": "inputs must be at least 1, got -5",
    "--out /proc/x/page.html": "got /proc/x/page.html: No such file or directory",
}


@pytest.mark.parametrize("options", UNTRIED)
def test_a_monitor_that_cannot_be_tried_says_why_in_one_line(
    options: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["monitor", "evaluate", "digits", str(files["moments"]), *options.split()]

    assert main(line) == 2

    (said,) = capsys.readouterr().err.strip().splitlines()
    assert UNTRIED[options] in said


@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_a_monitor_of_another_network_is_told_before_its_inputs(
    command: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = files["moments"].with_name("other.json")
    whole = json.loads(files["moments"].read_text())
    path.write_text(json.dumps(whole | {"network": "0" * 64}))

    assert main(["monitor", command, "digits", str(path), "--inputs", "1000"]) == 2

    assert "must be a monitor of this network" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoic.cases.load", lambda *args: pytest.fail("it began"))
    for out, why in (("/proc/x/m.json", "No such file"), (tmp_path, "Is a directory")):
        assert main(["monitor", "fit", "digits", "--out", str(out)]) == 2
        (said,) = capsys.readouterr().err.strip().splitlines()
        assert f"out must be a file that can be written, got {out}: {why}" in said
    check_writable("out", tmp_path / "new" / "m.json")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_page_that_finds_no_room_has_nothing_to_resume() -> None:
    with pytest.raises(RunError, match="choose another place$"):
        with writing(Path("page.html"), ELSEWHERE):
            raise OSError("no room")
