"""Inputs per fault from a pilot: the least variance for the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.enough import Spread

from stoic.campaign import piloting
from stoic.campaign.piloting import Pilot, agreement
from stoic.records import read_manifest
from test_adaptive import INPUTS, measure
from test_resume import decisions


@pytest.mark.parametrize("per_fault", [0.001, 0.05, 2.0])
@pytest.mark.parametrize("rho", [0.05, 0.5, 0.8])
def test_the_best_number_has_the_least_variance_for_the_time(
    per_fault: float, rho: float
) -> None:
    """By trying every number of a long list."""
    found = Pilot(per_fault, 0.01, rho).best
    numbers = np.geomspace(0.01, 1e4, 20_000)
    cost = (per_fault + numbers * 0.01) * (rho + (1 - rho) / numbers)

    assert found == pytest.approx(numbers[cost.argmin()], rel=1e-3)


def test_the_choice_is_the_nearest_divisor() -> None:
    assert Pilot(0.25, 0.01, 0.5).best == pytest.approx(5.0)
    assert Pilot(0.25, 0.01, 0.5).choose(128) == 4
    assert Pilot(0.25, 0.01, 0.5).choose(60) == 5
    assert Pilot(0.25, 0.01, 0.5).choose(7) == 7
    assert Pilot(0.25, 0.01, 1.0).choose(60) == 1
    assert Pilot(-0.1, 0.01, 0.2).choose(60) == 1
    assert Pilot(0.1, -0.01, 0.2).choose(60) == 60


def test_agreement_is_the_part_of_the_variance_between_faults() -> None:
    rng = np.random.default_rng(0)
    shares = rng.beta(0.2, 0.8, 40_000)
    failed = rng.random((40_000, 8)) < shares[:, None]

    # Of a beta distribution with a + b = 1, that is one half.
    assert agreement(failed) == pytest.approx(0.5, abs=0.01)
    assert agreement(np.repeat(failed[:, :1], 8, axis=1)) == 1
    assert agreement(rng.random((4_000, 8)) < 0.3) < 0.02
    assert agreement(np.zeros((5, 3), bool)) == 1
    assert agreement(np.array([[True, False]])) == 1


def test_it_is_the_number_that_uniform_sampling_is_best_with() -> None:
    """As the benchmark computes what a uniform sample needs, with its own variances."""
    rng = np.random.default_rng(1)
    shares = rng.beta(0.2, 0.8, 4_000)
    failed = rng.random((4_000, 64)) < shares[:, None]
    share = failed.mean(1)
    within = float((share * (1 - share)).mean()) * 64 / 63
    spread = Spread(10**9, 64, float(share.mean()), float(share.var()), within)
    divisors = [1, 2, 4, 8, 16, 32, 64]
    for ratio in (1.0, 9.0, 100.0):
        seconds = {n: spread.needed(0.001, n) * (ratio + n) for n in divisors}
        chosen = Pilot(ratio, 1.0, agreement(failed)).choose(64)

        assert seconds[chosen] <= 1.1 * min(seconds.values())


def test_a_campaign_keeps_the_number_that_it_has_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times differ from run to run; what is recorded is gone on with."""
    out, said = tmp_path / "run", list[str]()
    changes: dict[str, Any] = {"inputs_per_fault": "auto", "half_width": 0.2}
    monkeypatch.setattr(Pilot, "choose", lambda self, inputs: 3)
    first = measure(out, notice=said.append, **changes)
    there = decisions(out)

    def never(*_: Any) -> int:
        raise AssertionError("the number is recorded")

    monkeypatch.setattr(piloting.Pilot, "choose", never)
    again = measure(out, **changes)

    manifest = read_manifest(out)
    assert manifest.plan["per_trial"] == manifest.engine["batch"] == 3
    assert any(line.startswith("inputs per fault: 3, as inputs") for line in said)
    assert again.pvf == first.pvf and decisions(out) == there
    assert INPUTS % 3 == 0


def test_a_fault_in_one_inputs_row_has_no_other_input(tmp_path: Path) -> None:
    measure(
        tmp_path / "run", kinds=("activation",), half_width=0.4, inputs_per_fault="auto"
    )

    assert read_manifest(tmp_path / "run").plan["per_trial"] == 1
