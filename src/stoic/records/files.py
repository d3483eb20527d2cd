"""Files that are whole or not there, and sums that show when one has changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "ELSEWHERE",
    "SUMS",
    "RunError",
    "check_sums",
    "check_writable",
    "sync",
    "write_sums",
    "write_whole",
    "writing",
]

SUMS = "sums.json"
ELSEWHERE = "make room or choose another place"
"""What to do where there is nothing to resume, as for a page."""
_RESUME = "make room or choose another folder, then resume"


class RunError(ValueError):
    """A run folder that cannot be read, written or resumed."""


@contextmanager
def writing(path: Path, remedy: str = _RESUME) -> Iterator[None]:
    """Turn any failure to write below ``path`` into one line, with what to do."""
    import duckdb

    try:
        yield
    except (OSError, duckdb.IOException) as error:
        # DuckDB tells the system's reason in the middle of its own words.
        full = os.strerror(errno.ENOSPC)
        reason = full if full in str(error) else str(error).splitlines()[0]
        raise RunError(f"{path} must be writable, got {reason}; {remedy}") from error


def check_writable(name: str, path: Path) -> None:
    """Make the folder of a file, and refuse one that could not be written.

    To be asked before the work of which it is to hold the outcome.

    Args:
        name: Of the setting.
        path: Of the file, which is left as it is.

    Raises:
        RunError: Naming both.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part = _part(path)
        part.touch()
        part.unlink()
    except OSError as error:
        raise RunError(
            f"{name} must be a file that can be written, got {path}: "
            f"{error.strerror}; choose another place"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and then rename it."""
    part = _part(path)
    try:
        part.write_text(text, encoding="utf-8")
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    # Only POSIX systems let a folder be opened; others order renames themselves.
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_sums(folder: Path, files: list[str]) -> None:
    """Record the SHA-256 of some files of a folder beside them."""
    sums = {name: _sum(folder / name) for name in files}
    write_whole(folder / SUMS, json.dumps(sums, indent=1))


def check_sums(folder: Path, what: str, files: list[str]) -> None:
    """Refuse a folder of which a file is missing or has changed.

    Raises:
        RunError: Naming the folder and the file.
    """
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        wrong = [name for name in files if sums[name] != _sum(folder / name)]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{what} must be readable, got {type(error).__name__} in {folder}; "
            "delete it and run the same command again"
        ) from error
    if wrong:
        raise RunError(
            f"{what} must match its sums, got another content of {', '.join(wrong)} "
            f"in {folder}; delete it and run the same command again"
        )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
