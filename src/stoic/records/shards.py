"""Shards: the trials of a run, in parts that are whole or not there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from stoic.records.files import (
    SUMS,
    RunError,
    check_sums,
    sync,
    write_sums,
    writing,
)
from stoic.records.parquet import Columns, columns_of, write_parquet

__all__ = [
    "clear_leftovers",
    "shard_folder",
    "verify_golden",
    "verify_shards",
    "write_cells",
    "write_golden",
    "write_shard",
]

_TABLES = ("trials", "faults", "outcomes")
_FILES = [f"{table}.parquet" for table in _TABLES]
_BEFORE = ["golden.parquet", "cells.parquet"]
_PART = ".part"


def shard_folder(path: Path, number: int) -> Path:
    """Return where a shard of the run at ``path`` belongs."""
    return path / "shards" / f"{number:06d}"


def write_shard(
    path: Path,
    number: int,
    *,
    trials: Columns,
    faults: Columns,
    outcomes: Columns,
) -> None:
    """Add a shard; after a crash at any moment it is there whole, or not at all.

    Args:
        path: The run folder.
        number: Of the shard.
        trials: One row per trial.
        faults: One row per fault.
        outcomes: One row per input that is not masked; how many of the best classes
            are kept follows from the columns.

    Raises:
        RunError: The shard is there already, or there is no room for it.
    """
    folder = shard_folder(path, number)
    if folder.exists():
        raise RunError(f"shard {folder.name} must be new, got one in {folder}")
    part = folder.with_name(folder.name + _PART)
    top_k = sum(name.startswith("top") for name in outcomes)
    with writing(path):
        try:
            _fresh(part)
            for table, columns in zip(_TABLES, (trials, faults, outcomes), strict=True):
                file = part / f"{table}.parquet"
                write_parquet(file, columns, columns_of(table, top_k))
                sync(file)
            write_sums(part, _FILES)
            os.rename(part, folder)
            sync(folder.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def verify_shards(path: Path) -> tuple[int, ...]:
    """Return the numbers of the shards of a run, all of them sound.

    Raises:
        RunError: Naming a shard that is damaged.
    """
    folder = path / "shards"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    numbers = tuple(int(name) for name in names if re.fullmatch(r"\d{6,}", name))
    for number in numbers:
        place = shard_folder(path, number)
        check_sums(place, f"shard {place.name}", _FILES)
    return numbers


def clear_leftovers(path: Path) -> None:
    """Remove what a killed campaign was making; only for who goes on with the run."""
    for part in (path / "shards").glob(f"*{_PART}"):
        shutil.rmtree(part)


def write_golden(path: Path, columns: Columns) -> None:
    """Record the golden run, one row per input, before the manifest is written.

    Raises:
        RunError: There is no room for it.
    """
    top_k = sum(name.startswith("top") for name in columns)
    part = path / f"golden{_PART}.parquet"
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        write_parquet(part, columns, columns_of("golden", top_k))
        sync(part)
        os.replace(part, path / "golden.parquet")
        write_sums(path, [name for name in _BEFORE if (path / name).exists()])


def write_cells(path: Path, columns: Columns) -> None:
    """Record what a plan on units draws from, before the golden run is written.

    Raises:
        RunError: There is no room for it.
    """
    part = path / f"cells{_PART}.parquet"
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        write_parquet(part, columns, columns_of("cells", 0))
        sync(part)
        os.replace(part, path / "cells.parquet")


def verify_golden(path: Path, *, cells: bool = False) -> None:
    """Refuse a run whose golden run is missing or damaged.

    Args:
        path: The run folder.
        cells: Whether there must be a table of cells, too.

    Raises:
        RunError: Naming it.
    """
    if not (path / SUMS).exists():
        raise RunError(f"{path} must hold a golden run, got none; start it anew")
    check_sums(path, "golden run", _BEFORE if cells else _BEFORE[:1])


def _fresh(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
