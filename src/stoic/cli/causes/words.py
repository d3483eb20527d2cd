"""What ``stoic causes`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stoic.cli.output import aligned

if TYPE_CHECKING:
    from stoic.explaining import Explained

__all__ = ["comparison", "tables"]


def comparison(told: dict[str, Any]) -> list[str]:
    """Return what is said of many pipelines, a part each."""
    from stoic.report.comparison import (
        grid_rows,
        level_rows,
        regret_rows,
        stage_rows,
    )

    parts = [
        ("", grid_rows(told)),
        ("regret in points, mean and worst over extractors:", regret_rows(told)),
        ("variance explained by each stage:", stage_rows(told)),
        ("means, and how probably one is above another kind:", level_rows(told)),
    ]
    return [
        "\n".join([*([about] if about else []), aligned(rows)])
        for about, rows in parts
        if rows
    ]


def tables(found: Explained, record: dict[str, Any]) -> list[str]:
    """Return what is said of clusters, a part each.

    Args:
        found: The clusters.
        record: As plain data, perhaps with names that a person gave.
    """
    from stoic.report.causes import counted, spared

    ruled = bool(record["recorded"])
    clusters = enumerate(record["clusters"])
    rows = [_row(number, own, ruled=ruled) for number, own in clusters]
    summary = (
        f"{record['failures']:,} failures in {len(rows)} clusters, "
        f"{len(record['noise']):,} in none ({record['pipeline']})"
    )
    causes = sorted(
        record["known causes"].items(), key=lambda each: (-each[1], each[0])
    )
    notes = [f"known causes: {counted(causes)}"] if any(record["known causes"]) else []
    notes += [spared(record)] if record["classes without a failure"] else []
    if not rows:
        summary += (
            "\nfind some: take more failures, or another way, such as "
            "'--clustering K-means'"
        )
    return [
        summary,
        *([aligned(rows)] if rows else []),
        *_scores(found),
        *_again(found),
        *_needed(record),
        *notes,
    ]


def _needed(record: dict[str, Any]) -> list[str]:
    """Return how many images show a rare cause, whatever the clusters are worth."""
    told = [
        f"{own['at_random']:,} for {own['share']:.1%}"
        for own in record["to see a cause"]
    ]
    about = "images at random that show a cause of such a share in 95 % of tries: "
    return [about + ", ".join(told)] if told else []


def _again(found: Explained) -> list[str]:
    lines = [
        f"over {clusters.n} {own.about}: adjusted Rand index {rand.mean:.2f} "
        f"[{rand.low:.2f}, {rand.high:.2f}], {clusters.mean:.0f} clusters "
        f"[{clusters.low:.0f}, {clusters.high:.0f}]"
        for own in found.stability
        if (rand := own.rand) and (clusters := own.clusters)
    ]
    return ["\n".join(lines)] if lines else []


def _row(number: int, own: dict[str, Any], *, ruled: bool) -> dict[str, str]:
    row = {"cluster": str(number), "images": f"{own['size']:,}"}
    row |= {"name": own["name"] or "-"} if "name" in own else {}
    if own["scenarios"]:
        name, count = own["scenarios"][0]
        row["known cause"] = f"{name or 'not known'} {count / own['size']:.0%}"
    row |= {"of": own["labels"][0][0], "read as": own["predicted"][0][0]}
    rule = " and ".join(own["rule"]["rule"]) or "-"
    return row | ({"rule": rule} if ruled else {})


def _scores(found: Explained) -> list[str]:
    own = found.scores
    if own is None:
        return []
    purity = "-" if own.purity is None else f"{own.purity:z.1%}"
    random = found.random.numbers["purity"] if found.random else None
    inspected = found.inspected
    looks = (
        f"; to see every cause takes {found.seen_after} images in the order of "
        f"look.txt, {inspected.mean:.0f} by clusters in turn, "
        f"{inspected.random_mean:.0f} at random"
        if inspected
        else ""
    )
    beside = f" (random clusters of the same sizes {random.mean:.1%})" if random else ""
    return [
        f"purity {purity}{beside}, coverage {own.coverage[0.9]:.1%} of "
        f"{own.scenarios} causes at 90 % purity, adjusted mutual information "
        f"{own.information or 0:z.2f}{looks}"
    ]
