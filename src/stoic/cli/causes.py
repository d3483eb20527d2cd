"""``stoic causes``: which few things a network's failures look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stoic.cli.ending import BROKEN, one_line, stop
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress

if TYPE_CHECKING:
    from stoic.causes.failures import Inquiry
    from stoic.causes.pipeline import Pipeline
    from stoic.explaining import Explained

__all__ = ["causes"]

_PAGE = "causes.html"


class Of(StrEnum):
    """What failures are."""

    mistakes = "mistakes"
    faults = "faults"
    false_alarms = "false-alarms"
    misses = "misses"


_CLUSTERING = "HDBSCAN"
_DEFAULTS = {
    Of.mistakes: ("layers", "UMAP"),
    # UMAP tears what is alike in the one layer that was hit apart by all others.
    Of.faults: ("markers", "none"),
    Of.false_alarms: ("layers", "UMAP"),
    Of.misses: ("layers", "UMAP"),
}


class _CaseFirst(TyperGroup):
    """Takes a first word that is no command for a case, whose causes are found."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``find`` before the name of a case."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["find", *args]
        return super().parse_args(ctx, args)


causes = typer.Typer(
    name="causes",
    cls=_CaseFirst,
    help="Which few things do all failures of a network look like? "
    "'stoic causes CASE' is short for 'stoic causes find CASE'.",
    no_args_is_help=True,
)

FailureCount = Annotated[int, typer.Option("--failures", help="How many to look at.")]
OfOption = Annotated[
    Of,
    typer.Option(
        "--of",
        help="What failures are: mistakes of the network; what faults (bit flips in "
        "weights and values) make it get wrong; or, of a monitor, false-alarms or "
        "misses.",
    ),
]
MonitorFile = Annotated[
    Path | None,
    typer.Option("--monitor", help="For these: a file that 'monitor fit' has saved."),
]
ExtractorName = Annotated[
    str,
    typer.Option(
        "--extractor",
        help="Of features; 'list' lists them. By default layers; markers for faults.",
    ),
]
FeatureName = Annotated[str, typer.Option("--extractor", help="Of features.")]
ReductionName = Annotated[
    str,
    typer.Option(
        "--reduction",
        help="Of features: none, PCA or UMAP. By default UMAP; none for faults.",
    ),
]
ClusteringName = Annotated[
    str,
    typer.Option(
        "--clustering", help="K-means, DBSCAN, HDBSCAN (the default) or Ward."
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Folder of your own images, in folders named as classes."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse images that cannot be read.")
]
GridOption = Annotated[
    bool,
    typer.Option(
        "--grid",
        help="Compare all 99 pipelines, nine more by markers where failures are no "
        "mistakes; show the best.",
    ),
]
Processes = Annotated[
    int, typer.Option("--processes", help="Of a grid, each on one core.")
]
Kept = Annotated[
    Path | None,
    typer.Option("--kept", help="Folder of a grid's stages, to go on from."),
]
Stability = Annotated[
    int,
    typer.Option(
        "--stability",
        metavar="RUNS",
        help="See whether clusters come again: run under so many seeds, and on as many "
        "bootstrap samples.",
    ),
]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for the page and lists of images.")
]


@causes.command()
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
    from stoic.extracting import absent, extractors
    from stoic.records.files import check_writable, writing

    if extractor == "list":
        lacking = (f"{name} {what}" for name, what in absent().items())
        print("\n".join([*extractors(), *lacking]))
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
        asked: dict[str, Any] = {"of": of.value, "monitor": monitor}
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
    print("\n\n".join([*([aligned(rows)] if rows else []), *_tables(found)]))


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
    own = with_images(load(case), images, strict=strict, notice=chat)
    return failing_of(own, failures, seed, **asked)


