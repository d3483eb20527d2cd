"""The page of bit widths: every number of the answers, from plain data alone."""

from pathlib import Path
from typing import Any

import pytest

from stoic.report.widths import write_widths_report

NAME = "<script>alert(1)</script>"


def kept(value: float) -> dict[str, Any]:
    ends = {"value": value, "low": value - 0.04, "high": min(value + 0.03, 1.0)}
    return {
        "share": {**ends, "n": 77, "confidence": 0.95, "kind": "exact", "about": "x"},
        "accuracy": 0.625,
    }


def row(width: int, predicted: float, measured: float | None) -> dict[str, Any]:
    found = None if measured is None else kept(measured)
    name = f"int{width}"
    told = {"width": width, "format": name, "predicted": predicted}
    return {**told, "measured": found, "proved": 0.125 if width == 5 else None}


def layer(name: str, noise: float, width: int | None) -> dict[str, Any]:
    return {"name": name, "words": 1234, "macs": 56789, "noise": noise, "width": width}


@pytest.fixture
def record() -> dict[str, Any]:
    budget = {"kind": "bytes", "limit": 4321.0}
    plan = {"widths": {NAME: 7}, "cost": 4000.0, "budget": budget, "kept": 0.9711}
    return {
        "network": "Sequential",
        "inputs": 77,
        "words": 56_780,
        "settings": {"parts": "both", "keep": 0.95, "check": True},
        "accuracy": 0.75,
        "rows": [row(4, 0.8123, 0.831), row(5, 0.9876, None)],
        "layers": [layer(NAME, 0.673, 7), layer("head", 0.327, 14)],
        "predicted": 5,
        "measured": None,
        "provable": None,
        "silent": "rounded values are not covered",
        "assigned": {
            "plan": {**plan, "uniform": 6, "uniform_kept": 0.9444},
            "measured": kept(0.909),
            "uniform": kept(0.888),
        },
    }


def test_the_page_has_every_number_and_no_markup_of_a_name(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    text = write_widths_report(record, NAME, tmp_path / "a" / "page.html").read_text()

    for told in (
        *("81.23", "98.76", "83.1", "62.5", "12.50", "67.3", "97.11", "94.44"),
        *("90.9", "88.8", "4,000 of 4,321 bytes", "weights and values", "1,234"),
        "2,468 of the 56,780 words",
        *("5 bits", "no statement", "rounded values are not covered", "95\u00a0%"),
    ):
        assert told in text
    assert NAME not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_leaves_out_what_was_not_asked(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    record |= {"assigned": None, "accuracy": None, "silent": ""}
    record["layers"] = [layer("head", 1.0, None)]
    record["settings"]["check"] = False
    record["rows"] = [row(4, 0.8, None)]

    text = write_widths_report(record, "digits", tmp_path / "page.html").read_text()

    assert "Under the budget" not in text
    assert "not asked" in text
    assert "right, %" not in text
    assert "proved, %" not in text
