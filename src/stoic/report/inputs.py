"""Inputs: which of them, and which classes, faults fail most often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoic.estimates import Row, per_class, per_input
from stoic.estimates.named import has_table
from stoic.records import Manifest, Run
from stoic.report.plots import Plot, plot

__all__ = ["Ranking", "ranked_classes", "ranked_inputs"]

_WORST = 8
# Beyond this, a line per input costs more time than it is worth.
_MOST = 4096


@dataclass(frozen=True)
class Ranking:
    """Parts of the inputs by their vulnerability.

    Args:
        worst: The most vulnerable ones that ever failed, the first ahead.
        places: Of all parts on the same scale, in percent of the width.
    """

    worst: Plot
    places: tuple[float, ...]


def ranked_classes(run: Run) -> Ranking | None:
    """Rank the classes; nothing if there are no labels."""
    if not has_table(run, "class"):
        return None
    return _ranking(per_class(run), lambda key: (_class_name(run.manifest, key), ""))


def ranked_inputs(run: Run) -> Ranking | None:
    """Rank the inputs; nothing if there are very many."""
    if run.manifest.data.inputs > _MOST or not has_table(run, "input"):
        return None
    labels = _labels(run)

    def named(key: int) -> tuple[str, str]:
        return f"input {key}", _class_name(run.manifest, labels[key])

    return _ranking(per_input(run), named)


def _ranking(rows: Sequence[Row], named: Callable[[int], tuple[str, str]]) -> Ranking:
    ordered = sorted(rows, key=lambda row: -row.estimate.value)
    failed = [row for row in ordered if row.estimate.value > 0]
    worst = plot((*named(int(row.key[0])), "", row) for row in failed[:_WORST])
    places = tuple(worst.scale.at(row.estimate.value) for row in ordered)
    return Ranking(worst, places)


def _class_name(manifest: Manifest, label: int) -> str:
    if label < 0:
        return "no class" if manifest.data.labelled else ""
    names = manifest.data.classes or []
    return names[label] if label < len(names) else f"class {label}"


def _labels(run: Run) -> list[int]:
    with run.connection() as connection:
        found = connection.execute("SELECT label FROM golden ORDER BY input").fetchall()
    return [int(label) for (label,) in found]
