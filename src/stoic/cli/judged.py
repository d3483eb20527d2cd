"""What ``stoic monitor evaluate`` tells: the tables of a scorecard, and its page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stoic.cli.output import aligned, chat

if TYPE_CHECKING:
    from stoic.estimates.estimate import Estimate
    from stoic.monitors.breakdown import Line
    from stoic.monitors.monitor import Monitor
    from stoic.monitors.scorecard import Scorecard

__all__ = ["text_of", "write_page"]

Rows: TypeAlias = list[dict[str, str]]
# Rows of one table that a person reads; JSON has all.
_MOST = 12


def text_of(card: Scorecard) -> Iterator[str]:
    """Yield what a scorecard says, in paragraphs and tables for people."""
    yield f"{card.rows:,} inferences on {card.images:,} inputs, none of them known"
    tables = (
        *(_levels(card), _parts(card), _false(card), _kinds(card), _scores(card)),
        *_strengths(card),
        *_beside(card),
        *(_bits(card), _several(card), _sites(card), _worth(card)),
    )
    yield from map(_shortened, filter(None, tables))
    if any(of is None for line in card.scores for of in line.exact.values()):
        yield "- at exactly such a rate: more fault-free inputs are needed to tell"


def write_page(monitor: Monitor, file: Path, card: Scorecard, out: Path) -> None:
    """Write the HTML page of a scorecard, and say where it is."""
    from stoic.report.monitor import write_monitor_report

    record = json.loads(file.read_text())
    rules = list(monitor.rules.lines())
    chat(f"page: {write_monitor_report(card.as_record(), record, rules, out)}")


def _shortened(rows: Rows) -> str:
    """Return a table, cut where it gets too long, with how many rows it lacks."""
    left = len(rows) - _MOST
    note = f"\nand {left} more, which --json has" if left > 0 else ""
    return aligned(rows[:_MOST]) + note


def _levels(card: Scorecard) -> Rows:
    from stoic.monitors.scorecard import told

    return [
        {
            "level": level.name,
            "class": each.name,
            "precision": told(each.precision),
            "recall": told(each.recall),
            "with non-finite": told(more.precision),
            "recall of all": told(more.recall),
        }
        for level, other in zip(*card.levels.values(), strict=True)
        for each, more in zip(
            (*level.classes, level.macro), (*other.classes, other.macro), strict=True
        )
    ]


def _parts(card: Scorecard) -> Rows:
    from stoic.monitors.scorecard import told

    return [
        {
            "rows": part.alarms.name,
            "count": f"{part.rows:,}",
            "failed, of faulted": told(part.alarms.failed),
            "found by rules": told(part.alarms.recall),
            "alarms on benign": told(part.alarms.benign),
        }
        for part in card.parts
    ]


def _false(card: Scorecard) -> Rows:
    from stoic.monitors.scorecard import told

    return [
        {"false alarms": name, "clean": told(of.clean), "benign": told(of.benign)}
        for name, of in (
            ("rules", card.rules),
            ("calibrated alarm", card.alarm),
            *((f"score, {rate:.1%} promised", of) for rate, of in card.limits.items()),
            ("trivial: not finite, or above the known", card.trivial),
        )
        if of is not None
    ]


def _kinds(card: Scorecard) -> Rows:
    from stoic.monitors.scorecard import told

    simple = {line.name: told(line.recall) for line in card.trivially}
    return [
        {
            "kind of fault": rules.name,
            "failed": told(rules.failed),
            "found by rules": told(rules.recall),
            "by the alarm": told(alarm.recall),
        }
        | ({"by the trivial one": simple[rules.name]} if simple else {})
        for rules, alarm in zip(card.kinds, card.unlike, strict=True)
    ]


def _scores(card: Scorecard) -> Rows:
    """Return recall of the score at its limits, and at limits set by these rows."""
    from stoic.monitors.scorecard import told

    rates = sorted(card.limits, reverse=True)
    return [
        {"score": line.name, "AUROC": told(line.auroc)}
        | {f"at the calibrated {r:.1%}": told(line.recall[r]) for r in rates}
        | _at_rates(line.exact)
        for line in card.scores[: len(card.kinds)]
    ]


def _strengths(card: Scorecard) -> Iterator[Rows]:
    """Yield a table of corruptions that were learnt from, and one of others."""
    from stoic.monitors.scorecard import told

    scores = {line.name: line for line in card.scores[len(card.kinds) :]}
    for said, lines in zip(("learnt", "never seen"), _by_known(card), strict=True):
        yield [
            {
                f"corruption {said}": line.name,
                "failed": f"{line.failed.value:.0%}" if line.failed else "-",
                "found by rules": told(line.recall),
                "AUROC of score": told(scores[line.name].auroc),
            }
            | _at_rates(scores[line.name].exact)
            for line in lines
        ]


def _by_known(card: Scorecard) -> tuple[list[Line], list[Line]]:
    """Return strengths of corruptions that rules have a class for, and of others."""
    known = {each.name for each in card.levels["together"][0].classes}
    parts: tuple[list[Line], list[Line]] = [], []
    for line in card.strengths:
        parts[line.name.rpartition(" ")[0] not in known].append(line)
    return parts


def _beside(card: Scorecard) -> Iterator[Rows]:
    """Yield how the score stands beside others: in main groups, and by strength."""
    from stoic.monitors.scorecard import told

    strengths = {line.name for line in card.strengths}
    for group, found in groupby(card.beside, key=lambda each: each.group):
        if group not in strengths:
            yield [
                {f"by score: {group}": each.detector, "AUROC": told(each.auroc)}
                | _at_rates(each.recall, (0.01,))
                | {"AUROC of this less": told(each.less)}
                | {"recall less": told(each.recall_less.get(0.01))}
                for each in found
            ]
    if strengths & {each.group for each in card.beside}:
        for said, lines in zip(("learnt", "never seen"), _by_known(card), strict=True):
            yield [_best_other(card, said, line.name) for line in lines]


def _best_other(card: Scorecard, said: str, strength: str) -> dict[str, str]:
    """Return the monitor beside the best of others at one strength."""
    from stoic.monitors.scorecard import told

    own, *others = [each for each in card.beside if each.group == strength]
    best = max(others, key=lambda each: each.auroc.value if each.auroc else -1.0)
    return {
        f"corruption {said}": strength,
        "AUROC of this": told(own.auroc),
        "best other": best.detector if best.auroc else "-",
        "its AUROC": told(best.auroc),
        "this less": told(best.less),
    }


def _bits(card: Scorecard) -> Rows:
    """Return bits of which any flip failed, the highest first."""
    return [_alarms("bit", line) for line in reversed(card.bits) if line.recall]


def _several(card: Scorecard) -> Rows:
    """Return how many bits of a word were hit at once, if not always as many."""
    lines = card.several if len(card.several) > 1 else ()
    return [_alarms("hit at once", line) for line in lines]


def _sites(card: Scorecard) -> Rows:
    """Return what was hit and failed, that of which least was found first."""
    failing = [(line.recall.value, line) for line in card.sites if line.recall]
    ordered = sorted(failing, key=lambda pair: pair[0])
    return [_alarms("hit, least found first", line) for _, line in ordered]


def _alarms(first: str, line: Line) -> dict[str, str]:
    from stoic.monitors.scorecard import told

    return {
        first: line.name,
        "failed": told(line.failed),
        "found by rules": told(line.recall),
        "alarms on benign": told(line.benign),
    }


def _worth(card: Scorecard) -> Rows:
    return [
        {
            "alarms of rules": f"{each.rate:.2%} faults",
            "precision": _small(each.precision),
            "safety gain": _small(each.gain),
            "residual hazard": _small(each.hazard),
            "availability cost": _small(each.cost),
        }
        for each in card.worth["rules"]
    ]


def _small(share: Estimate | None) -> str:
    """Return a share that may be tiny, in percent with three digits."""
    if share is None:
        return "-"
    value, low, high = (100 * x for x in (share.value, share.low, share.high))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _at_rates(
    recall: Mapping[float, Estimate | None], rates: Sequence[float] = ()
) -> dict[str, str]:
    """Return recall at exactly such rates of false alarms on the clean rows here."""
    from stoic.monitors.scorecard import told

    chosen = rates or sorted(recall, reverse=True)
    return {f"at exactly {rate:.1%} here": told(recall[rate]) for rate in chosen}
