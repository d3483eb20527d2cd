"""The page of predicted faults: cells, the joint table of tensors, and what agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.plots import Tick
from stoic.report.templating import rendered

__all__ = ["write_predicted_report"]

Record: TypeAlias = Mapping[str, Any]
# The plot ends at a ten-thousandth: less is drawn there, as none is.
_DECADES = 4
_WORST = 20


@dataclass(frozen=True)
class Dot:
    """One cell on the plot; places are in percent of the plot's sides.

    Args:
        x: Of the predicted PVF.
        y: Of the measured one, from above.
        low: Of its lower limit.
        high: Of the upper one.
        title: What it is about; untrusted.
    """

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class Number:
    """A number of the joint table.

    Args:
        text: As shown; a dash where there is none.
        filled: Its share of the column's largest, in percent.
    """

    text: str
    filled: float


@dataclass(frozen=True)
class Sheet:
    """What the page shows.

    Args:
        case: What was asked about; untrusted.
        inputs: How many.
        passes: Forward passes at batch 32 that slopes cost.
        dots: Cells that were measured, too.
        ticks: Of both scales, from the least.
        points: Of the calibration curve: predicted and turned, on scales of all shares.
        shares: Ticks of these.
        worst: Cells: tensor, bit, predicted, measured.
        columns: Names of the joint table's columns.
        tensors: Name and numbers, by row.
        agreements: Two names, Spearman's correlation with limits, Kendall's, tensors.
    """

    case: str
    inputs: int
    passes: float
    dots: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    points: tuple[Dot, ...]
    shares: tuple[Tick, ...]
    worst: tuple[tuple[str, int, str, str], ...]
    columns: tuple[str, ...]
    tensors: tuple[tuple[str, tuple[Number, ...]], ...]
    agreements: tuple[tuple[str, str, str, str, int], ...]


def write_predicted_report(predicted: Record, case: str, out: Path) -> Path:
    """Write the page: one file that needs nothing but a browser.

    Args:
        predicted: As `stoic.predicting.Predicted.as_record` gives it.
        case: What was asked about.
        out: Where to; it is whole or as it was, at any moment.

    Raises:
        RunError: The page finds no room.
    """
    text = rendered("predicted.html.j2", p=_sheet(predicted, case))
    with writing(out, ELSEWHERE):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    return out


def _sheet(predicted: Record, case: str) -> Sheet:
    cells: Sequence[Record] = predicted["cells"]
    worst = sorted(cells, key=lambda cell: -cell["predicted"])[:_WORST]
    columns: Mapping[str, Sequence[float | None]] = predicted["columns"]
    numbers = [_column(column) for column in columns.values()]
    return Sheet(
        case=case,
        inputs=predicted["inputs"],
        passes=predicted["passes"],
        dots=tuple(_dot(cell) for cell in cells if cell["measured"] is not None),
        ticks=tuple(_tick(decade) for decade in range(_DECADES + 1)),
        points=tuple(map(_point, predicted["calibration"])),
        shares=tuple(Tick(n, f"{n}", True) for n in (0, 25, 50, 75, 100)),
        worst=tuple(
            (cell["site"], cell["bit"], f"{cell['predicted']:.2%}", _measured(cell))
            for cell in worst
        ),
        columns=tuple(columns),
        tensors=tuple(
            (name, tuple(column[place] for column in numbers))
            for place, name in enumerate(predicted["layers"])
        ),
        agreements=tuple(map(_agreement, predicted["agreements"])),
    )


def _place(share: float) -> float:
    """Return the place of a share on the logarithmic scale, from its least end."""
    decades = math.log10(share) + _DECADES if share > 0 else 0.0
    return round(100 * min(max(decades / _DECADES, 0.0), 1.0), 2)


def _dot(cell: Record) -> Dot:
    measured = 100 - _place(cell["measured"])
    low, high = (round(100 - _place(cell[end]), 2) for end in ("low", "high"))
    title = (
        f"{cell['site']}, bit {cell['bit']}: predicted {cell['predicted']:.2%}, "
        f"measured {_measured(cell)}"
    )
    return Dot(_place(cell["predicted"]), round(measured, 2), low, high, title)


def _point(point: Record) -> Dot:
    """Return a point of the calibration curve."""
    turned, low, high = (
        round(100 - 100 * point[name], 2) for name in ("measured", "low", "high")
    )
    title = (
        f"{point['count']:,} verdicts: predicted {point['predicted']:.2%}, "
        f"{point['measured']:.2%} turned"
    )
    return Dot(round(100 * point["predicted"], 2), turned, low, high, title)


def _tick(decade: int) -> Tick:
    text = f"{100 * 10.0 ** (decade - _DECADES):g}"
    return Tick(100 * decade / _DECADES, text if decade else f"≤ {text}", True)


def _measured(cell: Record) -> str:
    if cell["measured"] is None:
        return "–"
    return f"{cell['measured']:.2%} [{cell['low']:.2%}, {cell['high']:.2%}]"


def _column(column: Sequence[float | None]) -> list[Number]:
    most = max((abs(each) for each in column if each is not None), default=0.0)
    return [
        Number("–", 0.0)
        if each is None
        else Number(f"{each:.3g}", round(100 * max(each, 0.0) / most, 1) if most else 0)
        for each in column
    ]


def _agreement(each: Record) -> tuple[str, str, str, str, int]:
    spearman = kendall = "–"
    if each["spearman"] is not None:
        spearman = f"{each['spearman']:.2f} [{each['low']:.2f}, {each['high']:.2f}]"
        kendall = f"{each['kendall']:.2f}"
    return each["first"], each["second"], spearman, kendall, each["layers"]
