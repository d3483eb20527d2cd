"""Campaigns that are killed, gone on with, or refused."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stoic.faults.models import SetValue
from stoic.records import RunError
from stoic.study import pvf

# Run by a process of its own, so that it can be killed at any moment.
CAMPAIGN = """
import sys, torch
import test_resume
torch.set_num_threads(1)
test_resume.campaign(sys.argv[1])
"""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def points() -> Tensor:
    return 8 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1))


def campaign(out: Path | str, **changes: Any) -> None:
    given = {"faults": 600, "shard": 20, "batch": 3, "seed": 5, "captured": False}
    pvf(network(), points(), out=out, **{**given, **changes})


def decisions(path: Path) -> dict[str, bytes]:
    """The bytes of every file with faults or verdicts."""
    files = sorted(path.glob("shards/*/*.parquet"))
    kept = [file for file in files if file.name != "trials.parquet"]
    return {str(file.relative_to(path)): file.read_bytes() for file in kept}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    campaign(out)
    return out


@pytest.fixture
def halted(undisturbed: Path, tmp_path: Path) -> Path:
    """A run of which only the first shards are there."""
    out = tmp_path / "halted"
    shutil.copytree(undisturbed, out)
    for shard in sorted((out / "shards").iterdir())[10:]:
        shutil.rmtree(shard)
    return out


def test_a_campaign_killed_again_and_again_ends_as_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path
) -> None:
    out, kills = tmp_path / "run", 0
    chance = random.Random(0)
    for at_least in (0, 6, 14):
        process = subprocess.Popen(
            [sys.executable, "-c", CAMPAIGN, str(out)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        while len(list(out.glob("shards/*"))) <= at_least and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert kills == 3, "the campaign was too quick to be killed"
    assert decisions(out) != decisions(undisturbed)
    campaign(out)
    assert decisions(out) == decisions(undisturbed)
    assert not list(out.glob("**/*.part*"))


def test_shards_that_are_there_are_not_run_again(
    halted: Path, undisturbed: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in halted.glob("shards/*/*")}
    done: list[int] = []

    campaign(halted, progress=lambda trials, total: done.append(trials))

    assert min(done) == 200, "ten shards of twenty trials are counted at once"
    assert decisions(halted) == decisions(undisturbed)
    assert all(file.stat().st_mtime_ns == then for file, then in before.items())


def test_a_finished_run_is_read_and_left_alone(undisturbed: Path) -> None:
    files = [file for file in undisturbed.glob("**/*") if file.is_file()]
    before = {file: file.stat().st_mtime_ns for file in files}

    campaign(undisturbed)

    assert {file: file.stat().st_mtime_ns for file in files} == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"faults": 601}, "plan"),
        ({"bits": "0-30"}, "space"),
        ({"criterion": "any-change"}, "criterion"),
        ({"mode": "fast"}, "mode"),
        ({"batch": 2}, "batch"),
        ({"captured": True}, "captured"),
    ],
    ids=str,
)
def test_another_campaign_is_refused_by_name(
    changes: dict[str, Any], named: str, halted: Path
) -> None:
    assert_refused(lambda: campaign(halted, **changes), named, halted)


def test_another_network_is_refused(halted: Path) -> None:
    other = network()
    with torch.no_grad():
        other[0].get_parameter("weight")[0, 0] += 1

    assert_refused(lambda: resumed(other, points(), halted), "network", halted)


def test_other_inputs_are_refused(halted: Path) -> None:
    assert_refused(lambda: resumed(network(), -points(), halted), "data", halted)


def test_another_number_of_threads_is_refused(halted: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert_refused(lambda: campaign(halted), "threads", halted)
    finally:
        torch.set_num_threads(threads)


def test_another_memory_layout_is_refused(halted: Path) -> None:
    # The same words, column by column.
    turned = points().T.contiguous().T

    assert_refused(lambda: resumed(network(), turned, halted), "layout", halted)


def tail(output: Tensor) -> Tensor:
    return output * 2


def other_tail(output: Tensor) -> Tensor:
    return output * 3


def test_another_tail_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    campaign(out, tail=tail, faults=40)

    campaign(out, tail=tail, faults=40)
    assert_refused(lambda: campaign(out, tail=other_tail, faults=40), "tail", out)


def test_other_clusters_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    clusters = torch.arange(6) // 2
    campaign(out, clusters=clusters, faults=40)

    campaign(out, clusters=clusters.clone(), faults=40)
    other = torch.arange(6) // 3
    assert_refused(lambda: campaign(out, clusters=other, faults=40), "data", out)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_value_that_json_does_not_know_can_be_gone_on_with(
    value: float, tmp_path: Path
) -> None:
    campaign(tmp_path / "run", model=SetValue(value), faults=20)
    before = decisions(tmp_path / "run")

    campaign(tmp_path / "run", model=SetValue(value), faults=20)

    assert before and decisions(tmp_path / "run") == before


def test_a_golden_run_that_was_deleted_is_made_again(halted: Path) -> None:
    before = (halted / "golden.parquet").read_bytes()
    (halted / "golden.parquet").unlink()

    campaign(halted)

    assert (halted / "golden.parquet").read_bytes() == before


def test_a_damaged_shard_is_named_and_kept(halted: Path) -> None:
    file = halted / "shards" / "000003" / "outcomes.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    assert_refused(lambda: campaign(halted), "000003", halted)


def resumed(network: nn.Module, inputs: Tensor, out: Path) -> None:
    pvf(
        network,
        inputs,
        out=out,
        faults=600,
        shard=20,
        batch=3,
        seed=5,
        captured=False,
    )


def assert_refused(go_on: Callable[[], object], named: str, run: Path) -> None:
    """Going on is refused in one line, and nothing in the folder changes."""
    before = {f: f.read_bytes() for f in run.glob("**/*") if f.is_file()}

    with pytest.raises(RunError) as error:
        go_on()

    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert {f: f.read_bytes() for f in run.glob("**/*") if f.is_file()} == before
