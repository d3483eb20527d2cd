"""Progress: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar", "lines"]

_FIRST_S, _EVERY_S = 2.0, 15.0


@contextmanager
def bar() -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on the terminal's error stream."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("trials"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("trials", total=None, rate=0.0)

        def told(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - begun, 1e-9)
            shown.update(task, completed=done, total=total, rate=rate)

        yield told


@contextmanager
def lines(say: Callable[[str], None]) -> Iterator[Callable[[int, int], None]]:
    """Say a line after two seconds, and then one now and then."""
    begun = time.monotonic()
    due = begun + _FIRST_S

    def told(done: int, total: int) -> None:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return
        due = now + _EVERY_S
        rate = done / (now - begun)
        left = (total - done) / rate
        say(f"{done:,} of {total:,} trials, {rate:.1f}/s, about {left:.0f} s left")

    yield told
