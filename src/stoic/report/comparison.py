"""Tables of a comparison of pipelines: the page and the command show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Row", "grid_rows", "level_rows", "pair_rows", "regret_rows", "stage_rows"]

Record: TypeAlias = Mapping[str, Any]
Row: TypeAlias = dict[str, str]

# What is said of clusters, and no parameter that led to them.
_SAID = {
    *("clusters", "noise", "silhouette", "dbcv", "validity", "by"),
    *("inertia", "wicd"),
}


def grid_rows(told: Record) -> list[Row]:
    """Return a row for each pipeline, the best first.

    Args:
        told: What `stoic.explaining.Comparison.as_record` returns.
    """
    return [_grid_row(own) for own in told["pipelines"]]


def _grid_row(own: Record) -> Row:
    if "problem" in own:
        return {"pipeline": own["pipeline"], "clusters": own["problem"]}
    row = {
        "pipeline": own["pipeline"],
        "clusters": str(own["clusters"]),
        "noise": f"{own['noise']:z.1%}",
        "validity": f"{own['chosen']['validity']:z.2f}",
    }
    if "purity" in own:
        cost = (f"{100 * own['regret'][name]:z.1f}" for name in ("purity", "coverage"))
        row |= {
            "purity": f"{own['purity']:.1%}",
            "coverage": f"{own['coverage']:.1%}",
            "information": f"{own['information']:z.2f}",
            "regret": ", ".join(cost),
        }
    return row | {"chosen": _chosen(own["chosen"])}


def _chosen(chosen: Record) -> str:
    """Return the parameters of a clustering, without what they led to."""
    numbers = {
        name: value
        for name, value in chosen.items()
        if name not in _SAID and not isinstance(value, str)
    }
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())


def regret_rows(told: Record) -> list[Row]:
    """Return what choosing parameters cost, by reduction and clustering."""
    return [
        {"reduction": own["reduction"], "clustering": own["clustering"]}
        | {
            f"{name}, {which}": f"{100 * own[name][which]:z.1f}"
            for name in ("purity", "coverage")
            for which in ("mean", "worst")
        }
        for own in told["regret"]
    ]


def stage_rows(told: Record) -> list[Row]:
    """Return the share of the variance that each stage explains, largest first."""
    shares = {name: own["explained"] for name, own in told["stages"].items()}
    stages = [*dict.fromkeys(stage for own in shares.values() for stage in own)]
    stages.sort(key=lambda stage: -sum(own.get(stage, 0) for own in shares.values()))
    return [
        {"stage": stage.replace(" x ", " × ")}
        | {
            name: f"{own[stage]:z.1%}" if stage in own else "–"
            for name, own in shares.items()
        }
        for stage in stages
    ]


def level_rows(told: Record) -> list[Row]:
    """Return how good the pipelines of each level of each stage are."""
    return [
        {"stage": factor, "kind": level}
        | {
            column: text
            for name, own in told["stages"].items()
            for column, text in _standing(name, own["levels"][factor], level).items()
        }
        for factor, level in _levels(told)
    ]


def _levels(told: Record) -> list[tuple[str, str]]:
    """Return levels of each stage, in order of purity."""
    first: Record = next(iter(told["stages"].values()), {"levels": {}})
    levels: Record = first["levels"]
    return [(factor, each["level"]) for factor, own in levels.items() for each in own]


def _standing(name: str, levels: Sequence[Record], level: str) -> Row:
    own = next(each for each in levels if each["level"] == level)
    ahead = "–" if own["ahead"] is None else f"{own['ahead']:.2f}"
    return {name: f"{own['mean']:.1%}", f"{name}, A12": ahead}


def pair_rows(told: Record) -> list[Row]:
    """Return how probably one level beats another, for all pairs of each stage."""
    rows: dict[tuple[str, str, str], Row] = {}
    for name, own in told["stages"].items():
        for factor, pairs in own["pairs"].items():
            for pair in pairs:
                key = factor, pair["first"], pair["second"]
                row = rows.setdefault(
                    key, dict(zip(("stage", "one", "other"), key, strict=True))
                )
                row[f"{name}, A12"] = f"{pair['a12']:.2f} ({pair['size']})"
    return list(rows.values())
