"""``stoic bits``: how narrow the words of a network may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress
from stoic.cli.parse import share_of

if TYPE_CHECKING:
    from stoic.cases.case import Case
    from stoic.sensitivity.sweep import Kept
    from stoic.widths import Assigned, Widths

__all__ = ["bits"]


# Wider formats than these keep everything; nobody measures or reads on.
_WHOLE = 0.99995


InputCount = Annotated[int | None, typer.Option("--inputs", help="Of the case.")]
Bytes = Annotated[str, typer.Option("--budget", help="Of all weights: 50%, 120kB.")]
BitOperations = Annotated[
    str, typer.Option("--budget-bops", help="Products of widths, in all: 40%, 3e9.")
]
FormatName = Annotated[
    str,
    typer.Option(
        "--format",
        help="int, e4 (4 exponent bits), or one: int8, e4m3, bfloat16, float16.",
    ),
]
Narrow = Annotated[
    str, typer.Option("--narrow", help="weights, values (that layers read), both.")
]
Keep = Annotated[
    str, typer.Option("--keep", help="Share of the decisions that has to stay.")
]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Measure what is predicted.")
]
Prove = Annotated[
    int, typer.Option("--prove", help="Prove for the first so many inputs; 0: none.")
]
Deployed = Annotated[bool, typer.Option("--as-deployed", help="Fold batch norms.")]
Torchao = Annotated[bool, typer.Option("--torchao", help="Run its int8 weights, too.")]
Page = Annotated[
    Path | None, typer.Option("--out", help="HTML page of it, that opens offline.")
]


def bits(
    case: CaseName,
    inputs: InputCount = None,
    budget: Bytes = "",
    budget_bops: BitOperations = "",
    format: FormatName = "int",
    narrow: Narrow = "weights",
    keep: Keep = "99%",
    check: Check = True,
    prove: Prove = 32,
    as_deployed: Deployed = False,
    torchao: Torchao = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Page = None,
) -> None:
    """Predict and measure how narrow the words of CASE's network may be."""
    from stoic.campaign.checks import check_name
    from stoic.widths import PARTS, by_torchao
    from stoic.widths import bits as asked

    how: dict[str, Any] = {"format": format, "parts": narrow, "check": check}
    how |= {"budget": budget or None, "budget_bops": budget_bops or None, "seed": seed}
    how |= {"prove": prove}
    with one_line():
        check_name("narrow", narrow, PARTS)
        how |= {"keep": share_of("keep", keep)}
        loaded = _loaded(case, inputs, as_deployed)
        how |= {"tail": loaded.tail}
        given = (loaded.network, loaded.inputs)
        with progress("widths") as told:
            found = asked(*given, _classes(loaded.labels), progress=told, **how)
        lines = by_torchao(*given, tail=loaded.tail).lines() if torchao else []
        if out:
            _write_page(found, case, out)
    if as_json:
        print(
            json.dumps(found.as_record() | {"case": case, "torchao": lines}, indent=1)
        )
        return
    print("\n\n".join([*_tables(found), *lines]))


def _loaded(case: str, inputs: int | None, as_deployed: bool) -> Case:
    from stoic.cases import load
    from stoic.network.deployed import as_deployed as folded
    from stoic.study import as_inputs

    found = load(case, inputs)
    if not as_deployed:
        return found
    return replace(found, network=folded(found.network, as_inputs(found.inputs)))


def _tables(found: Widths) -> list[str]:
    parts = [_summary(found), aligned(_widths(found))]
    if found.assigned:
        parts.append(_budgeted(found.assigned))
    return [*parts, aligned(_layers(found))]


def _classes(labels: Any) -> Any:
    """Return labels that are classes; of others no accuracy can be told."""
    return labels if labels is not None and labels.dim() == 1 else None


def _write_page(found: Widths, case: str, out: Path) -> None:
    from stoic.report.widths import write_widths_report

    chat(f"page: {write_widths_report(found.as_record(), case, out)}")


def _summary(found: Widths) -> str:
    keep = f"{100 * found.settings.keep:g} %"
    told = [
        ("predicted, on average", _bits(found.predicted, "none")),
        (
            "measured",
            _bits(found.measured, "none") if found.settings.check else "not asked",
        ),
        (
            "provable",
            _bits(found.provable) + (f" ({found.silent})" * bool(found.silent)),
        ),
    ]
    what = {"both": "weights and values"}.get(
        found.settings.parts, found.settings.parts
    )
    head = (
        f"least uniform width of {what} that keeps {keep} of {found.inputs:,} decisions"
    )
    layers = sum(layer.words for layer in found.layers)
    told.append(("made narrower", f"{layers:,} of {found.words:,} stored words"))
    return "\n".join([head, *(f"  {name:22} {text}" for name, text in told)])


def _bits(width: int | None, none: str = "no statement") -> str:
    return none if width is None else f"{width} bits"


def _widths(found: Widths) -> list[dict[str, str]]:
    rows = []
    for row in found.rows:
        untold = row.measured is None and row.proved is None
        if untold and found.settings.check and row.predicted > _WHOLE:
            continue
        told = {"format": row.format, "kept, predicted": f"{row.predicted:.2%}"}
        if found.settings.check:
            told |= _told(row.measured, found.accuracy is not None)
        if row.proved is not None or found.provable is not None:
            told["proved"] = "" if row.proved is None else f"{row.proved:.2%}"
        rows.append(told)
    return rows


def _told(kept: Kept | None, labelled: bool) -> dict[str, str]:
    if kept is None:
        return {"measured": "", "95 % interval": ""} | (
            {"right": ""} if labelled else {}
        )
    share = kept.share
    told = {
        "measured": f"{share.value:.2%}",
        "95 % interval": f"{share.low:.2%} to {share.high:.2%}",
    }
    return told | ({"right": f"{kept.accuracy:.2%}"} if labelled else {})


def _layers(found: Widths) -> list[dict[str, str]]:
    return [
        {
            "layer": row.name,
            "words": f"{row.words:,}",
            "multiplications": f"{row.macs:,}",
            "share of the noise": f"{row.noise:.1%}",
        }
        | ({} if row.width is None else {"bits": str(row.width)})
        for row in found.layers
    ]


def _budgeted(assigned: Assigned) -> str:
    plan = assigned.plan
    rows = [
        {"widths": "by layer", "kept, predicted": f"{plan.kept:.2%}"}
        | _measured(assigned.measured)
    ]
    if plan.uniform is not None and plan.uniform_kept is not None:
        rows.append(
            {
                "widths": f"uniform, {plan.uniform} bits",
                "kept, predicted": f"{plan.uniform_kept:.2%}",
            }
            | _measured(assigned.uniform)
        )
    limit = f"{plan.cost:,.0f} of {plan.budget.limit:,.0f} {plan.budget.kind}"
    return f"{limit}\n{aligned(rows)}"


def _measured(kept: Kept | None) -> dict[str, str]:
    return {} if kept is None else {"measured": f"{kept.share.value:.2%}"}
