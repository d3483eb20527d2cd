"""Images looked at until every cause has been seen, where one cause is rare.

Run it as ``python -m benchmarks.inspected``. From a pool of failures with one known
cause each, failures are drawn so that one cause has a small share and the others keep
theirs; each cause is the rare one in turn. A way to look is features, clusters and an
order, announced without any cause known. Counted are the images until all causes have
been seen: on average, in 95 % of draws, and the latter as a share of what random order
takes, which is exact, with an interval by a bootstrap of each cause's draws. Each seed
has a pool of its own; the way is chosen on the first half of the seeds, by the mean
share over all three frequencies, and what counts is the second half, where nothing was
chosen. Counts are kept as they come with ``--record``, and a run goes on from them,
also one of some of the seeds with more draws.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray

from stoic.cases import failing
from stoic.causes.clusterings import Fine
from stoic.causes.extractors.mixed import AND
from stoic.causes.extractors.neurons import Layers, Neurons
from stoic.causes.failures import UNKNOWN
from stoic.causes.pipeline import NOISE, Clusters, Extractor, Features, Reduction
from stoic.causes.rare import draw
from stoic.causes.reductions import Pca
from stoic.causes.scores import (
    JOIN,
    FarthestFirst,
    Inspection,
    Novelty,
    Order,
    RandomOrder,
    RoundRobin,
    Truth,
    Turns,
    until_all,
)
from stoic.extracting import extractor_of

__all__ = ["main"]

_SHARES = (0.005, 0.01, 0.02)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Unclustered:
    """All failures in no cluster, for orders that ask for none."""

    @property
    def name(self) -> str:
        return "none"

    def __call__(self, points: Features, seed: int) -> Clusters:
        return Clusters(np.full(len(points), NOISE), {})


@dataclass(frozen=True)
class _Way:
    """A way to look at failures; `Turns` takes several spaces, all others the first."""

    extractors: tuple[Extractor, ...]
    reduction: Reduction
    clustering: Fine | _Unclustered
    order: Order

    @property
    def name(self) -> str:
        features = AND.join(extractor.name for extractor in self.extractors)
        stages = (self.reduction, self.clustering, self.order)
        return " + ".join([features, *(stage.name for stage in stages)])

    def __call__(
        self, spaces: Sequence[Features], clusters: Clusters, seed: int
    ) -> NDArray[np.int64]:
        if isinstance(self.order, Turns):
            return self.order.among(spaces)
        return self.order(clusters, spaces[0], seed)


_OWN = (Layers(), Neurons())
_WAYS = (
    _Way((Layers(),), Pca(), Fine(), RoundRobin()),
    _Way((Layers(),), Pca(), Fine(), Novelty()),
    _Way((Layers(),), Pca(), _Unclustered(), FarthestFirst()),
    _Way((Layers(),), Pca(), _Unclustered(), Turns()),
    _Way(_OWN, Pca(), _Unclustered(), Turns()),
    _Way((*_OWN, extractor_of("SqueezeNet")), Pca(), _Unclustered(), Turns()),
)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Failures with one known cause each."""

    features: Mapping[Extractor, Features]
    scenarios: NDArray[np.str_]

    @classmethod
    def of(cls, case: str, count: int, seed: int) -> _Pool:
        inquiry = failing(case, count, seed)
        known = inquiry.failures.scenarios
        assert known is not None, f"the failures of {case} have no known cause"
        alone = np.array([word != UNKNOWN and JOIN not in word for word in known])
        extractors = {each for way in _WAYS for each in way.extractors}
        features = {each: each(inquiry, seed)[alone] for each in extractors}
        return cls(features, known[alone])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, and print what was counted."""
    parser = argparse.ArgumentParser(prog="benchmarks.inspected", description=__doc__)
    parser.add_argument("--case", default="signs", help="whose failures")
    parser.add_argument("--pool", type=int, default=2000, help="failures to draw from")
    parser.add_argument("--count", type=int, default=1200, help="failures in a draw")
    parser.add_argument("--draws", type=int, default=2, help="of each cause and share")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--record", type=Path, help="file of counts, gone on from")
    parser.add_argument("--quick", action="store_true", help="tiny: only tries it out")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        options.pool, options.count, options.draws = 400, 150, 1
        options.seeds = options.seeds[:2]
    rows = _recorded(options.record)
    for seed in options.seeds:
        about = {"case": options.case, "count": options.count, "seed": seed}
        if not any(about.items() <= row.items() for row in rows):
            rows += _counted(options, about)
    found = _found(rows, options.seeds)
    printing.show(found, _text(found), as_json=options.json)
    return 0


def _recorded(path: Path | None) -> list[Row]:
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _counted(options: argparse.Namespace, about: Mapping[str, Any]) -> list[Row]:
    """Count on the pool of one seed, and keep the counts."""
    pool = _Pool.of(options.case, options.pool, about["seed"])
    rows: list[Row] = [
        {**about, "share": share, "rare": rare, **row}
        for share in _SHARES
        for rare in Truth.of(pool.scenarios).names
        for each in range(options.draws)
        for row in _looked(pool, rare, share, options.count, each)
    ]
    printing.say(f"seed {about['seed']}: {len(rows)} orders")
    if options.record:
        with options.record.open("a") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return rows


def _looked(
    pool: _Pool, rare: str, share: float, count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Count in each way, on one draw of failures."""
    places = draw(pool.scenarios, rare, share=share, count=count, seed=seed)
    truth = Truth.of(pool.scenarios[places])

    @cache
    def points(extractor: Extractor, reduction: Reduction) -> Features:
        return reduction(pool.features[extractor][places], seed)

    @cache
    def clusters(
        extractor: Extractor, reduction: Reduction, clustering: Fine | _Unclustered
    ) -> Clusters:
        return clustering(points(extractor, reduction), seed)

    for way in _WAYS:
        spaces = [points(each, way.reduction) for each in way.extractors]
        found = clusters(way.extractors[0], way.reduction, way.clustering)
        taken = until_all(way(spaces, found, seed), truth)
        held = truth.holds.sum(axis=0).tolist()
        yield {"way": way.name, "draw": seed, "taken": taken, "held": held}


