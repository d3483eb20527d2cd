"""The page of a monitor: a scorecard as plain data in, one HTML file out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stoic.estimates import Estimate
from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.records.numerals import numeral
from stoic.report.beside import Group, groups_beside
from stoic.report.panels import Panel, bits_panel, strength_panels
from stoic.report.plots import Line, Plot, Scale, Tick
from stoic.report.templating import rendered
from stoic.report.text import aligned, limits, percent, span
from stoic.report.words import criterion_words

__all__ = ["Card", "write_monitor_report"]

Record: TypeAlias = Mapping[str, Any]
# What fails by files of monitors that do not say.
_DECISION = {"name": "top1-changed"}
_FAULT_FREE = "rules: fault-free inferences"
# Points of the score that are told; there may be hundreds.
_TOLD = 12
_JUDGED = ("precision", "recall")
_WORTH = ("precision", "gain", "hazard", "cost")
_PARTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Even(Scale):
    """A scale on which equal differences are equally far: for what is mostly found."""

    top: float = 1.0

    def at(self, share: float) -> float:
        """Return the place of a share, in percent of the width."""
        return round(100 * min(share / self.top, 1.0), 2)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Marks, evenly apart."""
        return tuple(Tick(100 * p, f"{100 * p * self.top:.3g}", True) for p in _PARTS)


