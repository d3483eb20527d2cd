"""Monitors side by side, on the same traces of inputs and words that none has seen.

Run it as ``python -m benchmarks.guards``. Each detector is fitted to one half of the
inputs and of all words, and tried on the other. Scores are compared by the area under
the curve, failed rows against all that did not fail, and by recall where one clean
input in a hundred raises an alarm; differences from the monitor are paired.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray
from torch import Tensor

import stoic
from stoic.campaign.scores import scores_of
from stoic.faults.models import Burst, MultiFlip
from stoic.monitors import baselines
from stoic.monitors.baselines import Detector
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import fit_checksums
from stoic.monitors.collecting import Flips, Recipe, Spoilt, Watched, collected
from stoic.monitors.corruptions import CORRUPTIONS, UNSEEN, Pixels, pixels_of
from stoic.monitors.evaluation import curve, curve_difference, false_alarms
from stoic.monitors.fitting import Lesson, lesson_of
from stoic.monitors.labels import labels_of
from stoic.monitors.markers import ChannelQuantiles
from stoic.monitors.measures import Shares
from stoic.monitors.points import Points
from stoic.monitors.reduction import by_steps, pruning
from stoic.monitors.resamples import Resamples
from stoic.monitors.rules import Rules
from stoic.monitors.sources import points_of
from stoic.monitors.strengths import SHARES, strengths
from stoic.monitors.traces import MEMORY, NOTHING, Origin, Traces
from stoic.monitors.watches import (
    Watch,
    every_layer,
    every_marker,
    features_of,
    of_output,
)
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs

__all__ = ["main"]

_RATE = 0.01
_SEVERAL = (
    Flips(1, 1, model=MultiFlip(2)),
    Flips(1, 1, model=Burst(4)),
    Flips(1, 1, top=True, model=MultiFlip(2)),
)
_Groups: TypeAlias = dict[str, NDArray[np.bool_]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    (learning, trying), watches = _traces(options)
    last = learning.origin.image > np.quantile(learning.origin.image, 0.8)
    clean = learning.rows(last & (learning.origin.kind == NOTHING))
    kinds = {kind.name for kind in CORRUPTIONS}
    main_groups, others = _groups(trying.origin, kinds)
    detectors = _detectors(learning.rows(~last), watches, options)
    rows = _rows(detectors, clean, trying, main_groups | others, options)
    record = {"benchmark": "guards", "case": options.case, "rows": rows}
    parts = [_text(rows, list(main_groups)), _summary(rows, [*main_groups, *others])]
    printing.show(record, "\n\n".join(parts), as_json=options.json)
    return 0


def _groups(origin: Origin, kinds: set[str]) -> tuple[_Groups, _Groups]:
    """Return the groups of rows that are judged; clean ones belong to each."""
    memory, clean = origin.kind == MEMORY, origin.kind == NOTHING
    known = np.isin(origin.kind, list(kinds))
    several, unseen = memory & (origin.bits > 1), ~(memory | clean | known)
    main_groups = {
        "memory, one bit": memory & ~several,
        "memory, several bits": several,
        "input, known kinds": known,
        "input, unseen kinds": unseen,
    }
    # As many as fail at a strength are seldom just the share that was asked for.
    nearest = np.abs(origin.share[:, None] - SHARES).argmin(1)
    others = {
        f"{name} kinds, {share:.0%} fail": rows & (nearest == number)
        for name, rows in (("known", known), ("unseen", unseen))
        for number, share in enumerate(SHARES)
    }
    others |= {
        f"{kind}": origin.kind == kind
        for kind in np.unique(origin.kind[known | unseen]).tolist()
    }
    return main_groups, {name: rows for name, rows in others.items() if rows.any()}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.guards", description=__doc__)
    parser.add_argument("--case", default="signs")
    parser.add_argument("--learn", type=int, default=1000, help="inputs to learn from")
    parser.add_argument("--try", type=int, default=1000, dest="tried", help="others")
    parser.add_argument("--draws", type=int, default=400, help="of the bootstrap")
    parser.add_argument("--features", type=int, default=4, help="of the small monitor")
    parser.add_argument(
        "--most", type=int, default=3, help="values that points are from; 0 for all"
    )
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.case, options.learn, options.tried = "digits", 200, 200
        options.draws = 40
    return options


def _traces(
    options: argparse.Namespace,
) -> tuple[tuple[Traces, Traces], tuple[Watch, ...]]:
    """Return traces to learn from, of other inputs and words to try on, and watches.

    The watches are those that points may be taken from.
    """
    some = options.learn // 10
    case = stoic.load(options.case, some + options.learn + options.tried)
    assert isinstance(case.inputs, Tensor)
    inputs = Inputs((case.inputs,), {})
    # Inputs to be tried tell nothing of what is learnt, not even their range.
    pixels = pixels_of(case.inputs[: some + options.learn])
    subject = prepare(case.network, inputs.rows(0, 50))
    assert isinstance(subject, CapturedSubject)
    first = inputs.rows(0, some)
    sums = fit_checksums(subject, [subject.bench(first)])
    judged = case.judged_by, case.tail or scores_of
    watched = Watched(subject, every_marker(subject), *judged, checksums=sums)
    printing.say("strengths of corruptions")
    spoilt = strengths(watched, first, (*CORRUPTIONS, *UNSEEN), pixels)
    known = tuple(each for each in spoilt if each.corruption not in UNSEEN)
    ends = (some, some + options.learn, some + options.learn + options.tried)
    traces = (
        _collected(watched, inputs.rows(*ends[:2]), known, pixels, options, 0),
        _collected(watched, inputs.rows(*ends[1:]), spoilt, pixels, options, 1),
    )
    return traces, (*every_layer(subject), *of_output(subject))


def _collected(
    watched: Watched,
    inputs: Inputs,
    spoilt: tuple[Spoilt, ...],
    pixels: Pixels,
    options: argparse.Namespace,
    half: int,
) -> Traces:
    printing.say(f"traces of {inputs.count} inputs")
    return collected(
        watched,
        inputs,
        # No monitor learns from several bits at once.
        Recipe(spoilt, (*Recipe().flips, *(_SEVERAL if half else ()))),
        batch=50,
        seed=options.seed + half,
        half=half,
        pixels=pixels,
        first=half * options.learn,
    )


@dataclass(frozen=True, eq=False)
class _Tree:
    """The paper's tree, or a small one, as a detector by the share of its leaf."""

    name: str
    rules: Rules

    @property
    def features(self) -> tuple[str, ...]:
        return self.rules.features

    def score(self, traces: Traces) -> Floats:
        own = traces.columns(self.features)
        shares = np.array([1 - leaf.shares[0] for leaf in self.rules.leaves])
        found = shares[self.rules.leaf_of(own.values)]
        return np.where(own.finite, found, np.float32(np.inf)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Points:
    """Stoic's score, as the verdict has it."""

    points: Points
    name: str = "Stoic's points"

    @property
    def features(self) -> tuple[str, ...]:
        return self.points.used

    def score(self, traces: Traces) -> Floats:
        own = traces.columns(self.features)
        points = self.points.over(self.features)
        total, lost = points.total(own.values), points.lost(own.values)
        return np.where(lost, np.inf, total).astype(np.float32)


def _detectors(
    learning: Traces, watches: tuple[Watch, ...], options: argparse.Namespace
) -> list[Detector]:
    """Fit all detectors, Stoic's first."""
    quantiles = [w for w in watches if isinstance(w.marker, ChannelQuantiles)]
    own = learning.columns(features_of(quantiles))
    cut = int(0.7 * len(np.unique(own.origin.image)))
    early = own.origin.image < own.origin.image.min() + cut
    lesson, choosing = lesson_of(own.rows(early)), own.rows(~early)
    printing.say("the monitor")
    chosen: Lesson = lesson.on(
        by_steps(lesson, choosing, most=options.features).best.features
    )
    names = chosen.traces.features
    seen = learning.columns(features_of(watches))
    parts, most = (seen.rows(early), seen.rows(~early)), options.most or None
    points = points_of(*parts, watches, names, most)
    alpha = pruning(chosen, choosing.columns(chosen.traces.features))
    labels = labels_of(learning, lesson.classes)
    makers: list[Callable[[], Detector]] = [
        lambda: _Points(points),
        lambda: _Tree(f"Stoic, {options.features} features", chosen.rules(alpha=alpha)),
        lambda: _Tree("paper's tree, all features", lesson_of(own).rules(alpha=1e-5)),
        lambda: baselines.fit_trivial(learning),
        lambda: baselines.fit_ranger(learning),
        lambda: baselines.fit_tracing(learning, labels),
        lambda: baselines.fit_confidence(learning),
        lambda: baselines.fit_energy(learning),
        lambda: baselines.fit_mahalanobis(learning),
        lambda: baselines.fit_signatures(learning),
        lambda: baselines.fit_excess(learning),
    ]
    found = []
    for make in makers:
        found.append(make())
        printing.say(f"fitted {found[-1].name}")
    return found


def _rows(
    detectors: Sequence[Detector],
    clean: Traces,
    trying: Traces,
    groups: dict[str, NDArray[np.bool_]],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    draws = Resamples.of(trying.origin, count=options.draws, seed=options.seed)
    scores = [detector.score(trying) for detector in detectors]
    rows = []
    for detector, score in zip(detectors, scores, strict=True):
        printing.say(f"judging {detector.name}")
        limit = _limit(detector.score(clean))
        alarmed = score > (np.inf if limit is None else limit)
        false = false_alarms(trying, alarmed, draws, np.ones(len(trying), bool))
        row: dict[str, Any] = {"detector": detector.name, "calibrated": limit}
        row["clean false alarms"] = None if limit is None else _ends(false.clean)
        for name, chosen in groups.items():
            found = curve(trying, score, draws, chosen, rates=(_RATE,))
            less, _ = curve_difference(
                trying, scores[0], score, draws, chosen, rates=(_RATE,)
            )
            recall = found.recall[_RATE]
            failed = (chosen & trying.origin.failed)[:, None]
            (own,) = draws.estimates(Shares(alarmed[:, None], failed))
            row[name] = {
                "auroc": _ends(found.auroc),
                "recall": _ends(recall),
                "calibrated_recall": None if limit is None else _ends(own),
                "stoic_less_this": _ends(less),
            }
        rows.append(row)
    return rows


def _limit(clean: Floats) -> float | None:
    """Return the score that other clean inputs exceed no more often than at the rate.

    None where there are too few inputs to tell.
    """
    rank = math.ceil((len(clean) + 1) * (1 - _RATE))
    return float(np.sort(clean)[rank - 1]) if rank <= len(clean) else None


def _ends(found: Any) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


def _text(rows: Sequence[dict[str, Any]], groups: Sequence[str]) -> str:
    """Return a table of all detectors for each group."""
    parts = []
    for group in groups:
        cells = [[row["detector"], *map(_cell, row[group].values())] for row in rows]
        heads = [
            group,
            "AUROC",
            "recall at 1 %",
            "recall, calibrated",
            "Stoic's AUROC less this",
        ]
        parts.append(printing.table(heads, cells))
    cells = [[row["detector"], _cell(row["clean false alarms"])] for row in rows]
    parts.append(printing.table(["calibrated for 1 %", "clean false alarms"], cells))
    return "\n\n".join(parts)


def _summary(rows: Sequence[dict[str, Any]], groups: Sequence[str]) -> str:
    """Return Stoic's area in each group beside that of the best of the others."""
    own, *others = rows
    cells = []
    for group in groups:
        known = [row for row in others if row[group]["auroc"]]
        if not known:
            continue
        best = max(known, key=lambda row: row[group]["auroc"][0])
        cells.append(
            [
                group,
                _cell(own[group]["auroc"]),
                best["detector"],
                _cell(best[group]["auroc"]),
                _cell(best[group]["stoic_less_this"]),
            ]
        )
    heads = ["group", "Stoic's AUROC", "best other", "its AUROC", "less this"]
    return printing.table(heads, cells)


def _cell(ends: list[float] | None) -> str:
    if ends is None:
        return "-"
    value, low, high = ends
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    raise SystemExit(main())
