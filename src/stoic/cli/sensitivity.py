"""``stoic sensitivity``: how far perturbations can grow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress
from stoic.cli.parse import norm_of

if TYPE_CHECKING:
    from stoic.conditioning import Answer, Conditioned

__all__ = ["sensitivity"]

InputCount = Annotated[int | None, typer.Option("--inputs", help="Of the case.")]
Radius = Annotated[
    list[float] | None,
    typer.Option("--radius", help="Of inputs, relative to each; several times."),
]
Norm = Annotated[
    str, typer.Option("--norm", help="Of the inputs' deviation: 2 or inf.")
]
Words = Annotated[
    float, typer.Option("--words", help="Relative error of stored words; 0: not asked.")
]
Formats = Annotated[
    str, typer.Option("--formats", help="Whose rounding is asked about, with commas.")
]
Attacks = Annotated[
    bool, typer.Option("--attacks/--no-attacks", help="Measure growth, too.")
]
LocalOnly = Annotated[
    bool, typer.Option("--local-only", help="No bounds: operators may have none.")
]
Beginning = Annotated[
    str,
    typer.Option(
        "--beginning-at",
        help="A computed value that is perturbed in place of the inputs: embedding.",
    ),
]
Batch = Annotated[int, typer.Option("--batch", help="Inputs per run.")]
Page = Annotated[
    Path | None, typer.Option("--out", help="HTML page of it, that opens offline.")
]

_NAMES = ("product", "interval", "linearised", "certified")
_GUESSES = ("local", "average", "measured")


def sensitivity(
    case: CaseName,
    inputs: InputCount = None,
    radius: Radius = None,
    norm: Norm = "2",
    words: Words = 2.0**-24,
    formats: Formats = "float32,bfloat16,float16",
    attacks: Attacks = True,
    local_only: LocalOnly = False,
    beginning_at: Beginning = "",
    batch: Batch = 32,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Page = None,
) -> None:
    """Bound how far perturbations can move the scores of CASE's network."""
    from stoic.cases import load
    from stoic.conditioning import condition

    how: dict[str, Any] = {"words": words, "attacks": attacks, "batch": batch}
    how |= {"local_only": local_only, "seed": seed, "beginning_at": beginning_at}
    how |= {"radii": tuple(radius)} if radius else {}
    how |= {"formats": tuple(each for each in formats.split(",") if each)}
    with one_line():
        how |= {"norm": norm_of(norm)}
        loaded = load(case, inputs)
        with progress("inputs") as told:
            found = condition(loaded.network, loaded.inputs, progress=told, **how)
        if out:
            _write_page(found, case, out)
    if as_json:
        print(json.dumps(found.as_record() | {"case": case}, indent=1))
        return
    print("\n\n".join(_tables(found)))


def _tables(found: Conditioned) -> list[str]:
    rows = [_row(answer) for answer in found.answers]
    about = (
        f"condition numbers, medians of {found.inputs:,} inputs: relative change of\n"
        "the scores for a relative perturbation of that size, over the size"
    )
    parts = [about, aligned(rows)]
    if found.undefined:
        parts.append(
            f"scores of {len(found.undefined):,} of {found.inputs:,} inputs are all 0 "
            "or denormal: nothing relative is\nsaid of these"
        )
    if found.layers:
        parts.append(aligned(_layers(found)))
        parts.append(
            "product, interval and linearised are guarantees, certified is the least\n"
            "for each input; local and average are of derivatives and prove nothing\n"
            f"bounds took {found.seconds:.3g} s of the processor, as long as "
            f"{found.forwards:.0f} runs of the network"
        )
    return parts


def _row(answer: Answer) -> dict[str, str]:
    row = {"perturbed": answer.name, "size": f"{answer.size:.3g}"}
    return row | {name: _number(answer.median(name)) for name in (*_NAMES, *_GUESSES)}


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "no statement" if math.isinf(value) else f"{value:.3g}"


def _layers(found: Conditioned) -> list[dict[str, str]]:
    return [
        {
            "layer": layer.name,
            "operator": layer.operator,
            "1-norm": f"{layer.one:.4g}",
            "2-norm": f"{layer.norm.lower:.4g} to {layer.norm.upper:.4g}",
            "∞-norm": f"{layer.infinity:.4g}",
            "amplifies": f"{layer.amplifies:.3g}",
        }
        for layer in found.layers
    ]


def _write_page(found: Conditioned, case: str, out: Path) -> None:
    from stoic.report.sensitivity import write_sensitivity_report

    chat(f"page: {write_sensitivity_report(found.as_page(case), out)}")
