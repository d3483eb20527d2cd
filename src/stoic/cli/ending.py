"""How a command ends: its exit codes, and one line for what a user did wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from stoic.cli.output import chat

__all__ = [
    "BROKEN",
    "DONE",
    "NOT_SHOWN",
    "STOPPED",
    "TOO_HIGH",
    "WRONG_USE",
    "one_line",
    "stop",
]

DONE, TOO_HIGH, WRONG_USE, NOT_SHOWN, BROKEN, STOPPED = 0, 1, 2, 3, 4, 130


@contextmanager
def one_line() -> Iterator[None]:
    """Say what a user did wrong in one line, without a traceback."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        stop(error, WRONG_USE)


def stop(error: Exception, code: int) -> NoReturn:
    """Say in one line what went wrong, and exit with a code."""
    chat(f"stoic: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise typer.Exit(code)
