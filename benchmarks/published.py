"""The published protocol of the quantile-marker monitor, leaks and all.

Run it as ``python -m benchmarks.published``. The same images recur in every run, and
rows are split at random: rows of one image, of blur and contrast even the very same
rows, are on both sides. So this tells how well a tree remembers, not how well it does
on inputs that it has not seen; it is here for the published figures alone, as nothing
else can be compared with them. ``stoic monitor evaluate`` and ``benchmarks.guards``
share neither images nor words.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, A low-cost strategic monitoring
    approach for scalable and interpretable error detection in deep neural networks,
    2023.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray
from torch import Tensor

import stoic
from stoic.campaign.scores import scores_of
from stoic.cases.case import Case
from stoic.monitors.bounds import bounds_of
from stoic.monitors.collecting import Flips, Recipe, Spoilt, Watched, collected
from stoic.monitors.corruptions import CORRUPTIONS, Pixels, pixels_of
from stoic.monitors.fitting import Lesson
from stoic.monitors.labels import classes_of, examples, labels_of, macro
from stoic.monitors.reduction import by_importance, by_steps
from stoic.monitors.rules import Rules
from stoic.monitors.strengths import strengths
from stoic.monitors.traces import NOTHING, Traces
from stoic.monitors.watches import every_layer
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs

__all__ = [
    "Figures",
    "figures",
    "main",
    "options_of",
    "said",
    "split_rows",
    "traces_of",
]

_LEARNT = 0.67
_ALPHAS = (1e-5, 1.5e-5, 2e-5)
_TOP_RUNS = 5
_MEMORY = 1
_LEVELS = ("cls", "cats", "sdc")
_AMONG = 12
_LISTED = 12


def main(argv: Sequence[str] | None = None) -> int:
    """Run the protocol on each case."""
    options = options_of(argv)
    torch.set_num_threads(options.threads)
    found = [_of_case(name, options) for name in options.case]
    record = {
        "benchmark": "published",
        "leaks": "images recur and rows are split at random, as published",
        "images": options.images,
        "runs": options.runs,
        "cases": [asdict(each) for each in found],
    }
    printing.show(record, _text(found), as_json=options.json)
    return 0


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.published", description=__doc__
    )
    cases = ["signs", "scenes", "fashion", "fashion-vgg", "fashion-alexnet"]
    parser.add_argument("--case", nargs="+", default=cases)
    parser.add_argument("--images", type=int, default=100, help="that recur")
    parser.add_argument("--bounds", type=int, default=2000, help="fault-free images")
    parser.add_argument("--strengths", type=int, default=200, help="images to find by")
    parser.add_argument(
        "--runs", type=int, default=100, help="of each kind; five times for top bits"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of traces, for later")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.case, options.runs, options.images = ["digits"], 10, 40
        options.bounds, options.strengths = 200, 100
    return options


@dataclass(frozen=True)
class Figures:
    """How well some features do.

    Args:
        features: Their names.
        layers: How many values they are of.
        nodes: Of the tree.
        depth: Of the tree.
        levels: Precision and recall by level: ``cls`` tells fault classes apart,
            ``cats`` memory from input, ``sdc`` only failed from not.
        classes: Precision and recall of each fault class.
        false_positives: Part of the rows in which nothing failed.
    """

    features: tuple[str, ...]
    layers: int
    nodes: int
    depth: int
    levels: dict[str, tuple[float, float]]
    classes: dict[str, tuple[float, float]]
    false_positives: float


def figures(rules: Rules, traces: Traces) -> Figures:
    """Return how well rules do on traces; what is not finite counts as memory."""
    wanted, got = labels_of(traces, rules.classes), said(rules, traces)
    levels = {
        name: macro(np.minimum(wanted, most), np.minimum(got, most), most + 1)
        for name, most in zip(_LEVELS, (len(rules.classes) - 1, 2, 1), strict=True)
    }
    classes = {}
    for number, name in enumerate(rules.classes[1:], start=1):
        alone = [np.asarray(x == number, np.int64) for x in (wanted, got)]
        classes[name] = macro(alone[0], alone[1], 2)
    return Figures(
        features=rules.features,
        layers=len({_layer(name) for name in rules.features}),
        nodes=len(rules.forks) + len(rules.leaves),
        depth=int(np.abs(rules.paths).sum(0).max(initial=0)),
        levels=levels,
        classes=classes,
        false_positives=float((got[wanted == 0] > 0).mean()),
    )


def said(rules: Rules, traces: Traces) -> NDArray[np.int64]:
    """Return the class that rules give each row; memory where it is not finite."""
    own = traces.columns(rules.features)
    found = rules.labels[rules.leaf_of(own.values)]
    return np.where(traces.finite & ~traces.origin.broken, found, _MEMORY)


def split_rows(traces: Traces, seed: int) -> tuple[Traces, Traces]:
    """Return 67 % of the rows to learn from and the others, whatever they are of."""
    order = np.random.default_rng(seed).permutation(len(traces))
    cut = int(_LEARNT * len(traces))
    return traces.rows(order[:cut]), traces.rows(order[cut:])


@dataclass(frozen=True)
class _Found:
    """What came of one case: rows, failed ones by class, and figures by set."""

    case: str
    rows: int
    failed: dict[str, int]
    not_finite: int
    alpha: float
    finite: dict[str, Figures]
    every: dict[str, Figures]
    cpu_s: float


def _of_case(name: str, options: argparse.Namespace) -> _Found:
    begun = time.process_time()
    printing.say(f"{name}: traces")
    traces = _kept(name, options)
    clean = traces.origin.kind == NOTHING
    bounds, traces = bounds_of([traces.values[clean]]), traces.rows(~clean)
    classes = classes_of(traces)
    learning, trying = split_rows(traces, options.seed)
    kept, judged = examples(learning), examples(trying)
    lesson = Lesson(kept, classes, labels_of(kept, classes), bounds)
    printing.say(f"{name}: {len(traces):,} rows, {len(kept):,} to learn from")
    part, choosing = _held_out(lesson, options.seed)
    alpha = _alpha(part, choosing, options.seed)
    finite, every = {}, {}
    for way, features in _sets(part, choosing, alpha).items():
        rules = lesson.on(features).rules(alpha=alpha, seed=options.seed)
        finite[way], every[way] = figures(rules, judged), figures(rules, trying)
        printing.say(f"{name}: {way}: {finite[way].levels}")
    origin = traces.origin
    failed = {c: int(((origin.kind == c) & origin.failed).sum()) for c in classes[1:]}
    dropped = len(traces) - len(kept) - len(judged)
    seconds = time.process_time() - begun
    return _Found(
        name, len(traces), failed, dropped, alpha, finite, every, round(seconds)
    )


def _sets(lesson: Lesson, choosing: Traces, alpha: float) -> dict[str, Sequence[str]]:
    """Return sets of features: all, and the first by importance that nearly do.

    Chosen by rows to learn from; those that are reported have no say in it.
    Of convolutions alone, which are what faults hit, as published, and of every layer;
    of these also a rival set: one feature after the other, always the best one.
    """
    every = lesson.traces.features
    hit = set(lesson.traces.origin.site.tolist())
    narrow = lesson.on([name for name in every if _layer(name) in hit])
    few = by_importance(narrow, choosing, alpha=alpha)
    some = by_importance(lesson, choosing, alpha=alpha)
    rival = by_steps(lesson, choosing, alpha=alpha, among=_AMONG)
    return {
        "convolutions": narrow.traces.features,
        "convolutions, by importance": few.best.features,
        "every layer": every,
        "every layer, by importance": some.best.features,
        "every layer, in steps": rival.best.features,
    }


def _kept(name: str, options: argparse.Namespace) -> Traces:
    """Return traces, out of a file if it is asked for and there."""
    if options.keep is None:
        return traces_of(name, options)
    sizes = options.images, options.strengths, options.bounds, options.runs
    path = options.keep / "-".join(map(str, (name, *sizes, options.seed)))
    path = path.with_suffix(".npz")
    if not path.is_file():
        options.keep.mkdir(parents=True, exist_ok=True)
        traces_of(name, options).save(path)
    return Traces.load(path)


def _held_out(lesson: Lesson, seed: int) -> tuple[Lesson, Traces]:
    """Return four fifths of the rows to learn from, and the others to choose by."""
    order = np.random.default_rng(seed).permutation(len(lesson.labels))
    cut = len(order) // 5
    held, own = order[:cut], order[cut:]
    part = replace(lesson, traces=lesson.traces.rows(own), labels=lesson.labels[own])
    return part, lesson.traces.rows(held)


def _alpha(lesson: Lesson, choosing: Traces, seed: int) -> float:
    """Choose a pruning of those published."""
    wanted = labels_of(choosing, lesson.classes)

    def worth(alpha: float) -> float:
        got = said(lesson.rules(alpha=alpha, seed=seed), choosing)
        return sum(macro(wanted, got, len(lesson.classes)))

    return max(_ALPHAS, key=worth)


def traces_of(name: str, options: argparse.Namespace) -> Traces:
    """Return rows of the same few images again and again, and clean ones of others.

    Only the clean ones, by which bounds are set, are said to have nothing wrong.
    """
    ends = np.cumsum([options.images, options.strengths, options.bounds]).tolist()
    case = stoic.load(name, ends[-1])
    assert isinstance(case.inputs, Tensor)
    inputs, pixels = Inputs((case.inputs,), {}), pixels_of(case.inputs)
    watched = _watched(case, inputs.rows(0, options.images))
    some = inputs.rows(*ends[:2])
    spoilt = strengths(watched, some, CORRUPTIONS, pixels, seed=options.seed)
    for each in spoilt:
        printing.say(f"  {each.corruption.name} {each.strength:.3g}: {each.share:.0%}")
    rows = _rows(watched, inputs.rows(0, ends[0]), spoilt, pixels, options)
    others = inputs.rows(*ends[1:])
    clean = collected(watched, others, Recipe((), ()), batch=100, seed=0, half=None)
    return Traces.joined([clean, rows.rows(rows.origin.kind != NOTHING)])


def _watched(case: Case, inputs: Inputs) -> Watched:
    """Watch every layer; faults hit convolutions only, as published."""
    subject = prepare(case.network, inputs)
    assert isinstance(subject, CapturedSubject)
    watches = every_layer(subject)
    steps, value = subject.program.by_name, {s.name: s.value for s in subject.sites}
    computed = [w.value for w in watches if "conv" in steps[value[w.value]].operator]
    kernels = [
        s.name for s in subject.sites if s.kind == "parameter" and len(s.shape) == 4
    ]
    judged = case.judged_by, case.tail or scores_of
    return Watched(subject, watches, *judged, hit=(*computed, *kernels))


def _rows(
    watched: Watched,
    inputs: Inputs,
    spoilt: Sequence[Spoilt],
    pixels: Pixels,
    options: argparse.Namespace,
) -> Traces:
    """Return the rows of all runs; each image has a fault of its own in each run."""

    def run(recipe: Recipe, *, batch: int = inputs.count, seed: int = 0) -> Traces:
        own = options.seed + seed
        return collected(
            watched, inputs, recipe, batch=batch, seed=own, half=None, pixels=pixels
        )

    runs, top = options.runs, _TOP_RUNS * options.runs
    weights = Flips(runs, 0), Flips(top, 0, top=True)
    neurons = Flips(0, runs), Flips(0, top, top=True)
    parts = [run(Recipe((), neurons)), run(Recipe((), weights), batch=1)]
    for number, each in enumerate(spoilt):
        # Without chance every run is the same one: its rows are copied, as published.
        turns = runs if each.corruption.name == "noise" else 1
        seeds = [number + len(spoilt) * turn for turn in range(turns)]
        found = [run(Recipe((each,), ()), seed=seed) for seed in seeds]
        parts += found * (runs // turns)
    return Traces.joined(parts)


def _layer(feature: str) -> str:
    return feature.partition(" of ")[2]


def _text(cases: Sequence[_Found]) -> str:
    sets = [(case, way) for case in cases for way in case.finite]
    heads = ["row split, leaks", "set", "features", "layers", "nodes", "depth", "FPR"]
    heads += [f"{which} {level}" for level in _LEVELS for which in "PR"]
    rows = [_row(case, way) for case, way in sets]
    rows += [_mean(cases, way) for way in cases[0].finite]
    kinds = list(cases[0].failed)
    by_class = [
        [case.case, way, *(_both(case.finite[way].classes[kind]) for kind in kinds)]
        + [f"{case.not_finite:,}", _both(case.every[way].levels["cls"])]
        for case, way in sets
    ]
    counts = [
        [
            c.case,
            f"{c.rows:,}",
            *(f"{n:,}" for n in c.failed.values()),
            c.alpha,
            c.cpu_s,
        ]
        for c in cases
    ]
    chosen = [
        f"{case.case}, {way}: {', '.join(case.finite[way].features)}"
        for case, way in sets
        if len(case.finite[way].features) <= _LISTED
    ]
    return "\n\n".join(
        [
            "Rows of the same images are on both sides: these figures leak.",
            printing.table(heads, rows),
            printing.table(
                ["P/R by class", "set", *kinds, "not finite", "with these"], by_class
            ),
            printing.table(["failed", "rows", *kinds, "alpha", "CPU s"], counts),
            "\n".join(chosen),
        ]
    )


def _row(case: _Found, way: str) -> list[str]:
    found = case.finite[way]
    sizes = [len(found.features), found.layers, found.nodes, found.depth]
    rates = [found.false_positives, *(x for v in found.levels.values() for x in v)]
    return [case.case, way, *map(str, sizes), *map(_percent, rates)]


def _mean(cases: Sequence[_Found], way: str) -> list[str]:
    """Return the mean over cases of what is a share."""
    shares = [
        [f.false_positives, *(x for both in f.levels.values() for x in both)]
        for f in (case.finite[way] for case in cases)
    ]
    return ["mean", way, *[""] * 4, *map(_percent, np.mean(shares, 0).tolist())]


def _both(shares: tuple[float, float]) -> str:
    return "/".join(map(_percent, shares))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