def _found(rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, Any]:
    """Return what both halves of the seeds say of each way and share."""
    half = len(seeds) // 2
    parts = {"chosen on": list(seeds[:half]), "scored on": list(seeds[half:])}
    table = {
        name: [
            {"way": way.name, "share": share, **_inspected(rows, own, way.name, share)}
            for way in _WAYS
            for share in _SHARES
        ]
        for name, own in parts.items()
        if own
    }
    first = table.get("chosen on", table["scored on"])
    best = min(
        (way.name for way in _WAYS),
        key=lambda name: sum(own["saving"] for own in first if own["way"] == name),
    )
    return {"seeds": parts, "best": best, "table": table}


def _inspected(
    rows: Sequence[Row], seeds: Sequence[int], way: str, share: float
) -> dict[str, Any]:
    own = [
        row
        for row in rows
        if row["seed"] in seeds and row["way"] == way and row["share"] == share
    ]
    randoms = [_random(tuple(row["held"])) for row in own]
    taken = np.array([row["taken"] for row in own])
    found = Inspection.of(taken.tolist(), randoms)
    rare = np.array([row["rare"] for row in own])
    low, high = (each / found.random_reliable for each in _interval(taken, rare))
    return found.as_record() | {"low": low, "high": high}


def _interval(
    taken: NDArray[np.int64], rare: NDArray[np.str_], times: int = 2000
) -> tuple[float, float]:
    """Where the number for 95 % of draws lies, by a bootstrap of each cause's draws."""
    rng = np.random.default_rng(0)
    parts = [taken[rare == name] for name in np.unique(rare)]
    several = [
        np.concatenate([rng.choice(part, len(part)) for part in parts])
        for _ in range(times)
    ]
    reliable = np.quantile(several, 0.95, axis=1, method="inverted_cdf")
    low, high = np.quantile(reliable, (0.025, 0.975))
    return float(low), float(high)


@cache
def _random(held: tuple[int, ...]) -> RandomOrder:
    """Random order of failures of which each has one cause."""
    words = np.repeat([str(place) for place in range(len(held))], held)
    return RandomOrder.of(Truth.of(words))


def _text(found: Mapping[str, Any]) -> str:
    heads = (
        "way",
        "share",
        "mean",
        "95 %",
        "random 95 %",
        "of random",
        "95 % interval",
    )
    parts = []
    for name, rows in found["table"].items():
        lines = [
            (
                row["way"],
                f"{row['share']:g}",
                f"{row['mean']:.0f}",
                row["reliable"],
                row["random_reliable"],
                f"{row['saving']:.2f}",
                f"{row['low']:.2f} to {row['high']:.2f}",
            )
            for row in rows
        ]
        parts.append(f"{name} seeds {found['seeds'][name]}")
        parts.append(printing.table(heads, lines))
    return "\n\n".join([*parts, f"chosen: {found['best']}"])


if __name__ == "__main__":
    raise SystemExit(main())
