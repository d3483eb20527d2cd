"""What a long benchmark has found so far: lines of JSON, appended and found again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Ledger"]


class Ledger:
    """Results by what they are of, in a file that a kill leaves whole up to its end.

    Args:
        file: Of one line per result, gone on with where it exists; None keeps nothing.

    Raises:
        ValueError: A line but the last one is no result.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, Any] = {}
        if file is not None and file.exists():
            self._read(file)

    def once(self, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Return the result of a key: the one that is known, or one made and kept.

        Args:
            key: All that the result hangs on; of texts and numbers.
            make: Gives plain data.
        """
        name = json.dumps(_plain(key), sort_keys=True)
        if name not in self._known:
            line = {"key": key, "result": make()}
            self._keep(json.dumps(_plain(line), allow_nan=False))
        return self._known[name]

    def _keep(self, line: str) -> None:
        self._take(json.loads(line))
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(line + "\n")

    def _take(self, line: Any) -> None:
        self._known[json.dumps(line["key"], sort_keys=True)] = _back(line["result"])

    def _read(self, file: Path) -> None:
        whole, lines = 0, file.read_text().splitlines(keepends=True)
        for number, text in enumerate(lines, 1):
            try:
                # A last line without its end was cut off.
                self._take(json.loads(text if text.endswith("\n") else ""))
            except (ValueError, TypeError, KeyError) as error:
                if number < len(lines):
                    raise ValueError(
                        f"line {number} of {file} must be a result, got {text[:40]!r}; "
                        "take it out or name another file"
                    ) from error
                break
            whole += len(text.encode())
        with file.open("r+b") as opened:
            opened.truncate(whole)


def _plain(value: Any) -> Any:
    """Return what strict JSON has: a text where a number is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return (
        [_plain(each) for each in value] if isinstance(value, list | tuple) else value
    )


def _back(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        return {name: _back(each) for name, each in value.items()}
    return [_back(each) for each in value] if isinstance(value, list) else value