@dataclass(frozen=True)
class Point:
    """Precision at one frequency of faults.

    Args:
        at: Place on the logarithmic scale, in percent of the width.
        rate: Of faults, as text.
        estimate: Of the precision; None without an alarm.
        cells: Precision, safety gain, residual hazard and availability cost, as text.
    """

    at: float
    rate: str
    estimate: Estimate | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What the page shows.

    Args:
        network: Name of the network.
        watched: Values that are looked at.
        images: Inputs that the monitor was tried on.
        rows: Inferences.
        recall: By class of fault.
        precision: Likewise.
        overall: Failure or not: recall and precision.
        false_alarms: Of rules and alarm, on clean and on benign inferences.
        kinds: Failures of each kind that the rules find.
        unlike: The same for the calibrated alarm.
        trivially: The same for the trivial detector.
        levels: Level and class, precision and recall of finite rows and of all, as
            cells of a table.
        parts: Rows that are finite, that are not, and all, as cells of a table.
        strengths: By corruption and strength.
        panels: The same with areas of the score, by corruption.
        bits: By the bit that was hit.
        several: By how many bits were hit at once; empty if always as many.
        word: By bit, as a panel, with how many flips fail.
        sites: By the value or weight that was hit.
        areas: How well the score sorts, by kind.
        heads: Of a table of all numbers of the score: what recall is told at.
        scores: Its rows: of each kind, and each kind and strength.
        beside: Detectors compared, by group.
        steps: The heaviest points of the score, as lines of text.
        worth: Of alarms by the frequency of faults, of rules and alarm.
        rules: As lines of text.
        spans: Feature, lower and upper end of what the alarm takes for usual.
        rate: False alarms that the alarm promises at most.
        calibrated: Fault-free inputs that the promise rests on.
        criterion: When an inference has failed.
        about: How it was fitted: name and text.
    """

    network: str
    watched: tuple[str, ...]
    images: int
    rows: int
    recall: Plot
    precision: Plot
    overall: Plot
    false_alarms: Plot
    kinds: Plot
    unlike: Plot
    trivially: Plot
    levels: tuple[tuple[str, ...], ...]
    parts: tuple[tuple[str, ...], ...]
    strengths: Plot
    panels: tuple[Panel, ...]
    bits: Plot
    several: Plot
    word: Panel
    sites: Plot
    areas: Plot
    heads: tuple[str, ...]
    scores: tuple[tuple[str, ...], ...]
    beside: tuple[Group, ...]
    steps: tuple[str, ...]
    worth: dict[str, tuple[Point, ...]]
    rules: tuple[str, ...]
    spans: tuple[tuple[str, str, str], ...]
    rate: float
    calibrated: int
    criterion: str
    about: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        """What matters, in a sentence."""
        parts = {line.name: line.estimate for line in self.overall.lines}
        parts |= {line.name: line.estimate for line in self.false_alarms.lines[:1]}
        said = (
            ("failures found", "the rules find {} of the failures"),
            ("alarms that are right", "{} of their alarms are right"),
            (_FAULT_FREE, "{} of the fault-free ones raise one"),
        )
        told = [text.format(span(parts[name])) for name, text in said if name in parts]
        return f"Tried on {self.images:,} inputs it never saw: {'; '.join(told)}."


def write_monitor_report(
    scorecard: Record, monitor: Record, rules: Sequence[str], out: Path
) -> Path:
    """Write the page of a monitor: one file that needs nothing but a browser.

    Args:
        scorecard: As `Scorecard.as_record` gives it.
        monitor: As its file has it.
        rules: As `Rules.lines` tells them.
        out: Where to; it is whole or as it was, at any moment.

    Raises:
        RunError: The page finds no room.
    """
    text = rendered("monitor.html.j2", c=_card(scorecard, monitor, rules))
    with writing(out, ELSEWHERE):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    return out


def _card(scorecard: Record, monitor: Record, rules: Sequence[str]) -> Card:
    detailed, *_, sdc = scorecard["levels"]["together"]
    classes = [*detailed["classes"], {**detailed["macro"], "name": "mean of these"}]
    (found,) = sdc["classes"]
    alarm = monitor["alarm"]
    ends, scores = alarm["spans"].items(), scorecard.get("scores", [])
    kinds, several = len(scorecard["kinds"]), scorecard.get("several", [])
    watched = *(w["value"] for w in monitor["watches"]), *monitor.get("checksums", {})
    return Card(
        network=str(monitor["about"].get("network", "a network")),
        watched=tuple(dict.fromkeys(watched)),
        images=scorecard["images"],
        rows=scorecard["rows"],
        recall=_plot((each["name"], each["recall"]) for each in classes),
        precision=_plot((each["name"], each["precision"]) for each in classes),
        overall=_plot(
            [
                ("failures found", found["recall"]),
                ("alarms that are right", found["precision"]),
            ]
        ),
        false_alarms=_plot(_false(scorecard), Scale(1.0)),
        kinds=_recalls(scorecard["kinds"]),
        unlike=_recalls(scorecard["unlike"]),
        trivially=_recalls(scorecard.get("trivially", [])),
        levels=tuple(_levels(scorecard["levels"])),
        parts=tuple(map(_part, scorecard.get("parts", []))),
        strengths=_recalls(scorecard["strengths"]),
        panels=strength_panels(scorecard),
        bits=_recalls(reversed(scorecard["bits"])),
        several=_recalls(several if len(several) > 1 else ()),
        word=bits_panel(scorecard["bits"]),
        sites=_recalls(scorecard.get("sites", [])),
        areas=_plot((each["name"], each["auroc"]) for each in scores[:kinds]),
        heads=_heads(scores),
        scores=tuple(map(_score, scores)),
        beside=groups_beside(scorecard, Even()),
        steps=tuple(_steps(monitor.get("points", {}))),
        worth={k: _points(v) for k, v in scorecard.get("worth", {}).items()},
        rules=tuple(rules),
        spans=tuple((name, numeral(a), numeral(b)) for name, (a, b) in ends),
        rate=alarm["rate"],
        calibrated=alarm["rows"],
        criterion=criterion_words(monitor["about"].get("criterion", _DECISION)),
        about=tuple(_told(monitor["about"])),
    )


def _false(scorecard: Record) -> Iterator[tuple[str, Record | None]]:
    """Yield false alarms of rules, of the alarm, and of the score at its limits."""
    limits = scorecard.get("limits", {}).items()
    told = [(name, scorecard[name]) for name in ("rules", "alarm")]
    told += [(f"score, {_rate(rate)} % promised", of) for rate, of in limits]
    if scorecard.get("trivial"):
        told.append(("trivial", scorecard["trivial"]))
    for name, of in told:
        for kind, said in (("clean", "fault-free"), ("benign", "faulted, right")):
            yield f"{name}: {said} inferences", of[kind]


def _levels(levels: Record) -> Iterator[tuple[str, ...]]:
    """Yield precision and recall of each class, and their mean, at each level."""
    for few, every in zip(levels["finite"], levels["together"], strict=True):
        pairs = zip(
            (*few["classes"], few["macro"]),
            (*every["classes"], every["macro"]),
            strict=True,
        )
        for one, other in pairs:
            told = (each[name] for each in (one, other) for name in _JUDGED)
            yield few["name"], one["name"], *map(_cell, told)


def _part(part: Record) -> tuple[str, ...]:
    line = part["alarms"]
    shares = (_cell(line[name]) for name in ("failed", "recall", "benign"))
    return (line["name"], f"{part['rows']:,}", *shares)


def _heads(scores: Sequence[Record]) -> tuple[str, ...]:
    """Return what recall of the score is told at: calibrated limits, and exact ones."""
    if not scores:
        return ()
    said = ("above the limit calibrated for {} %", "at exactly {} % here")
    parts = zip(said, _recalled(scores[0]), strict=True)
    return tuple(text.format(_rate(rate)) for text, found in parts for rate in found)


def _recalled(line: Record) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return recall at calibrated limits, and at exact ones, the largest rate first."""
    calibrated, exact = line["recall"], line.get("exact", {})
    first, second = (
        {rate: found[rate] for rate in sorted(found, key=float, reverse=True)}
        for found in (calibrated, exact)
    )
    return first, second


