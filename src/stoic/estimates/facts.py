"""Facts about the trials of a run, as columns in the order of the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from stoic.estimates.sample import Floats
from stoic.records import Manifest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "Bools",
    "Facts",
    "Integers",
    "Places",
    "judged",
    "read_facts",
    "read_places",
]

Bools: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(frozen=True)
class Facts:
    """What every trial has, whatever its faults.

    Args:
        trial: Number, ascending.
        stratum: Index.
        exposed: Inputs that the fault could reach.
        crashed: Whether it raised.
        unknown: Whether its outcome is unknown.
        failed: Inputs that failed.
        exact: Whether inputs without facts are masked; else they may be benign, too.
    """

    trial: Integers
    stratum: Integers
    exposed: Integers
    crashed: Bools
    unknown: Bools
    failed: Integers
    exact: Bools

    @cached_property
    def low(self) -> Floats:
        """Share of failed inputs; all fail in a crash, none where it is unknown."""
        share = np.where(self.crashed, 1.0, self.failed / self.exposed)
        return np.where(self.unknown, 0.0, share)

    @cached_property
    def high(self) -> Floats:
        """The same; all fail where it is unknown."""
        return np.where(self.unknown, 1.0, self.low)


@dataclass(frozen=True)
class Places:
    """Where the only fault of every trial was, in the order of the trials.

    Args:
        site: Index of the site in the manifest.
        element: Flat index.
        bit: Lowest bit touched.
    """

    site: Integers
    element: Integers
    bit: Integers


def judged(manifest: Manifest, criterion: Mapping[str, Any] | None) -> str:
    """Return SQL that says whether an outcome ``o`` beside its golden ``g`` failed.

    Args:
        manifest: Of the run.
        criterion: As manifests record it; nothing for the recorded one.

    Raises:
        ValueError: The stored facts do not allow that criterion.
    """
    if criterion is None or dict(criterion) == manifest.criterion:
        return "o.failed"
    # Behind a tail, or in another tensor of the output, facts are about other values.
    plain = manifest.engine.get("tail") is None and manifest.engine.get("tensors") in (
        None,
        1,
    )
    exact = manifest.mode == "exact" and plain
    # Where last bits may be off, facts are sure for the recorded verdict only.
    sure = exact or (plain and manifest.criterion == {"name": "top1-changed"})
    match dict(criterion):
        case {"name": "any-change"} if exact:
            return "o.differs"
        case {"name": "top1-changed"} if exact and manifest.top_k >= 1:
            return "(o.nonfinite > 0 OR o.top0 <> g.top0)"
        case {"name": "top1-wrong"} if (
            sure and manifest.top_k >= 1 and manifest.data.labelled
        ):
            changed = "(o.nonfinite > 0 OR o.top0 <> g.top0)"
            return f"(g.top0 = g.label AND {changed})"
        case {"name": "top-k", "k": int(k)} if exact and k <= manifest.top_k:
            best = ", ".join(f"o.top{rank}" for rank in range(k))
            return f"(o.nonfinite > 0 OR g.top0 NOT IN ({best}))"
    raise ValueError(
        f"criterion must be the recorded {manifest.criterion}, or one that the stored "
        f"facts allow, got {dict(criterion)}; run the campaign anew with it"
    )


def read_facts(connection: DuckDBPyConnection, failed: str, least: int = 1) -> Facts:
    """Return the facts of a run, with a failure judged by SQL.

    Raises:
        ValueError: There are not so many trials.
    """
    golden = "JOIN golden g USING (input)" if "g." in failed else ""
    columns = _fetch(
        connection,
        f"""
        SELECT trial, stratum, exposed, exact, status = 'crash' AS crashed,
            status = 'unknown' AS unknown, coalesce(counts.failed, 0) AS failed
        FROM trials LEFT JOIN (
            SELECT trial, count(*) FILTER (WHERE {failed}) AS failed
            FROM outcomes o {golden} GROUP BY trial
        ) counts USING (trial)
        ORDER BY trial
        """,
    )
    if columns["trial"].size < least:
        raise ValueError("a run must have at least 1 trial, got 0; go on with it")
    return Facts(
        trial=columns["trial"],
        stratum=columns["stratum"],
        exposed=columns["exposed"],
        crashed=columns["crashed"].astype(bool),
        unknown=columns["unknown"].astype(bool),
        failed=columns["failed"],
        exact=columns["exact"].astype(bool),
    )


def read_places(connection: DuckDBPyConnection) -> Places:
    """Return where the faults of a run were.

    Raises:
        ValueError: A trial holds several faults, or none.
    """
    wrong = connection.execute(
        """
        SELECT trial, count(site) FROM trials LEFT JOIN faults USING (trial)
        GROUP BY trial HAVING count(site) <> 1 ORDER BY trial LIMIT 1
        """
    ).fetchone()
    if wrong:
        raise ValueError(
            f"tables by site or bit must have one fault per trial, got {wrong[1]} in "
            f"trial {wrong[0]}; ask for the whole network"
        )
    columns = _fetch(
        connection,
        """
        SELECT sites.number AS site, element, bit
        FROM faults JOIN sites USING (site) ORDER BY trial
        """,
    )
    return Places(columns["site"], columns["element"], columns["bit"])


def _fetch(connection: DuckDBPyConnection, query: str) -> dict[str, Integers]:
    columns = connection.execute(query).fetchnumpy()
    return {
        name: np.asarray(column).astype(np.int64) for name, column in columns.items()
    }
