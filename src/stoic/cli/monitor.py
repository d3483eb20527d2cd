"""The commands of ``stoic monitor``: fit one, show it, try it, export it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stoic.cli.ending import one_line
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress

__all__ = ["monitor"]

monitor = typer.Typer(
    name="monitor",
    help="Watch a network: is this very inference silently wrong, and why?",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="A monitor that 'fit' has saved.")]
InputCount = Annotated[int, typer.Option("--inputs", help="Inputs of the case.")]


@monitor.command()
def fit(
    case: CaseName,
    out: Annotated[Path, typer.Option("--out", help="File of the monitor.")],
    inputs: InputCount = 2000,
    watch: Annotated[
        str, typer.Option("--watch", help="Values, with commas; all layers by default.")
    ] = "",
    features: Annotated[
        int, typer.Option("--features", help="To keep at most; 0 for all.")
    ] = 4,
    rate: Annotated[
        float, typer.Option("--rate", help="False alarms of the calibrated alarm.")
    ] = 0.01,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Pruning: more makes fewer rules."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Fit a monitor to the network of CASE and save it."""
    from stoic.cases import load
    from stoic.monitoring import fit as fitted

    with one_line():
        loaded = load(case, inputs)
        with progress() as told:
            found = fitted(
                loaded.network,
                loaded.inputs,
                values=tuple(name.strip() for name in watch.split(",") if name),
                features=features,
                rate=rate,
                alpha=alpha,
                seed=seed,
                progress=told,
                notice=chat,
            )
        found.monitor.save(out)
    if found.choice:
        full, best = found.choice.full, found.choice.best
        rows = [
            {
                "features": name,
                "count": str(len(trial.features)),
                "precision": f"{trial.precision:.1%}",
                "recall": f"{trial.recall:.1%}",
            }
            for name, trial in (("all", full), ("chosen", best))
        ]
        print(aligned(rows))
        print()
    print("\n".join(found.monitor.rules.lines()))
    chat(f"monitor: {out}")


@monitor.command()
def show(file: File, as_json: AsJson = False) -> None:
    """Show what a monitor watches and concludes."""
    from stoic.monitors.monitor import Monitor

    with one_line():
        found = Monitor.load(file)
    if as_json:
        print(json.dumps(json.loads(file.read_text()), indent=1))
        return
    alarm = found.alarm
    print(f"watches {', '.join(watch.value for watch in found.watches)}")
    print("\n".join(found.rules.lines()))
    ends = zip(found.rules.features, alarm.low, alarm.high, strict=True)
    rows = [
        {"unlike fault-free inputs": name, "below": f"{a:.4g}", "above": f"{b:.4g}"}
        for name, a, b in ends
    ]
    print(f"\n{aligned(rows)}")
    print(
        f"false alarms: {alarm.rate:.2%} at most, by {alarm.rows:,} fault-free inputs"
    )
