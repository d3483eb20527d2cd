"""``stoic causes CASE``: which few things a network's failures look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoic.cli.causes.asking import asked, check_heard
from stoic.cli.causes.options import (
    ClusteringName,
    ExtractorName,
    FailureCount,
    GridOption,
    Images,
    Kept,
    MonitorFile,
    Of,
    OfOption,
    OutFolder,
    Processes,
    ReductionName,
    Stability,
    Strict,
)
from stoic.cli.causes.words import comparison, tables
from stoic.cli.ending import BROKEN, one_line, stop
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import chat, progress

if TYPE_CHECKING:
    from stoic.causes.failures import Inquiry
    from stoic.causes.pipeline import Pipeline
    from stoic.explaining import Explained

__all__ = ["find"]

_PAGE = "causes.html"

_CLUSTERING = "HDBSCAN"
_DEFAULTS = {
    Of.mistakes: ("layers", "UMAP"),
    # UMAP tears what is alike in the one layer that was hit apart by all others.
    Of.faults: ("markers", "none"),
    Of.false_alarms: ("layers", "UMAP"),
    Of.misses: ("layers", "UMAP"),
}


def find(
    case: CaseName,
    failures: FailureCount = 1200,
    of: OfOption = Of.mistakes,
    monitor: MonitorFile = None,
    extractor: ExtractorName = "",
    reduction: ReductionName = "",
    clustering: ClusteringName = "",
    images: Images = None,
    strict: Strict = False,
    grid: GridOption = False,
    processes: Processes = 1,
    kept: Kept = None,
    stability: Stability = 0,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    """Cluster the failures of CASE's network by what they look like."""
    from stoic.causes.steadiness import check_runs
    from stoic.explaining import again, explain

    if extractor == "list":
        _list_extractors()
        return
    told: dict[str, Any] | None = None
    with one_line():
        check_heard("--grid", grid, {"kept": kept, "processes": processes != 1})
        check_heard("--images", images is not None, {"strict": strict})
        pipeline = _pipeline(of, (extractor, reduction, clustering), grid=grid)
        if stability:
            check_runs(stability)
        _check_folders(out, kept)
        where: dict[str, Any] = {"images": images, "strict": strict, "kept": kept}
        which: dict[str, Any] = {"of": of.value, "monitor": monitor}
        inquiry = asked(case, failures, seed, **where, **which)
        with progress("stages") as done:
            how: dict[str, Any] = {"seed": seed, "progress": done}
            if grid:
                how |= {"folder": kept, "processes": processes}
                found, told = _best(inquiry, of, how)
            else:
                found = explain(inquiry, pipeline, **how)
            if stability:
                found = again(found, stability, progress=done)
        if out:
            about = {"of": of.value, "comparison": told}
            _write(found.as_page(case, kept=kept) | about, found, out)
        record = _named(found.as_record(), out)
    if of is Of.mistakes and not (grid or extractor):
        _advise(inquiry)
    if as_json:
        about = {"case": case, "of": of.value, "comparison": told}
        print(json.dumps(record | about, indent=1))
        return
    print("\n\n".join([*(comparison(told) if told else []), *tables(found, record)]))


def _advise(inquiry: Inquiry) -> None:
    from stoic.extracting import advice

    line = advice(inquiry.failures.images.shape[1])
    if line:
        chat(line)


def _check_folders(out: Path | None, kept: Path | None) -> None:
    """Refuse folders that cannot be written, before any work."""
    from stoic.records.files import check_writable, writing
    from stoic.report.notes import read_notes

    if out:
        check_writable("out", out / _PAGE)
        read_notes(out)
    if kept:
        with writing(kept):
            kept.mkdir(parents=True, exist_ok=True)


def _named(record: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """Return a record with the names of clusters, if any was ever given one."""
    from stoic.report.notes import named, read_notes

    notes = read_notes(out) if out else ()
    return named(record, notes) if notes else record


def _list_extractors() -> None:
    from stoic.extracting import absent, extractors

    lacking = (f"{name} {what}" for name, what in absent().items())
    print("\n".join([*extractors(), *lacking]))


def _pipeline(of: Of, names: tuple[str, str, str], *, grid: bool) -> Pipeline:
    """Return what is asked for by the names of stages, empty for those by default."""
    from stoic.explaining import pipeline_of

    if grid and any(names):
        raise ValueError(
            f"grid must be of all stages, got {', '.join(filter(None, names))}; "
            "leave --extractor, --reduction and --clustering out, or --grid"
        )
    extractor, reduction, clustering = names
    features, fewer = _DEFAULTS[of]
    return pipeline_of(
        extractor or features, reduction or fewer, clustering or _CLUSTERING
    )


def _best(
    inquiry: Inquiry, of: Of, how: dict[str, Any]
) -> tuple[Explained, dict[str, Any]]:
    """Return what the best of all pipelines has found, and how all of them compare."""
    from stoic.causes.grid import GridError
    from stoic.explaining import (
        all_pipelines,
        compare,
        compared,
        explained,
        kept_tables,
    )

    # Images say nothing of a flipped bit.
    more = () if of is Of.mistakes else ("markers",)
    try:
        found = compared(compare(inquiry, all_pipelines(*more), **how), inquiry)
    except GridError as error:
        stop(error, BROKEN)
    best = found.best
    assert best.clusters is not None and best.points is not None
    given = inquiry, best.pipeline, how["seed"], best.points, best.clusters
    kept = how["folder"]
    told = kept_tables(kept, best.pipeline, inquiry, how["seed"]) if kept else ()
    return explained(*given, told), found.as_record()


def _write(shown: dict[str, Any], found: Explained, out: Path) -> None:
    from stoic.report.notes import write_page

    files = found.save_lists(out)
    order = found.save_order(out)
    page = write_page(shown, out)
    lists = files[0].parent / "cluster-*.txt"
    chat(f"page: {page}; lists of images: {lists}; in which order to look: {order}")
