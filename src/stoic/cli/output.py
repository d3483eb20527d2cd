"""What the command prints: results on stdout, chatter and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoic.estimates.measured import Measured
    from stoic.study import Progress

__all__ = ["aligned", "chat", "print_measured", "progress"]


def chat(line: str) -> None:
    """Say something that is no result."""
    print(line, file=sys.stderr, flush=True)


def print_measured(measured: Measured, *, as_json: bool) -> None:
    """Print the answers of a run as tables, or as JSON."""
    from stoic.estimates import OUTCOMES

    if as_json:
        print(json.dumps(measured.as_record(), indent=1))
        return
    print(measured.summary)
    print()
    lines = [_line(row, OUTCOMES[row.label]) for row in measured.outcomes()]
    print(aligned([*lines, *map(_line, measured.changed())]))
    if measured.run.manifest.space.fault_model.get("several") is None:
        print()
        print(aligned([*map(_line, measured.worst(10))]))


def _line(row: Any, name: str | None = None) -> dict[str, str]:
    return {
        "what": name or row.label,
        "share": str(row.estimate),
        "trials": f"{row.trials:,}",
        "of faults": f"{row.faults:,}",
    }


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
def progress() -> Iterator[Progress | None]:
    """Show rate and time left: a bar on a terminal, else a line now and then."""
    from stoic.cli.progress import bar, lines

    with bar() if sys.stderr.isatty() else lines(chat) as told:
        yield told
