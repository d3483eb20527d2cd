import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from made_runs import MadeTrial, a_manifest, a_site, make_run, write_trials
from stoic import records
from stoic.records import RunError, bit_role

GOLDEN = [0, 1, 2, 0, 1, 2]
TRIALS = {
    0: MadeTrial("conv.weight", 5, 15, failed=[0, 3], differs=[1], untold=[2]),
    1: MadeTrial("fc.weight", 1, 7, status="crash"),
}


def write_run(path: Path, shards: int = 2) -> records.Manifest:
    manifest = a_manifest()
    make_run(path, manifest, [])
    for number in range(shards):
        write_trials(path, number, manifest, GOLDEN, TRIALS)
    return manifest


def rows(path: Path, query: str) -> list[Any]:
    with records.open_run(path).connection() as connection:
        return connection.execute(query).fetchall()


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = write_run(tmp_path, shards=1)

    run = records.open_run(tmp_path)

    assert run.manifest == manifest
    assert run.shards == (0,)
    assert rows(tmp_path, "SELECT trial, status, exposed, exact FROM trials") == [
        (0, "done", 6, True),
        (1, "crash", 6, True),
    ]
    assert rows(tmp_path, "SELECT site, element, input, bit, old, new FROM faults") == [
        ("conv.weight", 5, -1, 15, 0, 2**64 - 1),
        ("fc.weight", 1, -1, 7, 0, 2**64 - 1),
    ]
    columns = "trial, input, differs, failed, nonfinite, deviation, top0, score0"
    assert rows(tmp_path, f"SELECT {columns} FROM outcomes ORDER BY input") == [
        (0, 0, True, True, 0, 1.0, 1, 0.5),
        (0, 1, True, False, 0, 1.0, 1, 0.5),
        (0, 2, None, False, 0, 1.0, 2, 0.5),
        (0, 3, True, True, 0, 1.0, 1, 0.5),
    ]
    assert rows(tmp_path, "SELECT count(*) FROM golden") == [(6,)]
    assert rows(tmp_path, "SELECT number, site FROM sites") == [
        (0, "conv.weight"),
        (1, "conv.bias"),
        (2, "fc.weight"),
    ]
    assert rows(tmp_path, "SELECT number, stratum FROM strata") == [(0, "all")]


def test_a_run_without_shards_has_empty_tables(tmp_path: Path) -> None:
    write_run(tmp_path, shards=0)

    for table in ("trials", "faults", "outcomes"):
        assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_the_types_of_the_tables_are_those_of_the_format(tmp_path: Path) -> None:
    write_run(tmp_path)

    types = {
        table: [row[1] for row in rows(tmp_path, f"DESCRIBE {table}")]
        for table in ("golden", "trials", "faults", "outcomes")
    }

    assert types == {
        "golden": ["INTEGER", "INTEGER", "BIGINT", "INTEGER", "FLOAT"],
        "trials": (
            "BIGINT INTEGER VARCHAR VARCHAR INTEGER BIGINT DOUBLE BOOLEAN".split()
        ),
        "faults": "BIGINT VARCHAR BIGINT BIGINT SMALLINT UBIGINT UBIGINT".split(),
        "outcomes": (
            "BIGINT INTEGER BOOLEAN BOOLEAN INTEGER BIGINT FLOAT INTEGER FLOAT".split()
        ),
    }


def test_a_path_with_a_quote_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "it's; DROP TABLE"
    write_run(path)

    assert rows(path, "SELECT count(*) FROM trials") == [(4,)]


def test_a_huge_space_keeps_its_size_in_any_reader_of_json(tmp_path: Path) -> None:
    sites = [a_site("embedding.weight", 10**30)]
    manifest = a_manifest(sites)

    records.write_manifest(tmp_path, manifest)

    text = (tmp_path / "manifest.json").read_text()
    assert json.loads(text)["space"]["size"] == str(16 * 10**30)
    assert records.read_manifest(tmp_path) == manifest


def test_a_manifest_is_not_overwritten(tmp_path: Path) -> None:
    write_run(tmp_path)

    with pytest.raises(RunError, match="must not hold a run"):
        records.write_manifest(tmp_path, a_manifest())


