"""What ``stoic monitor evaluate`` tells: the tables of a scorecard, and its page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stoic.cli.output import aligned, chat

if TYPE_CHECKING:
    from stoic.monitors.monitor import Monitor
    from stoic.monitors.scorecard import Scorecard

__all__ = ["text_of", "write_page"]


def text_of(card: Scorecard) -> Iterator[str]:
    """Yield what a scorecard says, in paragraphs and tables for people."""
    yield f"{card.rows:,} inferences on {card.images:,} inputs, none of them known"
    yield from map(aligned, _tables(card))


def write_page(monitor: Monitor, file: Path, card: Scorecard, out: Path) -> None:
    """Write the HTML page of a scorecard, and say where it is."""
    from stoic.report.monitor import write_monitor_report

    record = json.loads(file.read_text())
    rules = list(monitor.rules.lines())
    chat(f"page: {write_monitor_report(card.as_record(), record, rules, out)}")


def _tables(card: Scorecard) -> list[list[dict[str, str]]]:
    """Return the tables of a scorecard, in percent."""
    from stoic.monitors.scorecard import told

    judged = [
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
    false = [
        {"false alarms": name, "clean": told(of.clean), "benign": told(of.benign)}
        for name, of in (
            ("rules", card.rules),
            ("calibrated alarm", card.alarm),
            *((f"score, {rate:.1%}", of) for rate, of in card.limits.items()),
        )
    ]
    kinds = [
        {
            "kind of fault": rules.name,
            "failed": told(rules.failed),
            "found by rules": told(rules.recall),
            "by the alarm": told(alarm.recall),
        }
        for rules, alarm in zip(card.kinds, card.unlike, strict=True)
    ]
    scores = [
        {"score": line.name, "AUROC": told(line.auroc)}
        | {f"recall at {rate:.1%}": told(of) for rate, of in line.recall.items()}
        for line in card.scores
    ]
    valued = [
        {
            "alarms of rules": f"{each.rate:.2%} faults",
            "precision": told(each.precision),
            "safety gain": told(each.gain),
            "residual hazard": told(each.hazard),
            "availability cost": told(each.cost),
        }
        for each in card.worth["rules"]
    ]
    return [judged, false, kinds, scores, valued]
