"""What the command prints: results on stdout, chatter and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoic.estimates import Row
    from stoic.estimates.measured import Measured
    from stoic.study import Progress

__all__ = ["aligned", "chat", "print_measured", "progress"]


def chat(line: str) -> None:
    """Say something that is no result."""
    print(line, file=sys.stderr, flush=True)


def print_measured(
    measured: Measured, tables: Sequence[str] = (), *, as_json: bool
) -> None:
    """Print the answers of a run as tables, or as JSON.

    Args:
        measured: The run.
        tables: Names of the tables wanted; a few by default.
        as_json: For machines.

    Raises:
        ValueError: The run has no such table; nothing was printed.
    """
    if as_json:
        print(json.dumps(measured.as_record(tables), indent=1))
        return
    names = tables or filter(measured.has, _USUAL)
    parts = [aligned(_lines(measured, name)) + _note(measured, name) for name in names]
    print("\n\n".join([measured.summary, *parts]))


_USUAL = ("outcomes", "changed", "worst")
# Sites in the table of the worst.
_LISTED = 10
_FIRST = {"outcomes": "outcome", "worst": "site", "changed": "what"}


def _lines(measured: Measured, table: str) -> list[dict[str, str]]:
    first = _FIRST.get(table, table)
    return [
        {
            first: _named(measured, table, row),
            "share": str(row.estimate),
            "trials": f"{row.trials:,}",
            "of faults": f"{row.faults:,}",
        }
        for row in measured.table(table)
    ]


def _note(measured: Measured, table: str) -> str:
    """Say how far the list of the worst sites can be trusted."""
    from stoic.records import has_cells

    manifest = measured.run.manifest
    few = len(manifest.space.sites) <= _LISTED
    if few or table != "worst" or not has_cells(manifest.plan):
        return ""
    points = 100 * measured.worst_within(_LISTED)
    return (
        f"\nall of these are within {points:.3g} points of the true tenth worst, or "
        "worse (95 % guaranteed, for all sites at once)"
    )


def _named(measured: Measured, table: str, row: Row) -> str:
    """What a row is about, in words."""
    from stoic.estimates import OUTCOMES

    if table == "outcomes":
        return OUTCOMES[row.label]
    classes = measured.run.manifest.data.classes or []
    if table == "class" and 0 <= int(row.key[0]) < len(classes):
        return classes[int(row.key[0])]
    return row.label


def aligned(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as columns of text under their names."""
    if not rows:
        return "none"
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def progress(things: str = "trials") -> Iterator[Progress | None]:
    """Show rate and time left: a bar on a terminal, else a line now and then."""
    from stoic.cli.progress import bar, lines

    with bar(things) if sys.stderr.isatty() else lines(chat, things) as told:
        yield told
