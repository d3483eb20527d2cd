"""``stoic causes CASE``: which few things a network's failures look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from stoic.cli.causes.words import tables
from stoic.cli.ending import BROKEN, one_line, stop
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress

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
    from stoic.explaining import again, all_pipelines, explain
    from stoic.records.files import check_writable, writing

    if extractor == "list":
        _list_extractors()
        return
    rows: list[dict[str, str]] = []
    with one_line():
        _check_heard("--grid", grid, {"kept": kept, "processes": processes != 1})
        _check_heard("--images", images is not None, {"strict": strict})
        pipeline = _pipeline(of, (extractor, reduction, clustering), grid=grid)
        if stability:
            check_runs(stability)
        if out:
            check_writable("out", out / _PAGE)
        if kept:
            with writing(kept):
                kept.mkdir(parents=True, exist_ok=True)
        asked: dict[str, Any] = {"of": of.value, "monitor": monitor, "kept": kept}
        inquiry = _asked(case, failures, seed, images, strict, asked)
        with progress("stages") as told:
            how: dict[str, Any] = {"seed": seed, "progress": told}
            if grid:
                how |= {"folder": kept, "processes": processes}
                # Images say nothing of a flipped bit.
                more = () if of is Of.mistakes else ("markers",)
                found, rows = _best(inquiry, how | {"pipelines": all_pipelines(*more)})
            else:
                found = explain(inquiry, pipeline, **how)
            if stability:
                found = again(found, stability, progress=told)
        if out:
            _write(found, case, of.value, rows, out)
    if as_json:
        about = {"case": case, "of": of.value, "grid": rows}
        print(json.dumps(found.as_record() | about, indent=1))
        return
    print("\n\n".join([*([aligned(rows)] if rows else []), *tables(found)]))


def _list_extractors() -> None:
    from stoic.extracting import absent, extractors

    lacking = (f"{name} {what}" for name, what in absent().items())
    print("\n".join([*extractors(), *lacking]))


def _check_heard(option: str, there: bool, given: Mapping[str, object]) -> None:
    """Refuse what changes nothing without another option."""
    for name, value in given.items():
        if value and not there:
            raise ValueError(
                f"{name} must come with {option}, got it alone; give both or none"
            )


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


def _asked(
    case: str,
    failures: int,
    seed: int,
    images: Path | None,
    strict: bool,
    asked: dict[str, Any],
) -> Inquiry:
    """Return failures of a case, or among images of one's own."""
    from stoic.cases import failing, load
    from stoic.cases.folder import with_images
    from stoic.cases.origins import failing_of

    if images is None:
        return failing(case, failures, seed, **asked)
    del asked["kept"]
    own = with_images(load(case), images, strict=strict, notice=chat)
    return failing_of(own, failures, seed, **asked)


def _best(
    inquiry: Inquiry, how: dict[str, Any]
) -> tuple[Explained, list[dict[str, str]]]:
    """Return what the best of all pipelines has found, and a row for each of them."""
    from stoic.causes.grid import GridError
    from stoic.explaining import compare, explained, ranked, row_of

    try:
        outcomes = list(compare(inquiry, **how))
    except GridError as error:
        stop(error, BROKEN)
    best = ranked(outcomes, inquiry)
    failed = [each for each in outcomes if each.clusters is None]
    if not best:
        raise ValueError(
            f"pipelines must be able to run, got none: {failed[0].problem}"
        )
    first = best[0]
    assert first.clusters is not None and first.points is not None
    found = explained(
        inquiry, first.pipeline, how["seed"], first.points, first.clusters
    )
    return found, [row_of(each, inquiry) for each in (*best, *failed)]


def _write(
    found: Explained, case: str, of: str, rows: list[dict[str, str]], out: Path
) -> None:
    from stoic.report.causes import write_causes_report

    files = found.save_lists(out)
    told = found.as_page(case) | {"of": of, "grid": rows}
    page = write_causes_report(told, out / _PAGE)
    chat(f"page: {page}; lists of images: {files[0].parent / 'cluster-*.txt'}")
