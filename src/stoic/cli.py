"""The command: parse, one call of the library, print. Results on stdout, else stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from stoic.cases import Case
    from stoic.estimates.measured import Measured
    from stoic.study import Progress, Settings

__all__ = ["app", "main"]

app = typer.Typer(
    help="Tell how a neural network takes a hit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DONE, TOO_HIGH, WRONG_USE, NOT_SHOWN = 0, 1, 2, 3


class Mode(StrEnum):
    """How trials are run."""

    exact = "exact"
    fast = "fast"


class Strata(StrEnum):
    """What a stratified plan draws equally many faults from."""

    none = "none"
    site = "site"
    bit = "bit"
    role = "role"
    site_bit = "site-bit"


class Scope(StrEnum):
    """Whom a fault in an activation or input hits."""

    input = "input"
    batch = "batch"


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.")
    ] = False,
) -> None:
    if version:
        from stoic import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def pvf(
    case: Annotated[str, typer.Argument(help="A built-in case or module:function.")],
    sites: Annotated[str, typer.Option(help="Globs of sites, comma-separated.")] = "*",
    exclude: Annotated[str, typer.Option(help="Globs of sites to leave out.")] = "",
    kind: Annotated[
        str,
        typer.Option(help="Kinds of sites: parameter, buffer, activation, input."),
    ] = "parameter",
    bits: Annotated[
        str, typer.Option(help="Bits: 30, 0-22, sign, exponent, mantissa, all.")
    ] = "all",
    fault_model: Annotated[
        str,
        typer.Option(
            help="flip, flips:K, burst:K, stuck-at-0, stuck-at-1, set:VALUE, random."
        ),
    ] = "flip",
    per_trial: Annotated[
        int | None, typer.Option(help="This many faults strike together.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Each fault strikes at this rate (BER).")
    ] = None,
    scope: Annotated[
        Scope, typer.Option(help="A fault in an activation hits one input or all.")
    ] = Scope.input,
    faults: Annotated[int, typer.Option(help="Number of trials.")] = 1000,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Try every fault there is.")
    ] = False,
    strata: Annotated[
        Strata, typer.Option(help="Draw equally many faults from each of these.")
    ] = Strata.none,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    criterion: Annotated[
        str,
        typer.Option(
            help="top1-changed, top1-wrong, top-k:K, threshold:LEVEL, "
            "tolerance:ABS[,REL], any-change."
        ),
    ] = "top1-changed",
    mode: Annotated[
        Mode, typer.Option(help="exact, or fast: same verdicts, last bits may differ.")
    ] = Mode.exact,
    inputs: Annotated[
        int | None, typer.Option(help="Use the first inputs of the case only.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Inputs per run.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    time_limit: Annotated[
        float, typer.Option(help="Seconds that a trial may take per batch.")
    ] = 60.0,
    slow_path: Annotated[
        bool, typer.Option("--slow-path", help="Do not capture the network.")
    ] = False,
    verify: Annotated[
        int, typer.Option(help="Run so many trials again naively; differing fails.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder, made or gone on with.")
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(help="Exit 0 below this share, 1 above, 3 if not shown."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Measure how likely a fault makes the network of CASE wrong."""
    from stoic.cases import load

    with _one_line():
        _use(threads)
        loaded = _on(load(case, inputs), device)
        settings = _settings(
            sites=sites,
            exclude=exclude,
            kinds=_kinds(kind),
            bits=bits,
            model=_model(fault_model),
            several=_several(per_trial, rate),
            scope=scope.value,
            faults=None if exhaustive else faults,
            strata=strata.value,
            seed=seed,
            criterion=criterion,
            mode=mode.value,
            batch=batch,
            limit_s=time_limit,
            captured=not slow_path,
        )
        with _progress() as progress:
            measured = _measure(loaded, settings, out, verify, progress)
    _print(measured, as_json=as_json)
    _chat(f"report: {_report(measured.path)}")
    raise typer.Exit(_verdict(measured, fail_above))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the page goes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Print the tables of a run and write its report again."""
    from stoic.estimates.measured import open_measured

    with _one_line():
        measured = open_measured(run)
        _print(measured, as_json=as_json)
        _chat(f"report: {_report(run, out)}")


@app.command()
def cases(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the built-in cases."""
    from stoic.cases import catalogue

    entries = catalogue()
    if as_json:
        print(json.dumps([vars(entry) for entry in entries], indent=1))
        return
    for entry in entries:
        print(f"{entry.name:<12} {entry.about}")
        if entry.needs:
            print(f"{'':<12} needs: {entry.needs}")