def test_a_shard_is_not_overwritten(tmp_path: Path) -> None:
    write_run(tmp_path)

    with pytest.raises(RunError, match="shard 000001 must be new"):
        write_trials(tmp_path, 1, a_manifest(), GOLDEN, TRIALS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a run folder, got no readable manifest"),
        ("{", "must be a run folder, got no readable manifest"),
        ("[]", "must be a run folder, got no readable manifest"),
        ('{"format": 2}', "format of .* must be 1, got 2; use the version of Stoic"),
        ('{"format": 1}', "stoic of .* must be valid, got Field required"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(
    text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(RunError, match=message) as caught:
        records.open_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_campaign_is_refused_with_every_difference(tmp_path: Path) -> None:
    old = a_manifest()
    sites = [a_site("conv.weight", 6), *old.space.sites[1:]]
    new = a_manifest(
        [*sites[:2], a_site("fc.weight", 6)],
        seed=1,
        engine={"threads": 4},
        command=["other"],
        created="later",
        stoic="9",
    )

    with pytest.raises(RunError) as caught:
        records.check_same(old, new)

    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "seed (0 there, 1 here)",
        "engine.threads (2 there, 4 here)",
        "number of space.sites[0].shape (2 there, 1 here)",
        "space.sites[2].dtype ('int8' there, 'float16' here)",
    ):
        assert part in message
    assert "command" not in message and "created" not in message


def test_many_differences_do_not_hide_the_plain_ones() -> None:
    new = a_manifest([a_site(f"layer{i}.weight", 6) for i in range(3)], seed=1)

    with pytest.raises(RunError, match=r"seed \(0 there, 1 here\).*and \d+ more; ch"):
        records.check_same(a_manifest(), new)


def test_the_same_campaign_goes_on_with_another_version_of_stoic() -> None:
    records.check_same(a_manifest(), a_manifest(stoic="9", command=[], created="now"))


def test_a_missing_field_is_a_difference() -> None:
    with pytest.raises(
        RunError, match=r"another engine.device \(None there, 'cpu' her"
    ):
        records.check_same(
            a_manifest(), a_manifest(engine={"threads": 2, "device": "cpu"})
        )


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("table", ["trials", "faults", "outcomes"])
def test_a_flipped_bit_in_a_shard_is_named(table: str, tmp_path: Path) -> None:
    write_run(tmp_path)
    damage(tmp_path / "shards" / "000001" / f"{table}.parquet")

    with pytest.raises(RunError, match=f"shard 000001 must match .* {table}.parquet"):
        records.open_run(tmp_path)


@pytest.mark.parametrize("name", ["sums.json", "faults.parquet"])
def test_a_shard_with_a_file_missing_is_named(name: str, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "shards" / "000000" / name).unlink()

    with pytest.raises(RunError, match="shard 000000 must be readable"):
        records.verify_shards(tmp_path)


def test_a_damaged_golden_run_is_named(tmp_path: Path) -> None:
    write_run(tmp_path)
    damage(tmp_path / "golden.parquet")

    with pytest.raises(RunError, match="golden run must match its sums"):
        records.open_run(tmp_path)


def test_a_run_without_a_golden_run_is_refused(tmp_path: Path) -> None:
    records.write_manifest(tmp_path, a_manifest())

    with pytest.raises(RunError, match="must hold a golden run, got none"):
        records.open_run(tmp_path)


def test_leftovers_are_passed_over_by_readers_and_cleared_to_go_on(
    tmp_path: Path,
) -> None:
    write_run(tmp_path)
    part = tmp_path / "shards" / "000002.part"
    part.mkdir()
    (part / "trials.parquet").write_bytes(b"half")

    assert records.open_run(tmp_path).shards == (0, 1)
    assert part.exists()
    write_trials(tmp_path, 2, a_manifest(), GOLDEN, TRIALS)
    assert records.verify_shards(tmp_path) == (0, 1, 2)
    part.mkdir()
    records.clear_leftovers(tmp_path)

    assert not part.exists()


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_of_duckdb(*_: Any, **__: Any) -> None:
    raise duckdb.IOException("Could not write file: No space left on device\nmore")


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("os.fsync", full),
        ("os.rename", full),
        ("stoic.records.shards.write_parquet", full_of_duckdb),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_half_shard(
    name: str, failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_run(tmp_path)
    monkeypatch.setattr(name, failure)

    with pytest.raises(
        RunError, match="must be writable, got .*No space left"
    ) as caught:
        write_trials(tmp_path, 2, manifest, GOLDEN, TRIALS)
    monkeypatch.undo()

    assert "\n" not in str(caught.value)
    names = sorted(entry.name for entry in (tmp_path / "shards").iterdir())
    assert names == ["000000", "000001"]
    assert records.open_run(tmp_path).shards == (0, 1)


def test_a_full_disk_leaves_no_half_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(RunError, match="No space left"):
        records.write_manifest(tmp_path, a_manifest())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": None}, "columns of trials must be .* difference in seconds"),
        ({"more": np.zeros(1)}, "columns of trials must be .* difference in more"),
        ({"seconds": np.zeros(5)}, "columns of trials must be of one length"),
    ],
)
def test_columns_that_are_not_those_of_the_format_are_refused(
    change: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = records.write_shard

    def changed(path: Path, number: int, *, trials: Any, **others: Any) -> None:
        columns = {**trials, **change}
        kept = {k: v for k, v in columns.items() if v is not None}
        write(path, number, trials=kept, **others)

    monkeypatch.setattr(records, "write_shard", changed)

    with pytest.raises(ValueError, match=message):
        write_trials(tmp_path, 0, a_manifest(), GOLDEN, TRIALS)
    assert list((tmp_path / "shards").iterdir()) == []


CAMPAIGN = """
import sys
from itertools import count
from pathlib import Path
from made_runs import MadeTrial, a_manifest, write_trials

trials = {i: MadeTrial("conv.weight", i % 6, i % 16, failed=[0]) for i in range(50)}
for number in count():
    write_trials(Path(sys.argv[1]), number, a_manifest(), [0] * 6, trials)
    print(number, flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05])
def test_a_killed_campaign_loses_only_the_shard_being_made(
    delay_s: float, tmp_path: Path
) -> None:
    write_run(tmp_path, shards=0)
    process = subprocess.Popen(
        [sys.executable, "-c", CAMPAIGN, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()

    done = records.verify_shards(tmp_path)
    records.clear_leftovers(tmp_path)

    # A shard may be there whole before its number was printed.
    assert done == tuple(range(len(done)))
    assert len(done) - sum(line.endswith("\n") for line in said) in (0, 1)
    left = [entry.name for entry in (tmp_path / "shards").iterdir()]
    assert sorted(left) == [f"{number:06d}" for number in done]
    assert rows(tmp_path, "SELECT count(*) FROM trials") == [(50 * len(done),)]


@pytest.mark.parametrize(
    ("dtype", "roles"),
    [
        ("float64", "mantissa " * 52 + "exponent " * 11 + "sign"),
        ("float32", "mantissa " * 23 + "exponent " * 8 + "sign"),
        ("float16", "mantissa " * 10 + "exponent " * 5 + "sign"),
        ("bfloat16", "mantissa " * 7 + "exponent " * 8 + "sign"),
        ("float8_e4m3fn", "mantissa " * 3 + "exponent " * 4 + "sign"),
        ("float8_e5m2", "mantissa " * 2 + "exponent " * 5 + "sign"),
        ("int64", "magnitude " * 63 + "sign"),
        ("int32", "magnitude " * 31 + "sign"),
        ("int16", "magnitude " * 15 + "sign"),
        ("int8", "magnitude " * 7 + "sign"),
        ("uint8", "magnitude " * 8),
        ("bool", "magnitude " * 8),
    ],
)
def test_every_bit_has_the_role_of_its_format(dtype: str, roles: str) -> None:
    expected = roles.split()

    assert [bit_role(dtype, bit) for bit in range(len(expected))] == expected
    for bit in (-1, len(expected)):
        with pytest.raises(ValueError, match=f"for {dtype}, got {bit}"):
            bit_role(dtype, bit)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype must be one of float64, .* got float4"):
        bit_role("float4", 0)
