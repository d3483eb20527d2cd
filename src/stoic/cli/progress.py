"""Progress: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar", "lines"]

_FIRST_S, _EVERY_S = 2.0, 15.0


@contextmanager
def bar(things: str) -> Iterator[Callable[[int, int], None]]:
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
        TextColumn(things),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    pace = _Pace()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(things, total=None, rate=0.0)

        def told(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total, rate=pace(done))

        yield told


@contextmanager
def lines(
    say: Callable[[str], None], things: str
) -> Iterator[Callable[[int, int], None]]:
    """Say a line after two seconds, and then one now and then."""
    pace = _Pace()
    due = time.monotonic() + _FIRST_S

    def tell(done: int, total: int) -> None:
        nonlocal due
        rate = pace(done)
        now = time.monotonic()
        if now < due or done >= total:
            return
        due = now + _EVERY_S
        told = [f"{done:,} of {total:,} {things}"]
        if rate:
            told += [f"{rate:.1f}/s", f"about {(total - done) / rate:.0f} s left"]
        say(", ".join(told))

    yield tell


class _Pace:
    """Things per second since the first that was told: a resumed run has done some."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        before, begun = self._first
        return (done - before) / max(now - begun, 1e-9)