@app.command()
def sites(
    case: Annotated[str, typer.Argument(help="A built-in case or module:function.")],
    left_out: Annotated[
        bool, typer.Option("--left-out", help="List what is no site, and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the sites of the network of CASE, where a fault can hit."""
    from stoic.cases import load
    from stoic.network.prepare import prepare
    from stoic.study import as_inputs

    with _one_line():
        loaded = load(case, 2)
        subject = prepare(loaded.network, as_inputs(loaded.inputs))
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
    print(json.dumps(rows, indent=1) if as_json else _aligned(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        result = app(args=argv, standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except typer.Abort:
        _chat("stopped; the same command goes on from here")
        return WRONG_USE
    except KeyboardInterrupt:
        _chat("stopped; the same command goes on from here")
        return 130
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return WRONG_USE
    return int(result or 0)


@contextmanager
def _one_line() -> Iterator[None]:
    """Say what a user did wrong in one line, without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        _wrong(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _wrong(message: str) -> NoReturn:
    _chat(f"stoic: {message}")
    raise typer.Exit(WRONG_USE)


def _chat(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _use(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def _on(case: Case, device: str) -> Case:
    from stoic.cases.case import moved

    return case if device == "cpu" else moved(case, device)


def _kinds(text: str) -> tuple[Any, ...]:
    known = ("parameter", "buffer", "activation", "input")
    kinds = tuple(part.strip() for part in text.split(","))
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"kind must be one of {', '.join(known)}, got {kind!r}")
    return kinds


def _model(text: str) -> Any:
    from stoic.faults.models import named_model

    return named_model(text)


def _several(count: int | None, rate: float | None) -> Any:
    from stoic.campaign.campaign import Several

    return None if count is None and rate is None else Several(count, rate)


def _settings(**chosen: Any) -> Settings:
    from stoic.study import Settings

    return Settings(**chosen)


def _measure(
    case: Case,
    settings: Settings,
    out: Path | None,
    verify: int,
    progress: Progress | None,
) -> Measured:
    from stoic.study import pvf

    return pvf(
        case.network,
        case.inputs,
        case.labels,
        settings=settings,
        out=out,
        name=case.name,
        classes=case.classes,
        clusters=case.clusters,
        tail=case.tail,
        command=["stoic", *sys.argv[1:]],
        verify=verify,
        progress=progress,
        notice=_chat,
    )


def _report(run: Path, out: Path | None = None) -> Path:
    from stoic.report import write_report

    return write_report(run, out)


def _verdict(measured: Measured, limit: float | None) -> int:
    """Return the exit code that the one-sided 95 % limits give."""
    if limit is None:
        return DONE
    shown = measured.verdict(limit)
    _chat(f"PVF is {shown} {limit:g} at one-sided 95 % confidence")
    return {"below": DONE, "above": TOO_HIGH}.get(shown, NOT_SHOWN)


def _print(measured: Measured, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(measured.as_record(), indent=1))
        return
    print(measured.summary)
    print()
    print(_aligned([_line(row) for row in measured.outcomes()]))
    if measured.run.manifest.space.fault_model.get("several") is None:
        print()
        print(_aligned([_line(row) for row in measured.worst(10)]))


def _line(row: Any) -> dict[str, str]:
    return {
        "what": row.label,
        "share": str(row.estimate),
        "trials": f"{row.trials:,}",
        "of faults": f"{row.faults:,}",
    }


def _aligned(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as columns of text under their names."""
    if not rows:
        return "none"
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show rate and time left: a bar on a terminal, else a line now and then."""
    from stoic.progress import bar, lines

    with bar() if sys.stderr.isatty() else lines(_chat) as told:
        yield told
