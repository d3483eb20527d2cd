"""Monitors side by side, on the same traces of inputs and words that none has seen.

Run it as ``python -m benchmarks.guards``. Each detector is fitted to one half of the
inputs and of all words, and tried on the other. Scores are compared by the area under
the curve, failed rows against all that did not fail, and by recall where one clean
input in a hundred raises an alarm; differences from the monitor are paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray
from torch import Tensor

import stoic
from stoic.monitors import baselines
from stoic.monitors.baselines import Detector
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import fit_checksums
from stoic.monitors.collecting import Recipe, Spoilt, Watched, collected
from stoic.monitors.corruptions import CORRUPTIONS, UNSEEN, Pixels, pixels_of
from stoic.monitors.evaluation import curve, curve_difference
from stoic.monitors.fitting import Lesson, lesson_of
from stoic.monitors.labels import labels_of
from stoic.monitors.reduction import by_steps, pruning
from stoic.monitors.resamples import Resamples
from stoic.monitors.rules import Rules
from stoic.monitors.strengths import strengths
from stoic.monitors.traces import MEMORY, NOTHING, Traces
from stoic.monitors.watches import every_marker
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs

__all__ = ["main"]

_RATE = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    learning, trying = _traces(options)
    kinds = {kind.name for kind in CORRUPTIONS}
    known = np.isin(trying.origin.kind, [NOTHING, MEMORY, *kinds])
    memory = np.isin(trying.origin.kind, [NOTHING, MEMORY])
    groups = {
        "memory": memory,
        "input, known kinds": known & (trying.origin.kind != MEMORY),
        "input, unseen kinds": ~known | (trying.origin.kind == NOTHING),
    }
    detectors = _detectors(learning, options)
    rows = _rows(detectors, trying, groups, options)
    record = {"benchmark": "guards", "case": options.case, "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.guards", description=__doc__)
    parser.add_argument("--case", default="signs")
    parser.add_argument("--learn", type=int, default=1000, help="inputs to learn from")
    parser.add_argument("--try", type=int, default=1000, dest="tried", help="others")
    parser.add_argument("--draws", type=int, default=400, help="of the bootstrap")
    parser.add_argument("--features", type=int, default=4, help="of the small monitor")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.case, options.learn, options.tried = "digits", 200, 200
        options.draws = 40
    return options


def _traces(options: argparse.Namespace) -> tuple[Traces, Traces]:
    """Return traces to learn from, and of other inputs and words to try on."""
    some = options.learn // 10
    case = stoic.load(options.case, some + options.learn + options.tried)
    assert isinstance(case.inputs, Tensor)
    inputs, pixels = Inputs((case.inputs,), {}), pixels_of(case.inputs)
    subject = prepare(case.network, inputs.rows(0, 50))
    assert isinstance(subject, CapturedSubject)
    first = inputs.rows(0, some)
    sums = fit_checksums(subject, [subject.bench(first)])
    watched = Watched(subject, every_marker(subject), checksums=sums)
    printing.say("strengths of corruptions")
    spoilt = strengths(watched, first, (*CORRUPTIONS, *UNSEEN), pixels)
    known = tuple(each for each in spoilt if each.corruption not in UNSEEN)
    ends = (some, some + options.learn, some + options.learn + options.tried)
    return (
        _collected(watched, inputs.rows(*ends[:2]), known, pixels, options, 0),
        _collected(watched, inputs.rows(*ends[1:]), spoilt, pixels, options, 1),
    )


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
        Recipe(spoilt),
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
        found = self.rules.scores[self.rules.leaf_of(own.values)]
        return np.where(own.finite, found, np.float32(np.inf)).astype(np.float32)


def _detectors(learning: Traces, options: argparse.Namespace) -> list[Detector]:
    """Fit all detectors, Stoic's first."""
    quantiles = [name for name in learning.features if name.startswith("q")]
    own = learning.columns(quantiles)
    cut = int(0.7 * options.learn)
    early = own.origin.image < own.origin.image.min() + cut
    lesson, choosing = lesson_of(own.rows(early)), own.rows(~early)
    printing.say("the monitor")
    chosen: Lesson = lesson.on(
        by_steps(lesson, choosing, most=options.features).best.features
    )
    alpha = pruning(chosen, choosing.columns(chosen.traces.features))
    labels = labels_of(learning, lesson.classes)
    makers: list[Callable[[], Detector]] = [
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
    trying: Traces,
    groups: dict[str, NDArray[np.bool_]],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    draws = Resamples.of(trying.origin, count=options.draws, seed=options.seed)
    scores = [detector.score(trying) for detector in detectors]
    rows = []
    for detector, score in zip(detectors, scores, strict=True):
        printing.say(f"judging {detector.name}")
        row: dict[str, Any] = {"detector": detector.name}
        for name, chosen in groups.items():
            found = curve(trying, score, draws, chosen, rates=(_RATE,))
            less, _ = curve_difference(
                trying, scores[0], score, draws, chosen, rates=(_RATE,)
            )
            recall = found.recall[_RATE]
            row[name] = {
                "auroc": _ends(found.auroc),
                "recall": _ends(recall),
                "stoic_less_this": _ends(less),
            }
        rows.append(row)
    return rows


def _ends(found: Any) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


def _text(rows: Sequence[dict[str, Any]]) -> str:
    parts = []
    for group in [name for name in rows[0] if name != "detector"]:
        cells = [[row["detector"], *map(_cell, row[group].values())] for row in rows]
        heads = [group, "AUROC", "recall at 1 %", "Stoic's AUROC less this"]
        parts.append(printing.table(heads, cells))
    return "\n\n".join(parts)


def _cell(ends: list[float] | None) -> str:
    if ends is None:
        return "-"
    value, low, high = ends
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    raise SystemExit(main())
