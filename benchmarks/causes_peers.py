"""Pipelines beside five other ways to find groups of failures, on the same failures.

Run it as ``python -m benchmarks.causes_peers``. The peers are restated from their
papers in `stoic.causes.peers`: Domino's mixture, PlaneSpot, failure directions, the
underperforming group of cleanlab's Datalab, and K-means on softmax. They look at the
features of the pipeline's own extractor, of failures and of as many examples, and at
what the network says. Pipelines are fixed beforehand, not chosen here. What counts is
purity times coverage, and adjusted mutual information, where noise is a cluster.
Intervals of differences are over halves of the failures of each seed, the same ones for
both; clusters are not made anew. A bootstrap sample would hold failures twice, which
information takes for agreement. Rows are kept with ``--record``.

References:
    See each peer in `stoic.causes.peers`. Shao, Wu, A general theory for jackknife
    variance estimation, Ann. Stat. 17, 1989: with half of the data left out, the
    spread over halves is that of the whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from benchmarks.causes import Row, recorded
from numpy.typing import NDArray

from stoic.cases import failing
from stoic.causes.failures import Examples, Inquiry
from stoic.causes.peers import PEERS, gather
from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.scores import PURE, score
from stoic.causes.scores.composition import Composition
from stoic.causes.scores.information import adjusted_information, crossed
from stoic.causes.scores.truth import Truth
from stoic.explaining import pipeline_of

__all__ = ["differences", "main"]

_CASES = ("signs", "gaze", "blindspots", "fashion")
_PIPELINES = (
    "VGG-16 + UMAP + DBSCAN",
    "SqueezeNet + UMAP + DBSCAN",
    "layers + UMAP + HDBSCAN",
)
_DRAWS = 200

Numbers = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all on each case and seed, and print who is ahead."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.causes_peers", description=__doc__
    )
    parser.add_argument("--cases", nargs="+", default=list(_CASES))
    parser.add_argument("--pipelines", nargs="+", default=list(_PIPELINES))
    parser.add_argument("--failures", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--record", type=Path, help="file of rows, gone on from")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = recorded(options.record)
    wanted = []
    for seed in options.seeds:
        for case in options.cases:
            about = {"case": case, "failures": options.failures, "seed": seed}
            wanted += _known(rows, about, options) or _run(options, about)
    found = {"rows": [_short(row) for row in wanted], **_judged(wanted, options)}
    printing.show(found, _text(wanted, found), as_json=options.json)
    return 0


def _known(
    rows: Sequence[Row], about: Mapping[str, Any], options: argparse.Namespace
) -> list[Row]:
    """Return what was recorded of the same pipelines; the first has peers' features."""
    own = [row for row in rows if about.items() <= row.items()]
    methods = [*options.pipelines, *(peer.name for peer in PEERS)]
    several = (own[start : start + len(methods)] for start in range(len(own)))
    return next(
        (each for each in several if [row["method"] for row in each] == methods), []
    )


def _run(options: argparse.Namespace, about: Mapping[str, Any]) -> list[Row]:
    inquiry = _asked(about)
    rows: list[Row] = [
        {**about, **row} for row in _clustered(inquiry, options, about["seed"])
    ]
    printing.say(f"{about['case']}, seed {about['seed']}: done")
    if options.record:
        with options.record.open("a") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return rows


def _asked(about: Mapping[str, Any]) -> Inquiry:
    """Return failures with as many examples."""
    inquiry = failing(about["case"], about["failures"], about["seed"])
    examples = inquiry.examples
    most = len(inquiry.failures)
    few = Examples(examples.images[:most], examples.labels[:most])
    return replace(inquiry, examples=few)