@causes.command()
def retrain(
    case: CaseName,
    failures: FailureCount = 1200,
    budget: Annotated[
        int, typer.Option("--budget", help="Images that a person is to label.")
    ] = 100,
    repeats: Annotated[
        int, typer.Option("--repeats", help="With other parts of the failures.")
    ] = 5,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Times that all images are seen.")
    ] = 3,
    rate: Annotated[float, typer.Option("--rate", help="Of learning.")] = 3e-4,
    extractor: FeatureName = "layers",
    reduction: ReductionName = "UMAP",
    clustering: ClusteringName = _CLUSTERING,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what retraining CASE's network on images chosen by clusters gains."""
    from stoic.cases import failing
    from stoic.causes.retraining import Learning
    from stoic.explaining import pipeline_of
    from stoic.improving import improve

    with one_line():
        learning = Learning(epochs, rate)
        pipeline = pipeline_of(extractor, reduction, clustering)
        inquiry = failing(case, failures, seed)
        how: dict[str, Any] = {"budget": budget, "repeats": repeats, "seed": seed}
        with progress("networks") as told:
            found = improve(inquiry, pipeline, learning=learning, progress=told, **how)
    if as_json:
        print(json.dumps(found.as_record() | {"case": case}, indent=1))
        return
    rows = [
        {
            "learnt from": gain.chosen,
            "images": f"{gain.images:.0f}",
            "wrong before": f"{gain.failing:.0f}",
            "other failures mended": f"{sum(gain.mended) / repeats:.1%}",
            "fine images kept": f"{sum(gain.kept) / repeats:.1%}",
        }
        for gain in found.gains
    ]
    mean, low, high = found.advantage
    print(aligned(rows))
    print(
        f"\nby clusters less at random: {100 * mean:+.1f} points "
        f"[{100 * low:.1f}, {100 * high:.1f}] of the failures mended, 95 % by\n"
        f"Student's t over {repeats} repetitions; chosen among {found.pool:,} images"
    )


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


def _tables(found: Explained) -> list[str]:
    from stoic.report.causes import counted, spared

    record = found.as_record()
    rows = [_row(number, own) for number, own in enumerate(record["clusters"])]
    summary = (
        f"{record['failures']:,} failures in {len(rows)} clusters, "
        f"{len(record['noise']):,} in none ({record['pipeline']})"
    )
    causes = sorted(
        record["known causes"].items(), key=lambda each: (-each[1], each[0])
    )
    notes = [f"known causes: {counted(causes)}"] if any(record["known causes"]) else []
    notes += [spared(record)] if record["classes without a failure"] else []
    return [summary, aligned(rows), *_scores(found), *_again(found), *notes]


def _again(found: Explained) -> list[str]:
    lines = [
        f"over {clusters.n} {own.about}: adjusted Rand index {rand.mean:.2f} "
        f"[{rand.low:.2f}, {rand.high:.2f}], {clusters.mean:.0f} clusters "
        f"[{clusters.low:.0f}, {clusters.high:.0f}]"
        for own in found.stability
        if (rand := own.rand) and (clusters := own.clusters)
    ]
    return ["\n".join(lines)] if lines else []


def _row(number: int, own: dict[str, Any]) -> dict[str, str]:
    row = {"cluster": str(number), "images": f"{own['size']:,}"}
    if own["scenarios"]:
        name, count = own["scenarios"][0]
        row["known cause"] = f"{name or 'not known'} {count / own['size']:.0%}"
    rule = " and ".join(own["rule"]["rule"]) or "-"
    return row | {
        "of": own["labels"][0][0],
        "read as": own["predicted"][0][0],
        "rule": rule,
    }


def _scores(found: Explained) -> list[str]:
    own = found.scores
    if own is None:
        return []
    purity = "-" if own.purity is None else f"{own.purity:.1%}"
    random = found.random.numbers["purity"] if found.random else None
    inspected = found.inspected
    looks = (
        f"; to see every cause, clusters in turn take {inspected.mean:.0f} images, "
        f"random order {inspected.random_mean:.0f}"
        if inspected
        else ""
    )
    beside = f" (random clusters of the same sizes {random.mean:.1%})" if random else ""
    return [
        f"purity {purity}{beside}, coverage {own.coverage[0.9]:.1%} of "
        f"{own.scenarios} causes at 90 % purity, adjusted mutual information "
        f"{own.information or 0:.2f}{looks}"
    ]
