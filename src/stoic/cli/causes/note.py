"""``stoic causes note``: what a person takes for the cause of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stoic.cli.ending import one_line
from stoic.cli.output import chat

__all__ = ["note"]


def note(
    out: Annotated[Path, typer.Argument(help="Folder that --out has written.")],
    cluster: Annotated[str, typer.Argument(help="Number of the cluster.")],
    name: Annotated[
        str, typer.Argument(help="What it shows, such as 'night, glare'; '' for none.")
    ],
) -> None:
    """Give a cluster a name: it is shown on the page, and kept for the next run."""
    from stoic.report.notes import note as give

    with one_line():
        page = give(out, cluster, name)
    chat(f"page: {page}")
