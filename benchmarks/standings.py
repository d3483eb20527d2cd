"""The result of a race as plain data and as text: rates, ratios and outcomes."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from typing import Any

from benchmarks.printing import table
from benchmarks.race import Race

__all__ = ["as_record", "groups", "race_options", "text", "wrong"]


def race_options(parser: ArgumentParser) -> None:
    """Add the options that every race has."""
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="let every tool keep freed memory in its process, as Stoic does",
    )


def groups(
    names: Sequence[str], ours: Collection[str], *, keep_all: bool
) -> dict[tuple[str, ...], bool]:
    """Return which tools share a process, and whether it keeps freed memory.

    Stoic's modes share a golden run; every other tool is alone.
    """
    mine = tuple(name for name in dict.fromkeys(names) if name in ours)
    alone = {(name,): keep_all for name in names if name not in ours}
    return ({mine: True} if mine else {}) | alone


def as_record(result: Race, *, reference: str, ours: Collection[str]) -> dict[str, Any]:
    """Return what a race found.

    Args:
        result: Of the race.
        reference: Tool whose outcomes are right; the first one if it did not run.
        ours: Tools that are not compared against.
    """
    names = list(result.laps)
    right = reference if reference in names else names[0]
    others = [name for name in names if name not in ours]
    digests = result.digests()
    return {
        "reference": right,
        "tools": {
            name: {
                **result.as_record(name),
                "outcomes": digests[name],
                "mismatches": result.mismatches(name, right),
                "outcomes_known": len(result.codes[name]),
                "failing_faults": sum(
                    bool(c.any()) for c in result.codes[name].values()
                ),
                "over": {
                    other: vars(result.ratio(name, other))
                    for other in others
                    if other != name
                },
            }
            for name in names
        },
    }


def wrong(record: dict[str, Any]) -> bool:
    """Say whether any tool's outcomes differ from the reference."""
    return any(tool["mismatches"] for tool in record["tools"].values())


def text(record: dict[str, Any]) -> str:
    """Return tables for people."""
    tools = record["tools"]
    others = list(dict.fromkeys(o for tool in tools.values() for o in tool["over"]))
    heads = ["tool", "faults", "setup s", "faults/s", "(all)"]
    rows = [
        [
            name,
            tool["faults"],
            tool["setup_s"],
            tool["faults_per_s"],
            tool["faults_per_s_total"],
            *(_ratio(tool["over"].get(other)) for other in others),
        ]
        for name, tool in tools.items()
    ]
    return "\n".join(
        [
            table([*heads, *(f"/ {other}" for other in others)], rows),
            "",
            "setup s: with the first fault; faults/s: median of the rounds, (all): all",
            "faults over all seconds; / X: ratio of medians [95 % bootstrap interval]",
            "",
            _outcomes(record),
        ]
    )


def _ratio(ratio: dict[str, float] | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio['medians']:.2f}x [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def _outcomes(record: dict[str, Any]) -> str:
    reference = record["reference"]
    heads = ["outcomes", "known", "failing", "digest of shared", f"unlike {reference}"]
    rows = [
        [
            name,
            tool["outcomes_known"],
            tool["failing_faults"],
            tool["outcomes"],
            _numbers(tool["mismatches"]),
        ]
        for name, tool in record["tools"].items()
    ]
    return table(heads, rows)


def _numbers(faults: list[int]) -> str:
    if not faults:
        return "0"
    shown = ", ".join(map(str, faults[:5]))
    return f"{len(faults)}: faults {shown}{', ...' if len(faults) > 5 else ''}"
