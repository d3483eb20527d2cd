"""The page of cause clusters: sheets of images, rules, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.comparison import (
    grid_rows,
    level_rows,
    pair_rows,
    regret_rows,
    stage_rows,
)
from stoic.report.templating import rendered

__all__ = ["counted", "spared", "write_causes_report"]

_GRID = (
    "The best first. Regret is what choosing parameters without known causes cost, in "
    "points of purity and of coverage."
)
_REGRET = (
    "How far the best that the same clustering could have chosen is ahead, by purity "
    "and coverage together, in points of each: the mean and the worst over extractors."
)
_STAGES = (
    "The share of the variance over all pipelines that a stage explains, or stages "
    "together. A pipeline that could not run has found nothing."
)
_LEVELS = (
    "The mean of all pipelines of a kind, and how probably one of them is above one of "
    "another kind (A12): 0.5 is neither, 1 always."
)
_PAIRS = (
    "How probably a pipeline with the one is above a pipeline with the other (A12), "
    "and the word of Vargha and Delaney for it."
)

Record: TypeAlias = Mapping[str, Any]

_NAMED = 10
_WHAT = {
    "mistakes": "failures",
    "faults": "failures under a flipped bit",
    "false-alarms": "false alarms of a monitor",
    "misses": "failures that a monitor misses",
}


@dataclass(frozen=True)
class Sheet:
    """One cluster on the page; all words are untrusted.

    Args:
        number: Of the cluster.
        name: That a person has given it; empty if none has.
        size: Its images.
        share: Of all failures, as text.
        rule: What its images have in common; empty if nothing is recorded of any.
        facts: Names and what is said of them: right and named classes, causes.
        typical: Images with source, heat, name, label and predicted.
        borderline: Likewise.
    """

    number: int
    name: str
    size: int
    share: str
    rule: str
    facts: tuple[tuple[str, str], ...]
    typical: Sequence[Record]
    borderline: Sequence[Record]


@dataclass(frozen=True)
class Table:
    """Part of a comparison of pipelines; all words of rows are untrusted.

    Args:
        title: Of the section.
        about: What its numbers are.
        rows: Each with the same names, but for one that has a problem.
    """

    title: str
    about: str
    rows: Sequence[Record]


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Args:
        case: What was asked about; untrusted.
        what: What failures are, in words.
        failures: How many.
        pipeline: How clusters were found.
        settings: Of the pipeline, in full.
        chosen: Parameters that were chosen without known causes.
        sheets: Clusters, the largest first.
        noise: How many images are in none.
        noise_shown: Some of these.
        first: Images to look at first, for rare causes.
        needed: Share of a cause, images that show it, at random and by clusters.
        scores: Name, value and that of random clusters; empty if no cause is known.
        comparison: Of pipelines; empty if there was none.
        heat: Whether heat maps lie over images.
        no_heat: Why they do not, if they were to.
        lost: Names that were given to clusters which are no more.
        spared: Classes without a failure, in a sentence; empty if there is none.
        stability: What varied, how far clusterings agree then, and their number.
    """

    case: str
    what: str
    failures: int
    pipeline: str
    settings: str
    chosen: tuple[tuple[str, str], ...]
    sheets: tuple[Sheet, ...]
    noise: int
    noise_shown: Sequence[Record]
    first: Sequence[Record]
    needed: tuple[tuple[str, str, str], ...]
    scores: tuple[tuple[str, str, str], ...]
    comparison: tuple[Table, ...]
    heat: bool
    no_heat: str
    lost: Sequence[str]
    spared: str
    stability: tuple[tuple[str, str, str], ...]


def write_causes_report(told: Record, path: Path) -> Path:
    """Write the page of cause clusters.

    Args:
        told: What `stoic.explaining.Explained.as_page` returns, perhaps with ``of``:
            what failures are, and ``comparison``: of pipelines, as a record.
        path: File to write.

    Raises:
        RunError: It cannot be written.
    """
    with writing(path, ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, rendered("causes.html.j2", p=_page(told)))
    return path


