"""``stoic causes retrain``: what learning from failures gains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoic.cli.causes.asking import asked, check_heard
from stoic.cli.causes.options import (
    ClusteringName,
    FailureCount,
    FeatureName,
    Images,
    Of,
    OfOption,
    ReductionName,
    Strict,
)
from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress

if TYPE_CHECKING:
    from stoic.improving import Improved

__all__ = ["retrain"]

_RESULT = "retrain.json"
_REFUSED = {
    Of.faults: "no image can teach a network to bear flipped bits: all are right "
    "without them; protect the layers that 'stoic causes CASE --of faults' names",
    Of.misses: "these are of the monitor, and retraining changes the network that it "
    "knows; fit it again: 'stoic monitor fit'",
}
_REFUSED[Of.false_alarms] = _REFUSED[Of.misses]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the result and lists of chosen images."),
]


def retrain(
    case: CaseName,
    failures: FailureCount = 1200,
    of: OfOption = Of.mistakes,
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
    images: Images = None,
    strict: Strict = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    """Measure what retraining CASE's network on images chosen by clusters gains."""
    from stoic.causes.retraining import Learning
    from stoic.explaining import pipeline_of
    from stoic.improving import improve
    from stoic.records.files import check_writable

    with one_line():
        if of in _REFUSED:
            raise ValueError(
                f"retraining must be on mistakes, got {of.value}; {_REFUSED[of]}"
            )
        check_heard("--images", images is not None, {"strict": strict})
        learning = Learning(epochs, rate)
        pipeline = pipeline_of(extractor, reduction, clustering)
        if out:
            check_writable("out", out / _RESULT)
        inquiry = asked(case, failures, seed, images=images, strict=strict)
        how: dict[str, Any] = {"budget": budget, "repeats": repeats, "seed": seed}
        with progress("networks") as told:
            found = improve(inquiry, pipeline, learning=learning, progress=told, **how)
        if out:
            files = found.save(out, case)
            chat(f"result: {files[0]}; lists of images: {out / 'chosen-*.txt'}")
    if as_json:
        print(json.dumps(found.as_record() | {"case": case}, indent=1))
        return
    print(_text(found, repeats))


def _text(found: Improved, repeats: int) -> str:
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
    return (
        f"{aligned(rows)}\n\nby clusters less at random: {100 * mean:+z.1f} points "
        f"[{100 * low:z.1f}, {100 * high:z.1f}] of the failures mended, 95 % by\n"
        f"Student's t over {repeats} repetitions; chosen among {found.pool:,} images"
    )
