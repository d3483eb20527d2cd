"""Run folders: what a campaign writes, and what everything else reads."""

from stoic.records.files import RunError
from stoic.records.manifest import (
    FORMAT,
    DataRecord,
    Manifest,
    NetworkRecord,
    SiteRecord,
    SpaceRecord,
    StratumRecord,
    check_same,
    has_cells,
    read_manifest,
    write_manifest,
)
from stoic.records.parquet import Columns
from stoic.records.run import Run, open_run
from stoic.records.shards import (
    clear_leftovers,
    verify_shards,
    write_cells,
    write_golden,
    write_shard,
)
from stoic.records.words import bit_role

__all__ = [
    "FORMAT",
    "Columns",
    "DataRecord",
    "Manifest",
    "NetworkRecord",
    "Run",
    "RunError",
    "SiteRecord",
    "SpaceRecord",
    "StratumRecord",
    "bit_role",
    "check_same",
    "clear_leftovers",
    "has_cells",
    "open_run",
    "read_manifest",
    "verify_shards",
    "write_cells",
    "write_golden",
    "write_manifest",
    "write_shard",
]