def _score(line: Record) -> tuple[str, ...]:
    calibrated, exact = _recalled(line)
    found = (line["auroc"], *calibrated.values(), *exact.values())
    return (line["name"], *map(_cell, found))


def _cell(share: Record | None) -> str:
    if share is None:
        return "–"
    estimate = Estimate(**share)
    return f"{percent(estimate)} ({limits(estimate)})"


def _rate(rate: float | str) -> str:
    return f"{100 * float(rate):.3g}"


def _steps(points: Record) -> list[str]:
    """Return the steps with most points, such as ``+21 if q100 of head:out > 9.1``."""
    steps, beyond = points.get("steps", []), points.get("beyond")
    heaviest = sorted(steps, key=lambda step: -abs(int(step.split()[0])))[:_TOLD]
    return [*heaviest, *([beyond] if beyond else [])]


def _recalls(lines: Iterable[Record]) -> Plot:
    return _plot((line["name"], line["recall"]) for line in lines)


def _plot(
    named: Iterable[tuple[str, Record | None]], scale: Scale | None = None
) -> Plot:
    """Return a plot of estimates; none of what nothing speaks of."""
    found = [(name, Estimate(**each)) for name, each in named if each is not None]
    values = aligned([percent(estimate) for _, estimate in found])
    lines = tuple(
        Line(name, estimate, estimate.n, 0, value, limits(estimate))
        for (name, estimate), value in zip(found, values, strict=True)
    )
    return Plot(lines, scale or Even())


def _points(worths: Iterable[Record]) -> tuple[Point, ...]:
    """Return what alarms are worth at given frequencies, along a logarithmic scale."""
    given = [each for each in worths if each["rate"] is not None]
    least = min((each["rate"] for each in given), default=1.0)
    width = -math.log10(least) or 1.0
    return tuple(
        Point(
            at=round(100 * (1 + math.log10(each["rate"]) / width), 2),
            rate=f"{each['rate']:g}",
            estimate=Estimate(**each["precision"]) if each["precision"] else None,
            cells=tuple(_cell(each[name]) for name in _WORTH),
        )
        for each in given
    )


def _told(about: Record) -> Iterable[tuple[str, str]]:
    """Yield what is known of the fit, in words."""
    if "inputs" in about:
        yield "inputs to fit", f"{about['inputs']:,}"
    for name, strength, share in about.get("corruptions", []):
        yield (
            f"{name} {strength:.3g}",
            f"{share:.0%} of the images it was chosen by failed",
        )
    for name, version in about.get("versions", {}).items():
        yield name, str(version)
