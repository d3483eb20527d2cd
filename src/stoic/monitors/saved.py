"""Saved monitors: a file is whole, or one line says what is wrong with it and where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "read_record", "reading"]

FORMAT = 4
_PARTS: Mapping[str, type] = {
    "network": str,
    "about": dict,
    "watches": list,
    "rules": dict,
    "alarm": dict,
    "points": dict,
}
_WORDS: Mapping[type, str] = {str: "text", dict: "an object", list: "a list"}


def read_record(path: Path) -> dict[str, Any]:
    """Return what a file of a monitor holds, with all parts there and of their kind.

    Raises:
        ValueError: It cannot be read, is none, of another format, or not whole.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
        version = record["stoic monitor"]
    # Text that is no JSON, or not even text, is a value error, too.
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(
            f"{path} must be a monitor that Stoic has saved, got something else; "
            "fit one with 'stoic monitor fit'"
        ) from None
    except OSError as error:
        raise ValueError(
            f"monitor must be a file that can be read, got {path}: "
            f"{error.strerror}; fit one with 'stoic monitor fit'"
        ) from None
    if version != FORMAT:
        raise ValueError(
            f"format of {path} must be {FORMAT}, got {version}; fit it again"
        )
    if lacking := [name for name in _PARTS if name not in record]:
        raise _torn(path, f"it without {', '.join(lacking)}")
    for name, kind in _PARTS.items():
        if not isinstance(record[name], kind):
            given = json.dumps(record[name])[:40]
            raise _torn(path, f"{name} {given}, which is not {_WORDS[kind]}")
    return dict(record)


@contextmanager
def reading(path: Path, part: str) -> Iterator[None]:
    """Turn whatever is wrong with a part of a file into one line that names both."""
    try:
        yield
    except KeyError as error:
        raise _torn(path, f"{part} without {error.args[0]!r}") from None
    except (
        ArithmeticError,
        AttributeError,
        IndexError,
        TypeError,
        ValueError,
    ) as error:
        why = str(error).partition("; ")[0]
        raise _torn(path, f"{part} that cannot be read: {why}") from None
    except RecursionError:
        raise _torn(path, f"{part} nested too deeply") from None


def _torn(path: Path, got: str) -> ValueError:
    return ValueError(f"{path} must be whole, got {got}; fit it again")


def _refused(name: str) -> None:
    raise ValueError(f"{name} is never saved")
