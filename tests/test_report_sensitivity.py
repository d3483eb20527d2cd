"""The page of a network's sensitivity: every number, from plain data alone."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stoic.report.decades import Decades, decades, figure, spread
from stoic.report.sensitivity import SensitivityRecord, write_sensitivity_report

NAME = "<script>alert(1)</script>&\"'"
RECORD: SensitivityRecord = {
    "network": NAME,
    "unit": "relative change of the scores for a relative change of the input",
    "about": [("inputs", "3"), (NAME, NAME)],
    "estimates": [
        {"name": "product", "label": "guarantee", "values": [5e6, 6e6, 7e6]},
        {"name": NAME, "label": "average", "values": [0.5, None, 0.7]},
        {"name": "nothing", "label": "local", "values": [None, None, 0.0]},
    ],
    "profile": [
        {"name": "conv1", "kind": "conv2d", "amplification": 4.56},
        {"name": NAME, "kind": NAME, "amplification": 0.123},
        {"name": "odd", "kind": "sort", "amplification": None},
        {"name": "dead", "kind": "relu", "amplification": 0.0},
    ],
    "tightness": [
        {
            "network": NAME,
            "radius": 2.0**-24,
            "norm": "inf",
            "images": 3,
            "measured": {"PGD": [3.0, 4.0, 5.0], NAME: [1.0, None, 1.0]},
            "claims": [
                {"name": "certified", "label": "guarantee", "values": [30.0, 40, 500]},
                {"name": "mean", "label": "average", "values": [0.3, 0.4, 0.5]},
            ],
            "gaps": [
                {
                    "name": "certified",
                    "label": "guarantee",
                    "quantiles": [1.0, 1.0, 1.0, 1.5, 1.9],
                    "images": 3,
                    "undefined": 0,
                    "violations": [1],
                },
                {
                    "name": "mean",
                    "label": "average",
                    "quantiles": None,
                    "images": 0,
                    "undefined": 3,
                    "violations": [],
                },
            ],
        }
    ],
}


def page(record: SensitivityRecord, folder: Path) -> str:
    return write_sensitivity_report(record, folder / "a" / "page.html").read_text()


def test_the_page_shows_every_number_and_escapes_every_name(tmp_path: Path) -> None:
    text = page(RECORD, tmp_path)

    assert "<script" not in text and "&lt;script&gt;" in text
    for told in ("6.00·10⁶", "4.56", "0.123", "not known", "radius 5.96·10⁻⁸"):
        assert told in text
    assert "the same in every element" in text
    assert "1 of 3 images without a number" in text
    assert "+1.00" in text and "+1.90" in text and "not defined" in text
    assert '<span class="bad">1</span>' in text
    assert "norms of operators multiplied" in text and "the less of both" not in text
    assert "violated on 1 of the images" in text
    # What has no number has no line.
    assert "nothing</bdi>" not in text


def test_measured_growth_is_shown_as_a_share_of_the_smallest_guarantee(
    tmp_path: Path,
) -> None:
    record = copy.deepcopy(RECORD)
    loose: list[float | None] = [31.0, 41.0, 501.0]
    record["tightness"][0]["claims"].insert(
        0, {"name": "loose", "label": "guarantee", "values": loose}
    )
    text = page(record, tmp_path)

    assert "measured / certified" in text and "measured / loose" not in text
    assert "measured / mean" not in text
    ratios = text.partition("measured / certified")[2].partition("</figure>")[0]
    assert re.findall(r'class="value">([\d.]+)<', ratios) == ["0.100", "0.00816"]


def test_what_is_empty_is_left_out(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["estimates"], record["profile"], record["tightness"] = [], [], []

    text = page(record, tmp_path)

    assert "violated on" not in text
    assert "<figure" not in text and 'href="#growth"' not in text
    assert "guarantee" in text


def test_quantiles_are_those_of_the_logarithms() -> None:
    numbers = np.random.default_rng(0).lognormal(0, 3, 101).tolist()

    found = spread("x", "local", [*numbers, None, 0.0, float("inf")])

    assert found is not None and found.left_out == 3 and found.images == 101
    levels = np.quantile(np.log10(numbers), [0.05, 0.25, 0.5, 0.75, 0.95])
    assert np.allclose(np.log10(found.quantiles), levels)


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        ([1.0], Decades(0, 1)),
        ([0.02, 30.0], Decades(-2, 2)),
        ([1e-300, 1e300], Decades(-300, 300)),
        ([], Decades(0, 1)),
    ],
)
def test_a_scale_holds_all_numbers_and_few_marks(
    numbers: list[float], scale: Decades
) -> None:
    found = decades(numbers)

    assert found == scale
    assert all(0 <= found.at(number) <= 100 for number in numbers)
    assert 2 <= len(found.ticks) <= 9


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.00"),
        (1.0, "1.00"),
        (99.95, "100.0"),
        (1234.5, "1,234"),
        (0.00123, "0.00123"),
        (5.96e-8, "5.96·10⁻⁸"),
        (1e5, "1.00·10⁵"),
    ],
)
def test_numbers_are_told_in_three_digits(number: float, text: str) -> None:
    assert figure(number) == text


def test_the_page_needs_no_torch() -> None:
    code = (
        "import sys, stoic.report.sensitivity;"
        "sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