def _clustered(
    inquiry: Inquiry, options: argparse.Namespace, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the clusters of each pipeline, and of all peers on the first's features."""
    known = inquiry.failures.scenarios
    assert known is not None
    pipelines = [pipeline_of(*name.split(" + ")) for name in options.pipelines]
    evidence = gather(inquiry, pipelines[0].extractor, seed)
    found: dict[str, Clusters] = {each.name: each(inquiry, seed) for each in pipelines}
    found |= {peer.name: peer(evidence, seed) for peer in PEERS}
    for name, clusters in found.items():
        yield {
            "method": name,
            **_scored(clusters, known),
            "labels": clusters.labels.tolist(),
            "scenarios": known.tolist(),
        }


def _scored(clusters: Clusters, known: NDArray[Any]) -> dict[str, float]:
    found = score(clusters, known, parts=True)
    return {
        "purity": found.purity or 0.0,
        "coverage": found.coverage[PURE],
        "information": found.information or 0.0,
        "noise": float((clusters.labels == NOISE).mean()),
        "clusters": clusters.count,
    }


def _worth(clusters: Clusters, truth: Truth) -> float:
    """Purity times coverage."""
    made = Composition.of(clusters, truth)
    if not len(made.known):
        return 0.0
    return float(made.purities.mean() * (made.owned(PURE) > 0).mean())


def _information(clusters: Clusters, truth: Truth) -> float:
    known = truth.known
    return (
        adjusted_information(crossed(clusters.labels[known], truth.kinds[known])) or 0
    )


_MEASURES: dict[str, Callable[[Clusters, Truth], float]] = {
    "purity x coverage": _worth,
    "information": _information,
}


def differences(one: Row, other: Row, measure: str, draws: int, seed: int) -> Numbers:
    """Return how far one method is ahead, first of all failures, then of halves.

    Args:
        one: Labels and scenarios of one method.
        other: Of another, on the same failures.
        measure: One of those that count.
        draws: How many halves.
        seed: Of the halves.
    """
    tell = _MEASURES[measure]
    words = np.array(one["scenarios"])
    sides = [np.array(each["labels"]) for each in (one, other)]
    rng = np.random.default_rng(seed)
    samples = [np.arange(len(words))]
    samples += [rng.permutation(len(words))[: len(words) // 2] for _ in range(draws)]
    found = []
    for places in samples:
        truth = Truth.of(words[places], parts=True)
        ahead, behind = (tell(Clusters(own[places], {}), truth) for own in sides)
        found.append(ahead - behind)
    return np.array(found)


def _judged(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "differences": [
            {"case": case, "pipeline": name, "peer": peer.name, "measure": measure}
            | _over_seeds(rows, case, name, peer.name, measure)
            for name in options.pipelines
            for peer in PEERS
            for case in options.cases
            for measure in _MEASURES
        ]
    }


def _over_seeds(
    rows: Sequence[Row], case: str, name: str, peer: str, measure: str
) -> dict[str, Any]:
    """Return the mean difference over seeds, and its interval."""
    own = {
        (row["seed"], row["method"]): row
        for row in rows
        if row["case"] == case and row["method"] in (name, peer)
    }
    seeds = sorted({seed for seed, _ in own})
    several = [
        differences(own[seed, name], own[seed, peer], measure, _DRAWS, seed)
        for seed in seeds
    ]
    value, *halves = np.mean(several, axis=0)
    half = 1.96 * float(np.std(halves, ddof=1))
    low, high = value - half, value + half
    verdict = "ahead" if low > 0 else "behind" if high < 0 else "not shown"
    return {
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "seeds": len(seeds),
        "verdict": verdict,
    }


def _short(row: Row) -> dict[str, Any]:
    return {
        name: own for name, own in row.items() if name not in ("labels", "scenarios")
    }


def _text(rows: Sequence[Row], found: Mapping[str, Any]) -> str:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    heads = ("case", "method", "purity", "coverage", "information", "noise", "clusters")
    lines = [
        (case, method, *_means([r for r in rows if (r["case"], r["method"]) == key]))
        for case in cases
        for method in methods
        if (key := (case, method))
    ]
    apart = [
        (
            each["pipeline"],
            each["peer"],
            each["case"],
            each["measure"],
            f"{100 * each['value']:+.0f}",
            f"{100 * each['low']:+.0f} to {100 * each['high']:+.0f}",
            each["verdict"],
        )
        for each in found["differences"]
    ]
    titles = ("pipeline", "peer", "case", "of", "points", "95 %", "verdict")
    return f"{printing.table(heads, lines)}\n\n{printing.table(titles, apart)}"


def _means(rows: Sequence[Row]) -> Iterator[str]:
    for column in ("purity", "coverage", "information", "noise"):
        yield f"{100 * np.mean([row[column] for row in rows]):.0f}"
    yield f"{np.mean([row['clusters'] for row in rows]):.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
