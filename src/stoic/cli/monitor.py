"""The commands of ``stoic monitor``: fit one, show it, try it, export it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoic.cli.ending import one_line
from stoic.cli.judged import text_of, write_page
from stoic.cli.monitor_options import (
    FLIP,
    KINDS,
    LEARNT,
    SEVERAL,
    Alpha,
    Baselines,
    Choose,
    Clean,
    Faults,
    Features,
    File,
    InputCount,
    Kinds,
    Marker,
    Most,
    OtherFaults,
    OtherKinds,
    Page,
    Rate,
    Saved,
    Strengths,
    Watch,
)
from stoic.cli.options import AsJson, CaseName, Seed
from stoic.cli.output import aligned, chat, progress
from stoic.cli.parse import each_named, share_of
from stoic.cli.unseen import with_inputs_after

if TYPE_CHECKING:
    from stoic.cases.case import Case

__all__ = ["monitor"]

monitor = typer.Typer(
    name="monitor",
    help="Watch a network: is this very inference silently wrong, and why?",
    no_args_is_help=True,
)


@monitor.command()
def fit(
    case: CaseName,
    out: Saved,
    inputs: InputCount = 2000,
    watch: Watch = "",
    marker: Marker = "quantiles",
    features: Features = 4,
    most: Most = 3,
    choose: Choose = "steps",
    kinds: Kinds = LEARNT,
    fault: Faults = FLIP,
    rate: Rate = 0.01,
    alpha: Alpha = None,
    clean: Clean = 0.0,
    seed: Seed = 0,
) -> None:
    """Fit a monitor to the network of CASE and save it."""
    from stoic.campaign.checks import check_name
    from stoic.cases import load
    from stoic.monitors.markers import MARKERS
    from stoic.monitors.settings import MonitorSettings, check_settings
    from stoic.records.files import check_writable

    how: dict[str, Any] = {"values": each_named(watch), "rate": rate, "seed": seed}
    learnt = {"kinds": each_named(kinds), "faults": each_named(fault)}
    more = {"features": features, "most": most, "choose": choose}
    more |= {"alpha": alpha, "clean": clean}
    with one_line():
        check_name("marker", marker, (*MARKERS, "checksums"))
        if marker == "checksums":
            _check_unlearnt(kinds, fault)
        else:
            how |= {"marker": MARKERS[marker], **learnt, **more}
        check_settings(MonitorSettings(**how))
        check_writable("out", out)
        loaded = load(case, inputs)
        how |= {"criterion": loaded.judged_by, "tail": loaded.tail}
        (_fit_checksums if marker == "checksums" else _fit)(loaded, how, out)
    chat(f"monitor: {out}")


def _check_unlearnt(kinds: str, fault: str) -> None:
    """Refuse kinds and faults to learn where nothing is learnt of them."""
    for name, got, default in (("kinds", kinds, LEARNT), ("fault", fault, FLIP)):
        if got != default:
            raise ValueError(
                f"{name} must be left out with --marker checksums, which learn no "
                f"faults, got {got}; leave --{name} out, or choose another marker"
            )


def _fit_checksums(case: Case, how: dict[str, Any], out: Path) -> None:
    from stoic.monitoring import fit_checksums

    found = fit_checksums(case.network, case.inputs, **how)
    found.save(out)
    print(f"checksums of {', '.join(found.checksums)}")


def _fit(case: Case, how: dict[str, Any], out: Path) -> None:
    from stoic.monitoring import fit as fitted

    with progress("inputs") as told:
        found = fitted(case.network, case.inputs, progress=told, notice=chat, **how)
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


@monitor.command()
def show(file: File, as_json: AsJson = False) -> None:
    """Show what a monitor watches and concludes."""
    from stoic.monitors.monitor import Monitor
    from stoic.records.numerals import numeral

    with one_line():
        found = Monitor.load(file)
    if as_json:
        print(json.dumps(json.loads(file.read_text()), indent=1))
        return
    alarm = found.alarm
    watched = (*(watch.value for watch in found.watches), *found.checksums)
    print(f"watches {', '.join(dict.fromkeys(watched))}")
    print("\n".join(found.rules.lines()))
    ends = zip(found.rules.features, alarm.low, alarm.high, strict=True)
    rows = [
        {"unlike fault-free inputs": name, "below": numeral(a), "above": numeral(b)}
        for name, a, b in ends
    ]
    print(f"\n{aligned(rows)}")
    print(
        f"false alarms: {alarm.rate:.2%} at most, by {alarm.rows:,} fault-free inputs"
    )
    steps = list(found.points.lines())
    print(f"\nscore: {found.points.base} points, and {len(steps)} steps, such as")
    print("\n".join(f"  {line}" for line in steps[:10]))
    if found.points.beyond:
        print(f"  {found.points.beyond}")
    for rate in found.points.limits:
        above = numeral(found.points.limit(rate))
        print(f"a score above {above}: {rate:.2%} false alarms")


@monitor.command()
def evaluate(
    case: CaseName,
    file: File,
    inputs: InputCount = 1000,
    baselines: Baselines = False,
    kinds: OtherKinds = KINDS,
    fault: OtherFaults = SEVERAL,
    strengths: Strengths = "",
    as_json: AsJson = False,
    out: Page = None,
) -> None:
    """Try a monitor on inputs of CASE that it was not fitted with, and other faults."""
    from stoic.campaign.checks import check_count
    from stoic.monitoring import MonitorSettings, Trying
    from stoic.monitors.monitor import Monitor
    from stoic.monitors.scorecard import scorecard
    from stoic.monitors.trying import check_trying
    from stoic.records.files import check_writable
    from stoic.study import as_inputs
    from stoic.trying import tried

    with one_line():
        check_count("inputs", inputs)
        found = Monitor.load(file)
        shares = tuple(share_of("strengths", s) for s in each_named(strengths))
        trying = Trying(each_named(kinds), each_named(fault), shares)
        check_trying(trying, found, inputs)
        if out:
            check_writable("out", out)
        used = int(found.about.get("inputs", 0))
        loaded = with_inputs_after(used, inputs, case, file)
        given = as_inputs(loaded.inputs).rows(0, used + inputs)
        with progress("inputs") as ticks:
            found_out = tried(
                found,
                loaded.network,
                given,
                settings=MonitorSettings(criterion=loaded.judged_by, tail=loaded.tail),
                trying=trying,
                baselines=baselines,
                progress=ticks,
                notice=chat,
            )
        card = scorecard(found, found_out.traces, others=found_out.others)
        if out:
            write_page(found, file, card, out)
    if as_json:
        print(json.dumps(card.as_record(), indent=1))
        return
    print("\n\n".join(text_of(card)))


@monitor.command()
def export(
    case: CaseName,
    file: File,
    out: Annotated[Path, typer.Option("--out", help="ONNX file.")],
) -> None:
    """Export the network of CASE with its monitor inside, for ONNX Runtime."""
    from stoic.cases import load
    from stoic.monitors.exported import export_onnx
    from stoic.monitors.guarded import guard_with_file
    from stoic.records.files import check_writable
    from stoic.study import as_inputs

    with one_line():
        check_writable("out", out)
        loaded = load(case, 4)
        given = as_inputs(loaded.inputs)
        export_onnx(guard_with_file(loaded.network, file, given), given, out)
    chat(f"guarded network: {out}")
