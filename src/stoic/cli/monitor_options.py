"""The options of ``stoic monitor fit`` and ``evaluate``, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FLIP",
    "KINDS",
    "LEARNT",
    "SEVERAL",
    "Alpha",
    "Baselines",
    "Choose",
    "Clean",
    "Faults",
    "Features",
    "File",
    "InputCount",
    "Kinds",
    "Marker",
    "Most",
    "OtherFaults",
    "OtherKinds",
    "Page",
    "Rate",
    "Saved",
    "Strengths",
    "Watch",
]

LEARNT, FLIP = "memory,noise,blur,contrast", "flip"
KINDS = f"{LEARNT},darkness,pixelation,specks"
SEVERAL = "flips:2,burst:4"

File = Annotated[Path, typer.Argument(help="A monitor that 'fit' has saved.")]
InputCount = Annotated[int, typer.Option("--inputs", help="Inputs of the case.")]
Saved = Annotated[Path, typer.Option("--out", help="File of the monitor.")]
Page = Annotated[
    Path | None, typer.Option("--out", help="HTML page of it, that opens offline.")
]
Watch = Annotated[
    str, typer.Option("--watch", help="Values, with commas; all layers by default.")
]
Marker = Annotated[
    str,
    typer.Option(
        "--marker",
        help="Of each: quantiles, raw, sampled, extremes, moments; or checksums.",
    ),
]
Features = Annotated[
    int, typer.Option("--features", help="To keep at most; 0 for all.")
]
Most = Annotated[
    int,
    typer.Option(
        "--most",
        help="Values to look at in all, 0 for all: the score finds more with more, "
        "and costs more.",
    ),
]
Choose = Annotated[
    str, typer.Option("--choose", help="How: steps, importance, pairs or layers.")
]
Kinds = Annotated[
    str,
    typer.Option(
        "--kinds",
        help="Of faults to learn, with commas: darkness, pixelation and specks, too; "
        "any can be left out.",
    ),
]
Faults = Annotated[
    str,
    typer.Option(
        "--fault",
        help="In memory to learn, with commas: flip, flips:K, burst:K and others as "
        "--fault-model of 'stoic pvf' has them.",
    ),
]
OtherKinds = Annotated[
    str,
    typer.Option(
        "--kinds", help="Of these faults only, besides those that it has learnt."
    ),
]
OtherFaults = Annotated[
    str,
    typer.Option(
        "--fault",
        help="In memory, besides single flips and what it has learnt: flips:K, burst:K "
        "and others.",
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="Beside seven more detectors than the trivial one, fitted with the same "
        "inputs; takes as long as fitting did.",
    ),
]
Strengths = Annotated[
    str,
    typer.Option(
        "--strengths",
        help="At which such shares of inputs fail, as 25%,75%; by default those that "
        "it was fitted with.",
    ),
]
Rate = Annotated[
    float, typer.Option("--rate", help="False alarms of the calibrated alarm.")
]
Alpha = Annotated[
    float | None, typer.Option("--alpha", help="Pruning: more makes fewer rules.")
]
Clean = Annotated[
    float,
    typer.Option(
        "--clean",
        help="More weight of fault-free inputs, in classes: rules raise fewer false "
        "alarms, and find less.",
    ),
]
