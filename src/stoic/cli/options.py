"""The options of the command, as types: what each is called and what it means."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "About",
    "AboutOption",
    "Allocation",
    "AsDeployed",
    "AsJson",
    "AtMost",
    "Batch",
    "Best",
    "Bits",
    "CaseName",
    "CriterionText",
    "DataAware",
    "Device",
    "Exclude",
    "Exhaustive",
    "FailAbove",
    "Faults",
    "HalfWidth",
    "Inputs",
    "InputsPerFault",
    "IntervalOption",
    "Kind",
    "Margin",
    "Memory",
    "Mode",
    "ModeOption",
    "Model",
    "Out",
    "PerTrial",
    "PlanOption",
    "Rate",
    "Relative",
    "Replacement",
    "Scope",
    "ScopeOption",
    "Seed",
    "Sites",
    "SlowPath",
    "Strata",
    "StrataOption",
    "Tables",
    "Threads",
    "Time",
    "TimeLimit",
    "Verify",
    "WithNonfinite",
]


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


class Interval(StrEnum):
    """What an interval promises."""

    guaranteed = "guaranteed"
    approximate = "approximate"


class Plan(StrEnum):
    """How units are drawn that no outcome decides on."""

    uniform = "uniform"
    stratified = "stratified"
    importance = "importance"


class About(StrEnum):
    """What estimates are about."""

    inputs = "inputs"
    population = "population"


CaseName = Annotated[
    str,
    typer.Argument(help="A built-in case, or module:function, or FILE.py:function."),
]
Sites = Annotated[str, typer.Option(help="Globs of sites, comma-separated.")]
Exclude = Annotated[str, typer.Option(help="Globs of sites to leave out.")]
Kind = Annotated[
    str, typer.Option(help="Kinds of sites: parameter, buffer, activation, input.")
]
Bits = Annotated[
    str, typer.Option(help="Bits: 30, 0-22, sign, exponent, mantissa, all.")
]
Model = Annotated[
    str,
    typer.Option(
        help="flip, flips:K, burst:K, stuck-at-0, stuck-at-1, set:VALUE, random."
    ),
]
PerTrial = Annotated[int | None, typer.Option(help="This many faults strike together.")]
Rate = Annotated[
    float | None, typer.Option(help="Each fault strikes at this rate (BER).")
]
ScopeOption = Annotated[
    Scope, typer.Option(help="A fault in an activation hits one input or all.")
]
Faults = Annotated[int, typer.Option(help="Number of trials.")]
Exhaustive = Annotated[
    bool, typer.Option("--exhaustive", help="Try every fault there is.")
]
StrataOption = Annotated[
    Strata, typer.Option(help="Draw equally many faults from each of these.")
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="So many faults of each stratum that the textbook interval is ± this: "
        "the sample sizes of DATE'09 and DATE'23. Takes the place of --faults."
    ),
]
DataAware = Annotated[
    bool,
    typer.Option(
        "--data-aware",
        help="Reckon with a share of failures by how far each bit moves the weights, "
        "as DATE'23 does, in place of one half.",
    ),
]
HalfWidth = Annotated[
    float | None,
    typer.Option(
        help="Go on, where it tells most, until the interval is so narrow: 0.0005 is "
        "± 0.05 points. Takes the place of --faults."
    ),
]
Relative = Annotated[
    float | None, typer.Option(help="The same, as a part of the estimate: 0.1.")
]
Time = Annotated[
    str | None, typer.Option(help="The same, for so long at most: 90s, 10m, 2h.")
]
IntervalOption = Annotated[
    Interval,
    typer.Option(
        help="Of the three above, or of --plan: which kind is to be so narrow."
    ),
]
PlanOption = Annotated[
    Plan | None,
    typer.Option(
        help="Draw --faults trials of a fault on one input each like so, to hold the "
        "three above against: by scores, importance in proportion to them."
    ),
]
InputsPerFault = Annotated[
    str | None,
    typer.Option(
        help="Inputs that each of their trials runs on; 1, or auto: what a timed pilot "
        "finds best."
    ),
]
AtMost = Annotated[int | None, typer.Option(help="Of their trials.")]
Replacement = Annotated[
    bool, typer.Option("--replacement", help="Draw with replacement.")
]
Allocation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=COUNT,...",
        help="Faults by stratum, or a JSON file of them, in place of --faults; "
        "strata left out stay unknown.",
    ),
]
Seed = Annotated[int, typer.Option(help="Of all randomness.")]
CriterionText = Annotated[
    str | None,
    typer.Option(
        help="top1-changed, top1-wrong, top-k:K, threshold:LEVEL, "
        "tolerance:ABS[,REL], any-change, detections-changed; without it, what the "
        "case says, mostly top1-changed."
    ),
]
ModeOption = Annotated[
    Mode, typer.Option(help="exact, or fast: same verdicts, last bits may differ.")
]
Inputs = Annotated[
    int | None, typer.Option(help="Use the first inputs of the case only.")
]
Batch = Annotated[int | None, typer.Option(help="Inputs per run.")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds that a trial may take per batch.")
]
SlowPath = Annotated[
    bool, typer.Option("--slow-path", help="Do not capture the network.")
]
AsDeployed = Annotated[
    bool, typer.Option("--as-deployed", help="Fold batch norms into weights first.")
]
Verify = Annotated[
    int, typer.Option(help="Run so many trials again naively; differing fails.")
]
Best = Annotated[
    int, typer.Option(help="Keep so many of the best classes of each output.")
]
Memory = Annotated[
    str | None,
    typer.Option(help="Memory that trials may add, such as 500M or 2G."),
]
Out = Annotated[Path | None, typer.Option(help="Run folder, made or gone on with.")]
FailAbove = Annotated[
    float | None,
    typer.Option(help="Exit 0 below this share, 1 above, 3 if not shown."),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="NAME",
        help="Print this table, again for more: network, kind, component, site, worst, "
        "channel, bit, role, stratum, input, class, outcomes, changed.",
    ),
]
AboutOption = Annotated[
    About,
    typer.Option(
        help="Estimate for these inputs, or for the population they are drawn from "
        "(30 or more of them)."
    ),
]
WithNonfinite = Annotated[
    bool,
    typer.Option("--with-nonfinite", help="Count SDC and non-finite as one outcome."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
