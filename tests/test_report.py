"""Reports: what the page says, that it says it safely, and that a browser agrees."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_runs import SITES, MadeTrial, a_manifest, a_site, make_run
from stoic.estimates import (
    Row,
    outcome_shares,
    per_class,
    per_input,
    pvf,
    summary,
    worst_sites,
)
from stoic.estimates.changed import changed_share
from stoic.plans import Stratified
from stoic.records import Run, RunError, StratumRecord, open_run
from stoic.report import write_report
from stoic.report.layers import rows_by
from stoic.report.text import limits, percent, span

HOSTILE = '<script>alert(1)</script>&"' + "'"
VOID = {"meta", "line", "circle", "wbr"}


@dataclass
class Page(HTMLParser):
    """A page taken apart: its tags, its tables below their section, its text."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    rows: dict[str, list[list[str]]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    section: str = ""
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = HTMLParser.__hash__

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self.inside = tag if tag in ("td", "th", "style") else self.inside
        if tag == "section":
            self.section = given["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.texts.append(data)
        if self.inside in ("td", "th"):
            self.rows[self.section][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).replace("\u00a0", " ").split())

    def row(self, section: str, name: str) -> list[str]:
        """The numbers in the first row of a section that has a name."""
        rows = [[cell.strip() for cell in row] for row in self.rows[section]]
        return next(row for row in rows if f"{row[0]} ".startswith(f"{name} "))


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def report(run: Run) -> Page:
    return read(write_report(run.path))


def some_trials(n: int = 60) -> list[MadeTrial]:
    """Every site and bit now and then; the top bits of floats fail some inputs."""
    chance = np.random.default_rng(1)
    trials: dict[tuple[str, int, int], MadeTrial] = {}
    while len(trials) < n:
        site = SITES[chance.integers(len(SITES))]
        place = (site.name, int(chance.integers(site.elements)))
        bit = int(chance.integers(site.bits))
        bad = bit in (13, 14) and site.bits == 16
        failed = [i for i in range(6) if bad and chance.random() < 0.5]
        trials[*place, bit] = MadeTrial(*place, bit, failed=failed, differs=[5])
    return list(trials.values())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", a_manifest(), some_trials())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run and its report, for tests that only read them."""
    run = make_run(tmp_path_factory.mktemp("shown"), a_manifest(), some_trials())
    return run, write_report(run.path)


def assert_shows(cells: Sequence[str], row: Row) -> None:
    """The cells hold the numbers that the estimate itself prints."""
    printed, shown = str(row.estimate), " ".join(cells)
    if row.estimate.value > 0:
        assert f"{percent(row.estimate)}" in cells
        assert printed.startswith(f"{percent(row.estimate)} %")
        assert f"interval {limits(row.estimate)} %" in printed
    else:
        assert "0" in cells
        assert printed.endswith(f" to {limits(row.estimate).split()[-1]} %)")
    assert limits(row.estimate) in shown


def test_the_sections_come_in_order(shown: tuple[Run, Path]) -> None:
    run, path = shown
    page = read(path)

    sections = [given["id"] for tag, given in page.tags if tag == "section"]
    assert sections == [
        *("outcomes", "layers", "bits", "map", "sites", "inputs", "method", "reading")
    ]
    assert summary(run.manifest, pvf(run)[0].estimate) in page.text


def test_the_numbers_are_those_of_the_tables(shown: tuple[Run, Path]) -> None:
    run, path = shown
    page = read(path)

    names = {"sdc": "SDC", "nonfinite": "non-finite"}
    for row in outcome_shares(run):
        assert_shows(page.row("outcomes", names.get(row.label, row.label)), row)
    for row in pvf(run, "component"):
        cells = page.row("layers", row.label)
        assert_shows(cells, row)
        assert cells[-1] == f"{row.trials:,}"
    for row in worst_sites(run):
        if row.estimate.value:
            cells = page.row("sites", row.label)
            assert_shows(cells, row)
            assert cells[-2:] == [f"{row.trials:,}", f"{row.faults:,}"]
    for row in per_class(run):
        assert_shows(page.row("inputs", f"class {row.label}"), row)
    assert len(per_input(run)) == 6


