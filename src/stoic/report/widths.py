"""The page of bit widths: findings as plain data in, one HTML file out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stoic.estimates import Estimate
from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.plots import Tick
from stoic.report.templating import rendered
from stoic.report.text import limits, percent

__all__ = ["Dot", "Sheet", "write_widths_report"]

Record: TypeAlias = Mapping[str, Any]
_TICKS = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.0)
_NAMES = {"both": "weights and values"}


@dataclass(frozen=True)
class Dot:
    """One width on the plot; places are in percent of the plot's sides.

    Args:
        x: Place of the width.
        width: In bits.
        format: Its name.
        predicted: Place of the predicted share.
        told: The predicted share as text.
        measured: Places of the measured share and its limits; None if not tried.
        share: The measured share as text; empty if not tried.
        limits: Its interval as text.
        accuracy: As text; empty without labels.
        proved: The share that is proved as text; empty if not asked.
    """

    x: float
    width: int
    format: str
    predicted: float
    told: str
    measured: tuple[float, float, float] | None
    share: str
    limits: str
    accuracy: str
    proved: str


@dataclass(frozen=True)
class Bar:
    """One layer.

    Args:
        name: Of it; untrusted.
        words: Of its weight.
        macs: Multiplications for one input.
        noise: Its share of the noise, in percent.
        width: Its width under the budget; None without one.
        filled: That width in percent of the widest.
    """

    name: str
    words: int
    macs: int
    noise: float
    width: int | None
    filled: float


@dataclass(frozen=True)
class Sheet:
    """What the page shows.

    Args:
        case: What was tried; untrusted.
        network: Its class.
        inputs: That it was tried on.
        what: Is made narrower.
        keep: Share of the decisions that has to stay, in percent.
        line: Its place on the plot.
        figures: Name and text of the three widths.
        silent: Why there is no provable one.
        dots: By width.
        ticks: Of the shares.
        layers: In order.
        stored: Words of the network, those of the layers among them.
        plans: Under the budget: name, predicted and measured share.
        budget: In words; empty without one.
        labelled: Whether accuracies are known.
    """

    case: str
    network: str
    inputs: int
    what: str
    keep: float
    line: float
    figures: tuple[tuple[str, str], ...]
    silent: str
    dots: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    layers: tuple[Bar, ...]
    stored: int
    plans: tuple[tuple[str, str, str], ...]
    budget: str
    labelled: bool

    @property
    def summary(self) -> str:
        """What matters, in a sentence."""
        told = "; ".join(f"{name}: {text}" for name, text in self.figures)
        return (
            f"The least width of all {self.what} that keeps {self.keep:g} % of "
            f"{self.inputs:,} decisions. {told[0].upper()}{told[1:]}."
        )

    @property
    def narrower(self) -> int:
        """Words of the layers."""
        return sum(layer.words for layer in self.layers)

    @property
    def proves(self) -> bool:
        """Whether anything was asked of a proof."""
        return any(dot.proved for dot in self.dots)


def write_widths_report(widths: Record, case: str, out: Path) -> Path:
    """Write the page of bit widths: one file that needs nothing but a browser.

    Args:
        widths: As `stoic.widths.Widths.as_record` gives it.
        case: What was tried.
        out: Where to; it is whole or as it was, at any moment.

    Raises:
        RunError: The page finds no room.
    """
    text = rendered("widths.html.j2", c=_sheet(widths, case))
    with writing(out, ELSEWHERE):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    return out


def _sheet(widths: Record, case: str) -> Sheet:
    asked, rows = widths["settings"], widths["rows"]
    figures = (
        ("predicted, on average", _bits(widths["predicted"], "none")),
        (
            "measured",
            _bits(widths["measured"], "none") if asked["check"] else "not asked",
        ),
        ("provable", _bits(widths["provable"])),
    )
    return Sheet(
        case=case,
        network=widths["network"],
        inputs=widths["inputs"],
        what=_NAMES.get(asked["parts"], asked["parts"]),
        keep=100 * asked["keep"],
        line=_down(asked["keep"]),
        figures=figures,
        silent=widths["silent"],
        dots=tuple(_dot(row, place, len(rows)) for place, row in enumerate(rows)),
        ticks=tuple(Tick(_down(s), f"{100 * s:g}", True) for s in _TICKS),
        layers=_bars(widths["layers"]),
        stored=widths["words"],
        plans=tuple(_plans(widths["assigned"])),
        budget=_budget(widths["assigned"]),
        labelled=widths["accuracy"] is not None,
    )


def _down(share: float) -> float:
    """Return the place from above: a square-root scale of the decisions that change."""
    return round(100 * math.sqrt(max(1 - share, 0.0)), 2)


def _bits(width: int | None, none: str = "no statement") -> str:
    return none if width is None else f"{width} bits"


def _dot(row: Record, place: int, count: int) -> Dot:
    kept = row["measured"]
    share = Estimate(**kept["share"]) if kept else None
    accuracy = kept["accuracy"] if kept else None
    return Dot(
        x=round(100 * (place + 0.5) / count, 2),
        width=row["width"],
        format=row["format"],
        predicted=_down(row["predicted"]),
        told=_share(row["predicted"]),
        measured=(_down(share.value), _down(share.low), _down(share.high))
        if share
        else None,
        share=percent(share) if share else "",
        limits=limits(share) if share else "",
        accuracy="" if accuracy is None else f"{100 * accuracy:.1f}",
        proved="" if row["proved"] is None else _share(row["proved"]),
    )


def _share(share: float) -> str:
    text = f"{100 * share:.2f}"
    return "< 100" if text == "100.00" and share < 1 else text


def _bars(layers: Sequence[Record]) -> tuple[Bar, ...]:
    widest = max((layer["width"] or 0 for layer in layers), default=0) or 1
    return tuple(
        Bar(
            name=layer["name"],
            words=layer["words"],
            macs=layer["macs"],
            noise=round(100 * layer["noise"], 1),
            width=layer["width"],
            filled=round(100 * (layer["width"] or 0) / widest, 1),
        )
        for layer in layers
    )


def _budget(assigned: Record | None) -> str:
    if assigned is None:
        return ""
    plan = assigned["plan"]
    budget = plan["budget"]
    return f"{plan['cost']:,.0f} of {budget['limit']:,.0f} {budget['kind']}"


def _plans(assigned: Record | None) -> list[tuple[str, str, str]]:
    if assigned is None:
        return []
    plan = assigned["plan"]
    rows = [("by layer", plan["kept"], assigned["measured"])]
    if plan["uniform"] is not None:
        name = f"uniform, {plan['uniform']} bits"
        rows.append((name, plan["uniform_kept"], assigned["uniform"]))
    return [(name, _share(kept), _measured(found)) for name, kept, found in rows]


def _measured(kept: Record | None) -> str:
    if kept is None:
        return ""
    share = Estimate(**kept["share"])
    return f"{percent(share)} ({limits(share)})"
