"""``stoic predict``: the vulnerability of each tensor and bit, without injection."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, Bits, CaseName, CriterionText, Exclude, Sites
from stoic.cli.output import aligned, chat, progress

if TYPE_CHECKING:
    from stoic.cases.case import Case
    from stoic.predicting import CellRow, Predicted
    from stoic.sensitivity.chances import Reliability
    from stoic.sensitivity.joint import Agreement

__all__ = ["predict"]

_LISTED = 20

Norms = Annotated[
    bool, typer.Option("--norms/--no-norms", help="Columns of bounds by layer.")
]
MonitorFile = Annotated[
    Path | None, typer.Option("--monitor", help="File whose points are a column.")
]
Proofs = Annotated[
    bool, typer.Option("--proofs", help="Say what share of each cell is proved.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File of all that is said: a page, or .json."),
]
RunFolder = Annotated[
    Path | None, typer.Option("--measured", help="Run folder to compare with.")
]


def predict(
    case: CaseName,
    sites: Sites = "*",
    exclude: Exclude = "",
    bits: Bits = "all",
    criterion: CriterionText = None,
    inputs: Annotated[
        int | None, typer.Option("--inputs", help="Of the case; 8 by default.")
    ] = 8,
    rivals: Annotated[
        int, typer.Option("--rivals", help="Classes whose slopes are had, at most.")
    ] = 48,
    words: Annotated[
        int, typer.Option("--words", help="Of each tensor that are looked at.")
    ] = 64,
    probes: Annotated[
        int, typer.Option("--probes", help="Of the Hessian's trace; 0 for none.")
    ] = 8,
    proofs: Proofs = False,
    measured: RunFolder = None,
    norms: Norms = True,
    monitor: MonitorFile = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Predict how likely faults make the network of CASE wrong, injecting none."""
    from stoic.cases import load
    from stoic.predicting import PredictSettings
    from stoic.predicting import predict as predicted

    with one_line():
        loaded = load(case, inputs)
        if loaded.tail is not None:
            raise ValueError(
                f"case must have scores as its network's output, got {case} with a "
                "tail; measure it with 'stoic pvf'"
            )
        settings = PredictSettings(
            *(sites, exclude, bits, criterion or loaded.judged_by),
            *(rivals, words, probes, proofs),
        )
        columns = _columns(loaded, norms=norms, monitor=monitor)
        with progress("inputs") as told:
            found = predicted(
                *(loaded.network, loaded.inputs, loaded.labels),
                settings=settings,
                measured=measured,
                columns=columns,
                progress=told,
            )
    record = json.dumps(found.as_record() | {"case": case}, indent=1)
    if out:
        with one_line():
            _write(found, record, case, out)
    print(record if as_json else "\n\n".join(_tables(found)))


def _write(found: Predicted, record: str, case: str, out: Path) -> None:
    """Write a page, or the record where the file is to be JSON."""
    from stoic.records.files import ELSEWHERE, write_whole, writing
    from stoic.report.predicted import write_predicted_report

    if out.suffix != ".json":
        chat(f"page: {write_predicted_report(found.as_record(), case, out)}")
        return
    with writing(out, ELSEWHERE):
        write_whole(out, record)
    chat(f"record: {out}")


def _columns(
    case: Case, *, norms: bool, monitor: Path | None
) -> dict[str, dict[str, float]]:
    """Return what bounds and a monitor say of tensors; without a bound, why not."""
    from stoic.columns import monitor_column, norm_columns
    from stoic.sensitivity.reach import NotKnownError

    found = {}
    try:
        found = norm_columns(case.network, case.inputs) if norms else {}
    except NotKnownError as error:
        chat(f"no columns of bounds: {str(error).partition('; ')[0]}")
    if monitor:
        found["monitor"] = monitor_column(monitor, case.network)
    return found


def _tables(found: Predicted) -> list[str]:
    worst = sorted(found.rows, key=lambda row: -row.predicted)[:_LISTED]
    about = (
        f"predicted PVF on {found.inputs} inputs, a guess: nothing was injected; "
        f"slopes cost\n{found.passes:.1f} forward passes at batch 32"
    )
    parts = [about, aligned([_row(row) for row in worst]), aligned(_layers(found))]
    agreements = found.joint.agreements()
    if agreements:
        parts.append(
            aligned(
                [
                    {
                        "the order of tensors by": f"{a.first} and {a.second}",
                        "Spearman": _limits(a),
                        "Kendall": _number(a.kendall, ".2f"),
                        "tensors": str(a.layers),
                    }
                    for a in agreements
                ]
            )
        )
    if found.calibration:
        parts.append("how often single verdicts turned, by what was predicted of each")
        parts.append(aligned([_point(point) for point in found.calibration]))
    return parts


def _point(point: Reliability) -> dict[str, str]:
    return {
        "predicted": f"{point.predicted:.2%}",
        "turned": f"{point.measured:.2%} [{point.low:.2%}, {point.high:.2%}]",
        "verdicts": f"{point.count:,}",
    }


def _row(row: CellRow) -> dict[str, str]:
    found = {
        "tensor": row.site,
        "bit": str(row.bit),
        "predicted": f"{row.predicted:.2%}",
    }
    if row.measured is not None:
        found["measured"] = f"{row.measured:.2%} [{row.low:.2%}, {row.high:.2%}]"
    else:
        found["measured"] = "-"
    if row.holds is not None:
        found["proved to hold"] = f"{row.holds:.1%}"
        found["proved to fail"] = f"{row.fails:.1%}"
    return found


def _layers(found: Predicted) -> list[dict[str, str]]:
    columns = found.joint.columns
    return [
        {"tensor": layer}
        | {name: _number(column[place]) for name, column in columns.items()}
        for place, layer in enumerate(found.joint.layers)
    ]


def _number(value: float, places: str = ".3g") -> str:
    return "-" if math.isnan(value) else f"{value:{places}}"


def _limits(found: Agreement) -> str:
    if math.isnan(found.spearman):
        return "-"
    return f"{found.spearman:.2f} [{found.low:.2f}, {found.high:.2f}]"
