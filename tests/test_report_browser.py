"""A report in a real browser: no error, no request, nothing wider than the window."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import stoic
from made_runs import MadeTrial, a_manifest, a_site, make_run
from stoic.report import write_report
from stoic.report.causes import write_causes_report
from stoic.report.monitor import write_monitor_report
from stoic.report.sensitivity import SensitivityRecord, write_sensitivity_report
from test_explaining import PIPELINE, inquiry
from test_report_monitor import MONITOR, SCORECARD
from test_report_sensitivity import RECORD

NAME = f"{'long' * 9}.<script>alert(1)</script>&\"'"
PHONE = 390
MEASURE = """<script>
const found = [];
addEventListener("error", (event) => found.push(event.message));
addEventListener("securitypolicyviolation", (event) => found.push(event.blockedURI));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  parent.document.title = JSON.stringify({
    found: found.concat(asked),
    inner: innerWidth,
    page: document.documentElement.scrollWidth,
  });
});
</script></head>"""
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --enable-logging=stderr"
).split()


@pytest.fixture
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("CI") == "true":
        pytest.fail("Chromium must be installed on CI, got none on the PATH")
    pytest.skip("no Chromium on the PATH: apt-get install chromium")


def opened(browser: str, page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Open a page in a browser that is new and alone; return its DOM and its log."""
    command = [
        browser,
        *QUIET,
        f"--user-data-dir={folder}",
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    )


def of_a_run(folder: Path) -> Path:
    sites = [a_site(f"{NAME}.{i}.weight", 4, order=i) for i in range(9)]
    manifest = a_manifest(
        sites, plan={"name": "uniform", "trials": 99, "replacement": False}
    )
    trials = [MadeTrial(s.name, 0, b, failed=[0]) for s in sites for b in range(11)]
    return write_report(make_run(folder / "run", manifest, trials).path)


def of_sensitivity(folder: Path) -> Path:
    record: SensitivityRecord = json.loads(
        json.dumps(RECORD).replace("PGD", "PGD" * 30)
    )
    record["network"] = NAME
    return write_sensitivity_report(record, folder / "page.html")


def of_causes(folder: Path) -> Path:
    return write_causes_report(
        stoic.explain(inquiry(), PIPELINE).as_page(NAME), folder / "causes.html"
    )


def of_a_monitor(folder: Path) -> Path:
    card, monitor = (
        json.loads(json.dumps(each).replace("conv", "conv" * 20))
        for each in (SCORECARD, MONITOR)
    )
    return write_monitor_report(card, monitor, [NAME], folder / "monitor.html")


@pytest.mark.browser
@pytest.mark.parametrize("width", [PHONE, 1440])
@pytest.mark.parametrize("page", [of_a_run, of_sensitivity, of_causes, of_a_monitor])
def test_a_browser_shows_it_without_error_request_or_overflow(
    browser: str, page: Callable[[Path], Path], width: int, tmp_path: Path
) -> None:
    path = page(tmp_path)
    # A window may not be as narrow as a phone; a frame may. It may run our script.
    source = path.read_text(encoding="utf-8").replace("</head>", MEASURE)
    policy = "default-src 'none'"
    source = source.replace(policy, f"{policy}; script-src 'unsafe-inline'")
    framed = tmp_path / "framed.html"
    frame = f'<iframe width="{width}" height="900" frameborder="0" srcdoc="'
    framed.write_text(f'{frame}{html.escape(source)}"></iframe>', encoding="utf-8")

    shown = opened(browser, framed, tmp_path / "shown")

    # What the page itself logs, without our script, is the same at any width.
    if width == PHONE:
        plain = opened(browser, path, tmp_path / "plain")
        assert "CONSOLE" not in plain.stderr
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title, shown.stderr
    measured = json.loads(html.unescape(title[1]))
    assert measured["found"] == []
    assert measured["inner"] == width
    assert measured["page"] <= width
