"""A finished or growing run, to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stoic.records.manifest import Manifest, has_cells, read_manifest
from stoic.records.parquet import columns_of, quoted
from stoic.records.shards import shard_folder, verify_golden, verify_shards

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Run", "open_run"]


@dataclass(frozen=True)
class Run:
    """A run folder whose files were found sound.

    Args:
        path: The folder.
        manifest: What the run is made of.
        shards: Numbers of the shards that are there.
    """

    path: Path
    manifest: Manifest
    shards: tuple[int, ...]

    def connection(self) -> DuckDBPyConnection:
        """Return a new database with the tables of the run.

        They are ``golden``, ``trials``, ``faults``, ``outcomes``; ``sites`` and
        ``strata`` with a ``number`` by which the manifest orders them.
        """
        import duckdb

        connection = duckdb.connect()
        _view(connection, "golden", [self.path / "golden.parquet"])
        if (self.path / "cells.parquet").exists():
            _view(connection, "cells", [self.path / "cells.parquet"])
        for table in ("trials", "faults", "outcomes"):
            files = [
                shard_folder(self.path, number) / f"{table}.parquet"
                for number in self.shards
            ]
            if files:
                _view(connection, table, files)
            else:
                _empty(connection, table, self.manifest.top_k)
        self._add_sites(connection)
        self._add_strata(connection)
        return connection

    def _add_sites(self, connection: DuckDBPyConnection) -> None:
        sites = self.manifest.space.sites
        columns = {
            "number": np.arange(len(sites)),
            "site": np.array([s.name for s in sites], object),
            "kind": np.array([s.kind for s in sites], object),
            "component": np.array([s.component for s in sites], object),
            "dtype": np.array([s.dtype for s in sites], object),
            "elements": np.array([s.elements for s in sites], np.int64),
            "bits": np.array([s.bits for s in sites], np.int64),
            "channels": np.array([s.channels or 1 for s in sites], np.int64),
        }
        connection.register("site_columns", columns)
        connection.execute("CREATE TABLE sites AS FROM site_columns")

    def _add_strata(self, connection: DuckDBPyConnection) -> None:
        strata = self.manifest.strata
        columns = {
            "number": np.arange(len(strata)),
            "stratum": np.array([s.name for s in strata], object),
        }
        connection.register("stratum_columns", columns)
        connection.execute("CREATE TABLE strata AS FROM stratum_columns")


def open_run(path: Path | str) -> Run:
    """Return the run in a folder, every file checked against its sum.

    Raises:
        RunError: It is no run folder, or a file in it is damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    verify_golden(path, cells=has_cells(manifest.plan))
    return Run(path, manifest, verify_shards(path))


def _view(connection: DuckDBPyConnection, name: str, files: list[Path]) -> None:
    listed = ", ".join(map(quoted, files))
    connection.execute(f"CREATE VIEW {name} AS FROM read_parquet([{listed}])")


def _empty(connection: DuckDBPyConnection, name: str, top_k: int) -> None:
    columns = ", ".join(f"{c} {type}" for c, type in columns_of(name, top_k).items())
    connection.execute(f"CREATE TABLE {name} ({columns})")
