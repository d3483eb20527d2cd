"""Counting verdicts, in the text format that Prometheus scrapes.

References:
    Prometheus, Exposition formats: text format, version 0.0.4.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stoic.monitors.verdict import Verdict
from stoic.records.files import write_whole

__all__ = ["Counters"]

_METRICS = {
    "stoic_verdicts_total": "Inferences by the class of the monitor's verdict.",
    "stoic_unlike_total": "Inferences that are unlike fault-free ones, by class.",
}


class Counters:
    """How often a monitor has said what. Threads may share one.

    Args:
        classes: As `Monitor.classes` has them.
        labels: Of every line, such as the name of the network.

    Raises:
        ValueError: A label has a name that Prometheus refuses, or that is used here.
    """

    def __init__(
        self, classes: Sequence[str], labels: Mapping[str, str] | None = None
    ) -> None:
        for name in labels or {}:
            plain = name.isascii() and name.isidentifier()
            if not plain or name.startswith("__") or name == "class":
                raise ValueError(
                    "labels must be named by letters, digits and underscores, and not "
                    f"'class', got {name!r}; choose another name"
                )
        self._classes, self._labels = tuple(classes), dict(labels or {})
        self._lock = threading.Lock()
        self._found: Counter[tuple[int, bool]] = Counter()

    def add(self, verdict: Verdict) -> None:
        """Count the rows of a verdict."""
        pairs = zip(verdict.label.tolist(), verdict.unlike.tolist(), strict=True)
        found = Counter(pairs)
        with self._lock:
            self._found.update(found)

    def count(self, label: int, *, unlike: bool | None = None) -> int:
        """Return how many inferences got a class.

        Args:
            label: Index of the class.
            unlike: Only those for which the calibrated alarm was raised, or was not.
        """
        with self._lock:
            either = (True, False) if unlike is None else (unlike,)
            return sum(self._found[label, alarm] for alarm in either)

    def text(self) -> str:
        """Return all counts in text format; they only ever grow."""
        return "".join(f"{line}\n" for line in self._lines())

    def write(self, path: Path) -> None:
        """Write the text to a file, at once, for a collector that reads files."""
        write_whole(path, self.text())

    def _lines(self) -> Iterator[str]:
        with self._lock:
            found = self._found.copy()
        for metric, about in _METRICS.items():
            yield f"# HELP {metric} {_escaped_help(about)}"
            yield f"# TYPE {metric} counter"
            for label, name in enumerate(self._classes):
                regular = found[label, False] if metric == "stoic_verdicts_total" else 0
                labels = _labels({**self._labels, "class": name})
                yield f"{metric}{labels} {found[label, True] + regular}"


def _labels(labels: Mapping[str, str]) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return _escaped_help(value).replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
