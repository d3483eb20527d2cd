"""What code of somebody else has raised, in one line."""

from __future__ import annotations

from textwrap import shorten

__all__ = ["reason"]


def reason(error: Exception) -> str:
    """Return the kind of an error and what it says, in one line of bearable length."""
    return shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …")
