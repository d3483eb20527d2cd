"""The benchmarks of bounds: what they keep, go on with, and end with."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import rounding
from benchmarks import tightness as bench
from benchmarks.ledger import Ledger
from torch import Tensor

from stoic.sensitivity.attacks.ascent import PGD
from stoic.sensitivity.attacks.directions import PowerDirection, RandomDirections
from stoic.sensitivity.growth import measured_growth
from stoic.sensitivity.reach import NotKnownError
from stoic.sensitivity.tightness import Claim

ASKED = ["--networks", "digits", "--inputs", "4", "--radii", "0.01", "--budget", "30"]


def refused() -> Any:
    raise AssertionError("made again")


def test_a_ledger_gives_back_what_it_kept_also_numbers_that_are_not_finite(
    tmp_path: Path,
) -> None:
    file, made = tmp_path / "kept.jsonl", {"numbers": [1.5, math.inf, -math.inf, True]}
    first = Ledger(file).once({"of": "a", "size": 2**-24}, lambda: made)

    again = Ledger(file)

    assert first == made == again.once({"size": 2**-24, "of": "a"}, refused)
    assert "Infinity" not in file.read_text()
    undefined = again.once({"of": "b"}, lambda: {"number": math.nan})["number"]
    assert math.isnan(undefined)


def test_a_line_that_a_kill_cut_off_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    whole = Ledger(file)
    for number in range(3):
        whole.once({"number": number}, partial(int, 10 * number))
    file.write_bytes(file.read_bytes()[:-4])

    again = Ledger(file)

    assert again.once({"number": 1}, refused) == 10
    with pytest.raises(AssertionError, match="made again"):
        again.once({"number": 2}, refused)
    again.once({"number": 2}, lambda: 20)
    assert Ledger(file).once({"number": 2}, refused) == 20


def test_a_file_of_other_lines_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("one\ntwo\n")

    with pytest.raises(ValueError, match="line 1 of .*notes.txt must be a result"):
        Ledger(file)


def test_attacks_of_a_budget_are_those_without_memory() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(12, 6).double()

    def f(x: Tensor) -> Tensor:
        return torch.tanh(x @ matrix)

    x = torch.randn(5, 12).double()
    power = PowerDirection(3)
    plain = (RandomDirections(16), power, PGD(3, starts=(RandomDirections(16), power)))

    ours = {g.attack: g for g in measured_growth(f, x, [0.1], 2, bench.attacks_of(45))}

    for each in measured_growth(f, x, [0.1], 2, plain):
        assert torch.equal(each.change, ours[each.attack].change)


def test_a_record_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*ASKED, "--record", str(tmp_path / "kept.jsonl")]
    assert bench.main(asked) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(bench, "measured_growth", refused)
    monkeypatch.setattr(bench, "CLAIMS", {"bounds": refused})

    assert bench.main(asked) == 0

    row = next(line for line in first.splitlines() if line.startswith("digits"))
    again = capsys.readouterr().out
    # Costs are in passes of this run.
    assert row.rpartition("  ")[0][:-8] in again
    assert "0 guarantees were violated, on 4 inputs" in again


def test_a_violated_guarantee_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def low(subject: Any, x: Tensor, radius: float, norm: float) -> list[Claim]:
        return [Claim("certified", "guarantee", torch.full((len(x),), 1e-3).double())]

    monkeypatch.setattr(bench, "CLAIMS", {"bounds": low})

    assert bench.main(ASKED) == 1
    assert "4 guarantees were violated" in capsys.readouterr().out


@pytest.mark.parametrize("known", [False, True])
def test_a_bound_that_a_built_in_network_lost_ends_with_1(
    known: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(subject: Any, x: Tensor, radius: float, norm: float) -> list[Claim]:
        if not known:
            raise NotKnownError("no bound of relu")
        infinite = torch.full((len(x),), math.inf).double()
        return [Claim("certified", "guarantee", infinite)]

    monkeypatch.setattr(bench, "CLAIMS", {"bounds": lost})

    assert bench.main(ASKED) == 1
    told = capsys.readouterr()
    assert "lost bounds: digits at 0.01" in told.out
    assert known or "no bound of relu" in told.err


def test_rounding_ends_with_1_where_a_built_in_network_lost_its_bound(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*asked: Any) -> Any:
        raise NotKnownError("no bound of relu")

    monkeypatch.setattr(rounding, "condition", lost)

    assert rounding.main(["--quick"]) == 1
    assert "lost: digits" in capsys.readouterr().out