def test_the_channels_shown_have_the_highest_lower_limits(run: Run) -> None:
    page = report(run)

    rows = sorted(pvf(run, "channel"), key=lambda row: -row.estimate.low)
    shown = [row for row in page.rows["sites"] if " channel " in row[0]]
    assert len(shown) == sum(row.estimate.value > 0 for row in rows) > 1
    for cells, row in zip(shown, rows, strict=False):
        site, channel = row.key
        assert cells[0].split() == [*str(site).split(), "channel", str(channel)]
        assert_shows([cell.strip() for cell in cells], row)


def test_strata_have_a_section_of_their_own(tmp_path: Path) -> None:
    names = {"conv.weight": 96, "conv.bias": 32, "fc.weight": 96}
    strata = [StratumRecord(name=n, size=s, sites=[n]) for n, s in names.items()]
    plan = Stratified({"conv.weight": 20, "conv.bias": 32, "fc.weight": 0})
    trials = [
        MadeTrial(
            site, place // 16, place % 16, failed=[0] * (place % 3 == 0), stratum=number
        )
        for number, (site, count) in enumerate([("conv.weight", 20), ("conv.bias", 32)])
        for place in range(count)
    ]
    run = make_run(
        tmp_path / "run", a_manifest(strata=strata, plan=plan.as_record()), trials
    )

    page = report(run)

    for row in pvf(run, "stratum"):
        if row.estimate.low < row.estimate.high:
            assert_shows(page.row("strata", row.label), row)
    assert "1 of 3 have no trials and no line: nothing is known of them" in page.text
    assert "none from 1, which stay unknown" in page.text
    assert "none from 1 of them with 42.9 % of the faults" in page.text


def test_a_stuck_bit_may_change_nothing(tmp_path: Path) -> None:
    space = a_manifest().space.model_copy(
        update={"fault_model": {"name": "stuck-at", "level": 1}}
    )
    manifest = a_manifest().model_copy(update={"space": space})

    page = report(make_run(tmp_path / "run", manifest, some_trials()))

    (row,) = changed_share(open_run(tmp_path / "run"))
    # A trial as the test writes it down changes its word.
    assert row.estimate.value == 1 and row.estimate.low < 1
    told = f"Of the faults, {span(row.estimate)} change their word at all; the others"
    assert f"{told} are masked." in page.text


def test_a_report_about_a_population_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", a_manifest(inputs=36), some_trials())

    fixed = read(write_report(run.path))
    page = read(write_report(run.path, about="population", with_nonfinite=True))

    rows = [*pvf(run, "component", about="population")]
    for row in rows:
        if row.estimate.value:
            assert_shows(page.row("layers", row.label), row)
    assert "over inputs like these, of 36 clusters" in page.text
    assert "taken for a sample of a population" in page.text
    assert page.row("outcomes", "SDC or non-finite")
    assert "which are held fixed" in fixed.text
    assert "which are held fixed" not in page.text
    assert "SDC or non-finite" not in fixed.text
    with pytest.raises(ValueError, match="about must be inputs or population"):
        write_report(run.path, about="faults")  # type: ignore[arg-type]


def test_every_number_format_has_its_bits(shown: tuple[Run, Path]) -> None:
    run, path = shown
    page = read(path)

    kinds = {site.name: site.dtype for site in SITES}
    for dtype, bits in (("float16", 16), ("int8", 8)):
        rows = [r for r in pvf(run, ("site", "bit")) if kinds[str(r.key[0])] == dtype]
        tried = {int(r.key[1]) for r in rows}
        label = f"PVF by bit of {dtype}"
        assert any(label in given.get("aria-label", "") for _, given in page.tags)
        assert max(tried) < bits
    cells = [g["title"] for tag, g in page.tags if tag == "td" and "title" in g]
    for key, row in rows_by(run, lambda site: site.component, "bit"):
        value = f"{key}, bit {row.key[0]}: {percent(row.estimate)} %"
        assert any(cell.startswith(value) for cell in cells)
    assert sum("no trials" in cell for cell in cells) == 24 - len(
        pvf(run, ("component", "bit"))
    )


