"""The page of a monitor: every number of its scorecard, from plain data alone."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stoic.report.monitor import write_monitor_report
from stoic.report.plots import Scale

NAME = "<script>alert(1)</script>&\"'"


def estimate(value: float) -> dict[str, Any]:
    low, high = max(value - 0.05, 0.0), min(value + 0.05, 1.0)
    ends = {"value": value, "low": low, "high": high}
    return {**ends, "n": 40, "confidence": 0.95, "kind": "approximate", "about": "x"}


def judged(name: str, precision: float, recall: float) -> dict[str, Any]:
    return {
        "name": name,
        "precision": estimate(precision),
        "recall": estimate(recall),
    }


def line(name: str, recall: float | None) -> dict[str, Any]:
    found = None if recall is None else estimate(recall)
    return {"name": name, "failed": estimate(0.3), "recall": found, "benign": None}


def standing(group: str, name: str, area: float, less: float | None) -> dict[str, Any]:
    difference = None
    if less is not None:
        difference = {"value": less, "low": less - 0.1, "high": less + 0.1, "n": 40}
    return {
        "group": group,
        "detector": name,
        "auroc": estimate(area),
        "recall": {0.001: None, 0.01: estimate(area - 0.222)},
        "less": difference,
        "recall_less": {0.001: None, 0.01: difference} if less else {},
    }


def level(name: str, *classes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "classes": list(classes), "macro": judged("macro", 0.5, 0.5)}


SCORECARD: dict[str, Any] = {
    "images": 321,
    "rows": 6543,
    "levels": {
        "finite": [
            level("fault class", judged("memory", 0.1, 0.2), judged(NAME, 0.3, 0.432)),
            level("memory or input", judged("memory", 0.543, 0.6)),
            level("SDC or not", judged("SDC", 0.654, 0.765)),
        ],
        "together": [
            level(
                "fault class", judged("memory", 0.911, 0.922), judged(NAME, 0.4, 0.6)
            ),
            level("memory or input", judged("memory", 0.9, 0.9)),
            level("SDC or not", judged("SDC", 0.833, 0.844)),
        ],
    },
    "rules": {"clean": estimate(0.077), "benign": estimate(0.266)},
    "alarm": {"clean": estimate(0.055), "benign": None},
    "kinds": [line("blur", 0.711), line("memory", 0.722)],
    "unlike": [line("blur", 0.611)],
    "strengths": [line("blur 0.5", 0.733), line("blur 9", None)],
    "bits": [line("29", None), line("30", 0.977)],
    "several": [line("1 bit", 0.955), line("2 bits", 0.466)],
    "sites": [line("conv7.weight", 0.688)],
    "limits": {0.01: {"clean": estimate(0.013), "benign": estimate(0.366)}},
    "scores": [
        {
            "name": name,
            "auroc": estimate(area),
            "recall": {0.01: estimate(area - 0.233)},
            "exact": {0.001: None, 0.01: estimate(area - 0.344)},
        }
        for name, area in (("blur", 0.866), ("memory", 0.911), ("blur 0.5", 0.888))
    ],
    "parts": [{"rows": 4321, "alarms": line("non-finite", 0.466)}],
    "trivial": {"clean": estimate(0.007), "benign": None},
    "trivially": [line("memory", 0.355)],
    "beside": [
        standing("memory", "this monitor", 0.944, None),
        standing("memory", NAME, 0.755, 0.189),
        standing("blur 0.5", "this monitor", 0.888, None),
        standing("blur 0.5", "one", 0.444, 0.444),
        standing("blur 0.5", "another", 0.899, -0.166),
    ],
    "worth": {
        name: [
            {"rate": 0.001, "precision": estimate(low)}
            | {"gain": estimate(0.345), "hazard": estimate(0.456), "cost": None},
            {"rate": 1.0, "precision": None, "gain": None, "hazard": None}
            | {"cost": estimate(0.567)},
        ]
        for name, low in (("rules", 0.123), ("alarm", 0.234))
    },
}
MONITOR: dict[str, Any] = {
    "about": {"network": NAME, "inputs": 1234, "corruptions": [["blur", 0.5, 0.1]]}
    | {"criterion": {"name": "detections-changed", "overlap": 0.5, "confidence": 0.2}},
    "watches": [{"value": "conv1:out"}, {"value": "conv1:out"}],
    "points": {
        "steps": ["+1 if q0 of x > 5", f"-77 if q10 of {NAME} <= 6"],
        "beyond": f"+8 each time that {NAME} doubles",
    },
    "checksums": {"head:out": 3.0},
    "alarm": {"rate": 0.02, "rows": 777, "spans": {f"q90 of {NAME}": [1.5, 2.5]}},
}


def page(tmp_path: Path, scorecard: dict[str, Any], monitor: dict[str, Any]) -> str:
    rules = ["if q90 is 1.5 to 2.5:", f"  {NAME}"]
    out = write_monitor_report(scorecard, monitor, rules, tmp_path / "new" / "x.html")
    return out.read_text()


def test_the_page_shows_every_number_of_the_scorecard(tmp_path: Path) -> None:
    text = page(tmp_path, SCORECARD, MONITOR)

    for number in (
        *("91.1", "92.2", "83.3", "84.4", "7.7", "26.6", "5.5", "71.1", "72.2"),
        *("61.1", "73.3", "97.7", "12.3", "23.4", "321", "6,543", "777", "1,234"),
        *("68.8", "1.3", "36.6", "86.6", "63.3", "52.2", "4,321", "46.6", "0.7"),
        *("34.5", "45.6", "56.7", "43.2", "54.3", "65.4", "76.5"),
        *("95.5", "35.5", "94.4", "72.2", "+18.9 (+8.9 to +28.9)", "53.3", "65.5"),
    ):
        assert number in text, number
    assert "if q90 is 1.5 to 2.5:" in text
    assert "has failed if its numbers of true positives" in text
    assert "conv1" in text and "head" in text and "conv7" in text
    places = [text.index(line) for line in ("-77 if q10", "+1 if q0", "+8 each time")]
    assert places == sorted(places)
    looked_at = text.partition("It looks at")[2].partition("</p>")[0]
    assert looked_at.count("conv1") == 1


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    text = page(tmp_path, SCORECARD, MONITOR)

    assert "<script" not in text and "&lt;script&gt;" in text
    assert "http:" not in text and "https:" not in text and "<link" not in text


def test_a_page_of_what_was_never_tried_says_so(tmp_path: Path) -> None:
    scorecard = copy.deepcopy(SCORECARD)
    scorecard |= {"kinds": [], "strengths": [], "bits": [line("3", None)], "worth": {}}
    scorecard |= {"sites": [], "scores": [], "limits": {}, "beside": []}
    scorecard |= {
        "several": [line("1 bit", 0.9)],
        "parts": [],
        "trivial": None,
        "trivially": [],
    }
    scorecard["rules"] = scorecard["alarm"] = {"clean": None, "benign": None}

    text = page(tmp_path, scorecard, MONITOR)

    assert "bits of a word at once" not in text
    assert "has failed if its best class is another one" in page(
        tmp_path, scorecard, MONITOR | {"about": {}}
    )
    assert text.count("Nothing of that kind was tried, or none of it failed.") == 4
    assert not any(
        f'id="{name}"' in text for name in ("worth", "sites", "score", "beside")
    )


def test_marks_lie_where_their_numbers_are(tmp_path: Path) -> None:
    text = page(tmp_path, SCORECARD, MONITOR)

    # Recall on an even scale, false alarms on one of square roots.
    assert 'cx="92.2%"' in text
    # In panels: the area at a strength, and of others the best; a bit in its place.
    assert 'cx="25.0%" cy="23.44"' in text and 'cx="25.0%" cy="22.12"' in text
    assert 'cx="25.0%" cy="76.72"' not in text
    assert 'cx="1.61%"' in text and 'class="bit" x="1.61%"' in text
    assert f'cx="{Scale(1.0).at(0.077)}%"' in text


@pytest.mark.slow
def test_the_page_needs_no_torch() -> None:
    code = "import sys, stoic.report.monitor; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
