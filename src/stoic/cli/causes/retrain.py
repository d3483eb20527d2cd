"""``stoic causes retrain``: what learning from failures gains."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stoic.cli.causes.options import (
    ClusteringName,
    FailureCount,
    FeatureName,
    ReductionName,
)
from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, progress

__all__ = ["retrain"]


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
    clustering: ClusteringName = "HDBSCAN",
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