def _page(told: Record) -> Page:
    return Page(
        case=told["case"],
        what=_WHAT[told.get("of", "mistakes")],
        failures=told["failures"],
        pipeline=told["pipeline"],
        settings=told["settings"],
        chosen=tuple((name, _text(value)) for name, value in told["chosen"].items()),
        sheets=tuple(
            _sheet(number, own, told) for number, own in enumerate(told["clusters"])
        ),
        noise=len(told["noise"]),
        noise_shown=told["noise shown"],
        first=told.get("first", ()),
        needed=tuple(map(_needed, told.get("to see a cause", ()))),
        scores=_scores(told),
        comparison=_comparison(told.get("comparison")),
        heat=told["heat"],
        no_heat=told["no heat"],
        lost=told.get("names without a cluster", ()),
        spared=spared(told),
        stability=tuple(map(_stability, told["stability"])),
    )


def _comparison(told: Record | None) -> tuple[Table, ...]:
    if told is None:
        return ()
    tables = (
        Table("All pipelines", _GRID, grid_rows(told)),
        Table("What choosing parameters costs", _REGRET, regret_rows(told)),
        Table("Which stage matters", _STAGES, stage_rows(told)),
        Table("What does better", _LEVELS, level_rows(told)),
        Table("One beside another", _PAIRS, pair_rows(told)),
    )
    return tuple(table for table in tables if table.rows)


def spared(told: Record) -> str:
    """Return the classes without a failure, in a sentence; empty if there is none."""
    names = told["classes without a failure"]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"{len(names)} of {told['classes']} classes have no failure: "
        f"{', '.join(names[:_NAMED])}{more}"
    )


def _needed(told: Record) -> tuple[str, str, str]:
    return f"{told['share']:.1%}", f"{told['at_random']:,}", f"{told['at_most']:,}"


def _stability(told: Record) -> tuple[str, str, str]:
    rand, clusters = told["rand"], told["clusters"]
    return (
        f"{clusters['n']} {told['about']}",
        f"{rand['mean']:.2f}, from {rand['low']:.2f} to {rand['high']:.2f}",
        f"{clusters['mean']:.0f}, from {clusters['low']:.0f} to {clusters['high']:.0f}",
    )


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _sheet(number: int, own: Record, told: Record) -> Sheet:
    facts = [("is", own["labels"]), ("read as", own["predicted"])]
    facts += [("known causes", own["scenarios"])] if own["scenarios"] else []
    return Sheet(
        number=number,
        name=own.get("name", ""),
        size=own["size"],
        share=f"{own['size'] / told['failures']:.1%}",
        rule=_rule(own["rule"]) if told["recorded"] else "",
        facts=tuple((name, counted(counts)) for name, counts in facts),
        typical=own["typical"],
        borderline=own["borderline"],
    )


def _rule(rule: Record) -> str:
    if not rule["rule"]:
        return "No recorded parameter tells it apart."
    return (
        f"{' and '.join(rule['rule'])}: holds of {rule['share']:.0%} of its images; "
        f"{rule['precision']:.0%} of the failures that it holds of are in it."
    )


def counted(counts: Sequence[tuple[str, int]]) -> str:
    """Return counts by name in words, the first ten; an empty name is not known."""
    named = [f"{name or 'not known'} ({count})" for name, count in counts[:_NAMED]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _scores(told: Record) -> tuple[tuple[str, str, str], ...]:
    own, random = told["scores"], told["random"]
    if own is None:
        return ()
    covered = [
        (
            f"causes with a cluster of {float(key):.0%} purity",
            value,
            f"coverage at {key}",
        )
        for key, value in own["coverage"].items()
    ]
    rows = [
        ("purity, mean over clusters", own["purity"], "purity"),
        ("purity, by images", own["weighted_purity"], "weighted purity"),
        *covered,
        ("adjusted mutual information", own["information"], "information"),
    ]
    found = [
        (name, _share(value), _share((random.get(other) or {}).get("mean")))
        for name, value, other in rows
    ]
    noise = ("images in no cluster", _share(own["noise"]), "the same")
    redundancy = own["redundancy"]["0.9"]
    several = ("clusters of 90 % purity for such a cause", _count(redundancy), "–")
    return (*found, noise, several, *_inspected(told))


def _inspected(told: Record) -> tuple[tuple[str, str, str], ...]:
    """Return how long it takes to see every cause, in an order and at random."""
    found = told["inspection"]
    if found is None:
        return ()
    name = "images looked at until every cause is seen, clusters in turn or at random"
    random = f"{found['random_mean']:.0f}"
    rows = [(name, f"{found['mean']:.0f}", random)]
    if after := told.get("order", {}).get("all causes after"):
        name = "the same in the order of look.txt, or at random"
        rows.append((name, str(after), random))
    return tuple(rows)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:z.1%}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
