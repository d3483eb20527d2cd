"""Verification: recorded trials against naive runs, and differences found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from torch import Tensor, nn

from stoic.campaign.verify import VerifyError
from stoic.records.files import write_sums
from stoic.study import pvf


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    ).eval()


def pictures() -> Tensor:
    return torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def run(out: Path, **changes: Any) -> None:
    given = {"faults": 120, "bits": "exponent,sign", "batch": 4}
    pvf(network(), pictures(), out=out, **{**given, **changes})


def tampered(out: Path, table: str, select: str) -> None:
    """Rewrite a table of the only shard, with sums that are right for it."""
    shard = out / "shards" / "000000"
    file = shard / f"{table}.parquet"
    other = file.with_suffix(".other")
    query = f"SELECT {select} FROM read_parquet('{file}')"
    duckdb.execute(f"COPY ({query}) TO '{other}' (FORMAT parquet)")
    other.rename(file)
    write_sums(shard, [f"{name}.parquet" for name in ("trials", "faults", "outcomes")])


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("kinds", [("parameter", "buffer"), ("activation", "input")])
def test_every_trial_agrees_with_a_naive_run(
    mode: Any, kinds: tuple[Any, ...], tmp_path: Path
) -> None:
    run(tmp_path / "run", mode=mode, kinds=kinds, verify=120)


@pytest.mark.parametrize(
    ("mode", "table", "select"),
    [
        ("exact", "outcomes", "* REPLACE (NOT failed AS failed)"),
        ("exact", "outcomes", "* REPLACE (deviation + 1 AS deviation)"),
        ("exact", "outcomes", "* REPLACE (nextafter(score0, 0) AS score0)"),
        ("exact", "faults", "* REPLACE (xor(new, 1) AS new)"),
        ("fast", "outcomes", "* REPLACE (NOT failed AS failed)"),
        ("fast", "outcomes", "* REPLACE (nonfinite + 1 AS nonfinite)"),
        ("fast", "trials", "* REPLACE (exposed - 1 AS exposed)"),
    ],
)
def test_a_record_that_is_not_true_is_found(
    mode: Any, table: str, select: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(out, mode=mode)
    tampered(out, table, select)

    with pytest.raises(VerifyError) as error:
        run(out, mode=mode, verify=120)

    assert "trial" in str(error.value) and "\n" not in str(error.value)


def test_few_trials_are_drawn_by_the_seed(tmp_path: Path) -> None:
    """One wrong trial of 120 is missed by a few, and found by all."""
    out = tmp_path / "run"
    run(out)
    tampered(out, "trials", "* REPLACE (exposed - (trial = 7)::INT AS exposed)")

    run(out, verify=1)
    with pytest.raises(VerifyError, match="trial 7 "):
        run(out, verify=120)