def test_hostile_names_are_shown_and_never_run(tmp_path: Path) -> None:
    sites = [a_site(f"{HOSTILE}.{i}.weight", 4) for i in range(3)]
    manifest = a_manifest(sites, plan={"name": "uniform", "trials": 9, **ONCE})
    manifest = manifest.model_copy(
        update={
            "network": manifest.network.model_copy(update={"name": HOSTILE}),
            "data": manifest.data.model_copy(update={"classes": [HOSTILE] * 3}),
            "command": ["stoic", HOSTILE],
            "engine": {"captured": False, "reason": HOSTILE, HOSTILE: HOSTILE},
            "criterion": {"name": HOSTILE},
            "versions": {HOSTILE: HOSTILE},
        }
    )
    trials = [MadeTrial(s.name, e, 14, failed=[0]) for s in sites for e in range(3)]

    page = report(make_run(tmp_path / "run", manifest, trials))

    assert {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link"} == set()
    assert not [name for _, given in page.tags for name in given if name[:2] == "on"]
    assert page.text.count(HOSTILE) > 15
    assert any(HOSTILE in given.get("title", "") for _, given in page.tags)


ONCE = {"replacement": False}


def test_nothing_is_asked_from_outside(shown: tuple[Run, Path]) -> None:
    _, path = shown

    source = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|srcset", source)
    page = read(path)
    links = [given["href"] for _, given in page.tags if "href" in given]
    targets = {given["id"] for _, given in page.tags if "id" in given}
    assert links and all(link[1:] in targets for link in links)
    assert not [given for _, given in page.tags if "src" in given]


def test_the_tags_are_balanced(shown: tuple[Run, Path]) -> None:
    source = shown[1].read_text(encoding="utf-8")

    open_tags: list[str] = []
    for end, tag, rest in re.findall(r"<(/?)(\w+)([^>]*)>", source):
        if end:
            assert open_tags.pop() == tag
        elif tag not in VOID and not rest.endswith("/"):
            open_tags.append(tag)
    assert open_tags == []


def test_a_report_goes_where_it_is_asked_to(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"

    assert write_report(run.path, out) == out
    assert write_report(str(run.path)) == run.path / "report.html"
    assert out.read_text() == (run.path / "report.html").read_text()


def test_a_failed_write_leaves_the_old_report(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.path / "report.html"
    path.write_text("old")
    before = sorted(run.path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="must be writable, got .*No space left"):
        write_report(run.path)

    assert path.read_text() == "old"
    assert sorted(run.path.iterdir()) == before


def test_a_run_without_trials_has_no_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", a_manifest(), [])

    with pytest.raises(ValueError, match="must have at least 1 trial"):
        write_report(run.path)

    assert not (run.path / "report.html").exists()


def test_hundreds_of_sites_stay_readable(tmp_path: Path) -> None:
    sites = [a_site(f"stage{i // 9}.{i % 9}.weight", 2, order=i) for i in range(360)]
    manifest = a_manifest(sites, plan={"name": "uniform", "trials": 360, **ONCE})
    trials = [MadeTrial(s.name, 0, i % 16, failed=[0]) for i, s in enumerate(sites)]
    run = make_run(tmp_path / "run", manifest, trials)

    page = report(run)

    layers = [row[0] for row in page.rows["layers"] if len(row) == 5][1:]
    assert layers == [f"stage{i}" for i in range(40)]
    assert "The 360 layers are joined by the first parts of their names" in page.text
    assert all(any(s.name in r[0] for r in page.rows["sites"]) for s in sites)
    assert len([r for r in page.rows["map"] if len(r) == 17]) == 1 + 40
    assert len(write_report(run.path).read_bytes()) < 500_000


def test_joined_layers_pool_their_trials(shown: tuple[Run, Path]) -> None:
    run, _ = shown
    parts = dict(rows_by(run, lambda site: site.component))
    (whole,) = (row for _, row in rows_by(run, lambda site: "all"))

    assert [r.estimate for r in parts.values()] == [
        r.estimate for r in pvf(run, "component")
    ]
    assert whole.faults == sum(row.faults for row in parts.values())
    assert whole.estimate == pvf(run)[0].estimate


def changed(run: Run, **changes: Any) -> None:
    """Write another manifest into a run folder."""
    manifest = run.manifest.model_copy(update=changes)
    (run.path / "manifest.json").write_text(manifest.model_dump_json())


def test_several_faults_at_once_have_no_single_place(tmp_path: Path) -> None:
    trials = [MadeTrial("conv.weight", 0, b, more_faults=1) for b in range(9)]
    run = make_run(tmp_path / "run", a_manifest(), trials)
    several = {"name": "flip", "several": {"count": 2, "rate": None}}
    changed(run, space=run.manifest.space.model_copy(update={"fault_model": several}))

    page = report(run)

    assert "a failure has no single place" in page.text
    assert "2 faults strike together in each trial" in page.text
    assert not {"bits", "map", "sites"} & page.rows.keys()


def test_faults_without_a_single_bit_have_no_bits(run: Run) -> None:
    model = {"name": "random-word"}
    changed(run, space=run.manifest.space.model_copy(update={"fault_model": model}))

    page = report(run)

    assert "There are no tables by bit" in page.text
    assert "a word is replaced by a random one" in page.text
    assert page.rows["layers"] and "map" not in page.rows


def test_a_run_without_labels_has_inputs_and_no_classes(run: Run) -> None:
    data = run.manifest.data.model_copy(update={"labelled": False})
    changed(run, data=data, top_k=0)

    page = report(run)

    assert "without labels" in page.text
    assert "Without a fault" not in page.text
    assert {r[0].split()[0] for r in page.rows["inputs"]} == {"input", "all"}


def test_a_run_without_failures_says_what_is_still_possible(tmp_path: Path) -> None:
    trials = [MadeTrial("conv.weight", 0, bit, differs=[1]) for bit in range(16)]
    run = make_run(tmp_path / "run", a_manifest(), trials)

    page = report(run)

    (row,) = pvf(run)
    assert f"upper limit {100 * row.estimate.high:.1f} %" in page.text
    assert "No trial failed an input, so no site stands out." in page.text
    assert "No trial failed any of the 6 inputs." in page.text
    assert "Unfinished: 16 of 60 planned trials" in page.text


def test_fast_mode_tells_what_it_does_not_tell_apart(run: Run) -> None:
    assert "harmless" not in report(run).text

    changed(run, mode="fast")
    page = report(run)

    assert page.row("outcomes", "harmless")[2] == "0"
    assert "fast mode does not tell them apart" in page.text


def test_trials_without_a_result_are_counted_and_quoted(tmp_path: Path) -> None:
    trials = some_trials()
    trials[0].status, trials[1].status = "crash", "unknown"
    run = make_run(tmp_path / "run", a_manifest(), trials)

    page = report(run)

    assert "What trials without a result said" in page.text
    assert "no message (2)" in page.text
    assert page.row("outcomes", "crash")[2] == "1.7"


def test_a_census_has_no_interval(tmp_path: Path) -> None:
    site = a_site("a.w", 2)
    trials = [
        MadeTrial("a.w", e, b, failed=[0, 1, 2] if b > 13 else ())
        for e in range(2)
        for b in range(16)
    ]
    manifest = a_manifest([site], plan={"name": "exhaustive"})

    page = report(make_run(tmp_path / "run", manifest, trials))

    assert "6.25 %PVF" in page.text.replace("% PVF", "%PVF")
    assert "a census: no interval is left" in page.text
    assert "Every fault was tried, so no interval is left." in page.text
    assert "Intervals are" not in page.text


def test_reporting_needs_no_torch(run: Run) -> None:
    code = (
        "import sys; from stoic.report import write_report; write_report(sys.argv[1])\n"
        "assert not {'torch', 'matplotlib'} & sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, timeout=120)
