"""The commands: parse, one call of the library, print."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from stoic.cli import parse, rehearse
from stoic.cli.bits import bits
from stoic.cli.causes import causes
from stoic.cli.ending import (
    BROKEN,
    DONE,
    NOT_SHOWN,
    STOPPED,
    TOO_HIGH,
    WRONG_USE,
    one_line,
    stop,
)
from stoic.cli.monitor import monitor
from stoic.cli.options import (
    About,
    AboutOption,
    Allocation,
    AsDeployed,
    AsJson,
    AtMost,
    Batch,
    Best,
    Bits,
    CaseName,
    CriterionText,
    DataAware,
    Device,
    Exclude,
    Exhaustive,
    FailAbove,
    Faults,
    HalfWidth,
    Inputs,
    InputsPerFault,
    Interval,
    IntervalOption,
    Kind,
    Margin,
    Memory,
    Mode,
    Model,
    ModeOption,
    Out,
    PerTrial,
    PlanOption,
    Rate,
    Relative,
    Replacement,
    Scope,
    ScopeOption,
    Seed,
    Sites,
    SlowPath,
    Strata,
    StrataOption,
    Tables,
    Threads,
    Time,
    TimeLimit,
    Verify,
    WithNonfinite,
)
from stoic.cli.output import aligned, chat, print_measured, progress
from stoic.cli.predict import predict
from stoic.cli.sensitivity import sensitivity

if TYPE_CHECKING:
    from stoic.cases import Case
    from stoic.estimates.measured import Measured

__all__ = ["app", "main"]

app = typer.Typer(
    help="Tell how a neural network takes a hit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

monitor.command()(rehearse.run)
app.add_typer(monitor)
app.command()(bits)
app.command()(sensitivity)
app.command()(predict)
app.add_typer(causes)


def _print_version(wanted: bool) -> None:
    if wanted:
        from stoic import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and stop.",
            callback=_print_version,
            # Before a command is asked for.
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


@app.command()
def pvf(
    case: CaseName,
    sites: Sites = "*",
    exclude: Exclude = "",
    kind: Kind = "parameter",
    bits: Bits = "all",
    fault_model: Model = "flip",
    per_trial: PerTrial = None,
    rate: Rate = None,
    scope: ScopeOption = Scope.input,
    faults: Faults = 1000,
    half_width: HalfWidth = None,
    relative: Relative = None,
    time: Time = None,
    interval: IntervalOption = Interval.guaranteed,
    inputs_per_fault: InputsPerFault = None,
    at_most: AtMost = None,
    plan: PlanOption = None,
    exhaustive: Exhaustive = False,
    replacement: Replacement = False,
    strata: StrataOption = Strata.none,
    allocation: Allocation = None,
    margin: Margin = None,
    data_aware: DataAware = False,
    seed: Seed = 0,
    criterion: CriterionText = None,
    mode: ModeOption = Mode.exact,
    inputs: Inputs = None,
    batch: Batch = None,
    threads: Threads = None,
    device: Device = "cpu",
    time_limit: TimeLimit = 60.0,
    slow_path: SlowPath = False,
    as_deployed: AsDeployed = False,
    best: Best = 5,
    memory: Memory = None,
    verify: Verify = 0,
    out: Out = None,
    fail_above: FailAbove = None,
    table: Tables = None,
    about: AboutOption = About.inputs,
    with_nonfinite: WithNonfinite = False,
    as_json: AsJson = False,
) -> None:
    """Measure how likely a fault makes the network of CASE wrong."""
    # Every option by its name: too many to be handed on one by one.
    _pvf(dict(locals()))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the page goes.")] = None,
    table: Tables = None,
    about: AboutOption = About.inputs,
    with_nonfinite: WithNonfinite = False,
    as_json: AsJson = False,
) -> None:
    """Print the tables of a run and write its report again."""
    from stoic.estimates.measured import open_measured

    with one_line():
        measured = open_measured(run, about=about.value, with_nonfinite=with_nonfinite)
        print_measured(measured, parse.split(table), as_json=as_json)
        chat(f"report: {_report(measured, out)}")


@app.command()
def cases(
    as_json: AsJson = False,
) -> None:
    """List the built-in cases."""
    from stoic.cases import catalogue

    entries = catalogue()
    if as_json:
        shown = ("name", "about", "needs", "inputs")
        rows = [{name: getattr(entry, name) for name in shown} for entry in entries]
        print(json.dumps(rows, indent=1))
        return
    for entry in entries:
        print(f"{entry.name:<12} {entry.about}")
        if entry.needs:
            print(f"{'':<12} needs: {entry.needs}")


@app.command()
def sites(
    case: CaseName,
    left_out: Annotated[
        bool, typer.Option("--left-out", help="List what is no site, and why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the sites of the network of CASE, where a fault can hit."""
    from stoic.cases import load
    from stoic.study import ready

    with one_line():
        loaded = load(case)
        subject = ready(loaded.network, loaded.inputs)
    if left_out:
        rows = [{"name": s.name, "reason": s.reason} for s in subject.left_out]
    else:
        rows = [
            {
                "name": s.name,
                "kind": s.kind,
                "dtype": str(s.dtype).removeprefix("torch."),
                "shape": "x".join(map(str, s.shape)) or "1",
                "hits": "one input" if s.per_input else "every input",
            }
            for s in subject.sites
        ]
    print(json.dumps(rows, indent=1) if as_json else aligned(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        result = app(args=argv, standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        chat("stoic: stopped")
        return STOPPED
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            # Not the code 1 of Python: that says that a limit is exceeded.
            traceback.print_exc()
            return BROKEN
        show()
        return WRONG_USE
    return int(result or 0)


@contextmanager
def _stopping(out: Path | None) -> Iterator[None]:
    """Say what is left of a campaign that a user stops."""
    try:
        yield
    except KeyboardInterrupt:
        if out and (out / "manifest.json").exists():
            chat(f"stoic: {out} keeps the trials so far; the same command goes on")
        raise


def _use(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def _on(case: Case, device: str) -> Case:
    from stoic.cases.case import moved

    return case if device == "cpu" else moved(case, device)


def _pvf(words: Mapping[str, Any]) -> NoReturn:
    """Measure, print and exit as the options ask, by their names."""
    from stoic.cases import load

    about, limit = words["about"].value, words["fail_above"]
    with one_line():
        parse.check_share("fail-above", limit)
        _use(words["threads"])
        loaded = _on(load(words["case"], words["inputs"]), words["device"])
        settings = parse.settings(words, loaded)
        tables = parse.table_names(words["table"], settings, loaded, about)
        with progress() as told, _stopping(words["out"]):
            measured = _measure(
                loaded,
                settings=settings,
                out=words["out"],
                verify=words["verify"],
                about=about,
                with_nonfinite=words["with_nonfinite"],
                progress=told,
            )
    _finish(measured, limit, tables, as_json=words["as_json"])


def _finish(
    measured: Measured, limit: float | None, tables: list[str], *, as_json: bool
) -> NoReturn:
    """Print the answers, write the report, and exit with what the limit says."""
    with one_line():
        print_measured(measured, tables, as_json=as_json)
        chat(f"report: {_report(measured)}")
    raise typer.Exit(_verdict(measured, limit))


def _measure(case: Case, **given: Any) -> Measured:
    from stoic.campaign.running import EngineError
    from stoic.campaign.verify import VerifyError
    from stoic.study import pvf

    try:
        return pvf(
            case.network,
            case.inputs,
            case.labels,
            name=case.name,
            classes=case.classes,
            clusters=case.clusters,
            tail=case.tail,
            command=["stoic", *sys.argv[1:]],
            notice=chat,
            **given,
        )
    except (VerifyError, EngineError) as error:
        stop(error, BROKEN)


def _report(measured: Measured, out: Path | None = None) -> Path:
    from stoic.report import write_report

    return write_report(
        measured.path,
        out,
        about=measured.about,
        with_nonfinite=measured.with_nonfinite,
    )


def _verdict(measured: Measured, limit: float | None) -> int:
    """Return the exit code that the one-sided 95 % limits give."""
    if limit is None:
        return DONE
    shown = measured.verdict(limit)
    chat(f"PVF is {shown} {limit:g} at one-sided 95 % confidence")
    return {"below": DONE, "above": TOO_HIGH}.get(shown, NOT_SHOWN)
