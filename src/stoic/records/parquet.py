"""The tables of a run as columns, and their way into Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Columns", "columns_of", "quoted", "write_parquet"]

# A masked array has NULL where it is masked.
Columns: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]

_TRIALS = {
    "trial": "BIGINT",
    "stratum": "INTEGER",
    "status": "VARCHAR",
    "message": "VARCHAR",
    "exposed": "INTEGER",
    "first": "BIGINT",
    "seconds": "DOUBLE",
    "exact": "BOOLEAN",
}
_FAULTS = {
    "trial": "BIGINT",
    "site": "VARCHAR",
    "element": "BIGINT",
    "input": "BIGINT",
    "bit": "SMALLINT",
    "old": "UBIGINT",
    "new": "UBIGINT",
}
_OUTCOMES = {
    "trial": "BIGINT",
    "input": "INTEGER",
    "differs": "BOOLEAN",
    "failed": "BOOLEAN",
    "nonfinite": "INTEGER",
    "nonfinite_at": "BIGINT",
    "deviation": "FLOAT",
}
_CELLS = {
    "cell": "INTEGER",
    "bin": "VARCHAR",
    "site": "VARCHAR",
    "bit": "SMALLINT",
    "units": "BIGINT",
    "known": "BIGINT",
    "failed": "BIGINT",
    "hint": "DOUBLE",
}
_GOLDEN = {"input": "INTEGER", "label": "INTEGER", "cluster": "BIGINT"}


def columns_of(table: str, top_k: int) -> dict[str, str]:
    """Return the columns of a table and their SQL types."""
    best = {f"top{rank}": "INTEGER" for rank in range(top_k)}
    best |= {f"score{rank}": "FLOAT" for rank in range(top_k)}
    return {
        "trials": _TRIALS,
        "faults": _FAULTS,
        "outcomes": _OUTCOMES | best,
        "golden": _GOLDEN | best,
        "cells": _CELLS,
    }[table]


def quoted(path: Path) -> str:
    """Return a path as a text literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def write_parquet(path: Path, columns: Columns, types: Mapping[str, str]) -> None:
    """Write columns of equal length.

    Raises:
        ValueError: A column is missing, unknown, or of another length.
    """
    import duckdb

    if wrong := sorted(columns.keys() ^ types.keys()):
        raise ValueError(
            f"columns of {path.stem} must be {', '.join(types)}, "
            f"got a difference in {', '.join(wrong)}"
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {path.stem} must be of one length, got {lengths}")
    chosen = ", ".join(
        f"CAST({name} AS {type}) AS {name}" for name, type in types.items()
    )
    with duckdb.connect() as connection:
        connection.register("given", dict(columns))
        connection.execute(
            f"COPY (SELECT {chosen} FROM given) TO {quoted(path)} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
