"""The options of ``stoic causes``, as types."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ClusteringName",
    "ExtractorName",
    "FailureCount",
    "FeatureName",
    "GridOption",
    "Images",
    "Kept",
    "MonitorFile",
    "Of",
    "OfOption",
    "OutFolder",
    "Processes",
    "ReductionName",
    "Stability",
    "Strict",
]


class Of(StrEnum):
    """What failures are."""

    mistakes = "mistakes"
    faults = "faults"
    false_alarms = "false-alarms"
    misses = "misses"


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
        help="Of features; 'list' lists them. By default layers; markers for faults. "
        "A mix is named 'layers and SqueezeNet'.",
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
        "--clustering",
        help="K-means, DBSCAN, HDBSCAN (the default), Ward, or fine, for rare causes.",
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
    typer.Option(
        "--kept", help="Folder of failures and a grid's stages, to go on from."
    ),
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
