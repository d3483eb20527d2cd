"""Images looked at until every cause has been seen, where one cause is rare.

Run it as ``python -m benchmarks.inspected``. From a pool of failures with one known
cause each, failures are drawn so that one cause has a small share and the others keep
theirs; each cause is the rare one in turn. Features, just before the network's scores,
are reduced to principal components and clustered; then an order is announced, without
any cause known. Counted are the images until all causes have been seen: on average, in
95 % of draws, and the latter as a share of what random order takes, which is exact.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray

from stoic.cases import failing
from stoic.causes.clusterings import Hdbscan, KMeans
from stoic.causes.extractors.neurons import Neurons
from stoic.causes.failures import UNKNOWN
from stoic.causes.pipeline import Clustering, Features
from stoic.causes.rare import draw
from stoic.causes.reductions import Pca
from stoic.causes.scores import (
    JOIN,
    Novelty,
    Order,
    RoundRobin,
    Truth,
    inspection,
)

__all__ = ["main"]

_SHARES = (0.005, 0.01, 0.02)
_ORDERS: tuple[Order, ...] = (Novelty(), RoundRobin())
# One candidate each: what is compared are orders, and choosing takes most of the time.
_CLUSTERINGS: tuple[Clustering, ...] = (
    KMeans(fewest=30, most=30),
    Hdbscan(sizes=(5,), samples=(2,)),
)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Failures with one known cause each."""

    features: Features
    scenarios: NDArray[np.str_]

    @classmethod
    def of(cls, case: str, count: int, seed: int) -> _Pool:
        inquiry = failing(case, count, seed)
        known = inquiry.failures.scenarios
        assert known is not None, f"the failures of {case} have no known cause"
        alone = np.array([word != UNKNOWN and JOIN not in word for word in known])
        return cls(Neurons()(inquiry, seed)[alone], known[alone])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, and print what was counted."""
    parser = argparse.ArgumentParser(prog="benchmarks.inspected", description=__doc__)
    printing.common_options(parser, threads=1)
    parser.add_argument("--case", default="signs", help="whose failures")
    parser.add_argument("--pool", type=int, default=3000, help="failures to draw from")
    parser.add_argument("--count", type=int, default=1200, help="failures in a draw")
    parser.add_argument("--draws", type=int, default=6, help="of each cause and share")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.pool, options.count, options.draws = 400, 150, 1
    pool = _Pool.of(options.case, options.pool, options.seed)
    found = {
        "case": options.case,
        "pool": len(pool.scenarios),
        "rows": [
            row
            for share in _SHARES
            for row in _counted(pool, share, options.count, options.draws)
        ],
    }
    printing.show(found, _text(found), as_json=options.json)
    return 0


def _counted(
    pool: _Pool, share: float, count: int, draws: int
) -> Iterator[dict[str, Any]]:
    """Count for one share, with each clustering and order."""
    orders: dict[tuple[str, str], list[tuple[NDArray[np.int64], Truth]]] = {}
    for rare in Truth.of(pool.scenarios).names:
        for seed in range(draws):
            places = draw(pool.scenarios, rare, share=share, count=count, seed=seed)
            truth = Truth.of(pool.scenarios[places])
            points = Pca()(pool.features[places], seed)
            for clustering in _CLUSTERINGS:
                clusters = clustering(points, seed)
                for order in _ORDERS:
                    key = clustering.name, order.name
                    looked = order(clusters, points, seed)
                    orders.setdefault(key, []).append((looked, truth))
        printing.say(f"share {share:g}: {rare} was rare {draws} times")
    for (clustering_name, order_name), looked_at in orders.items():
        yield {
            "share": share,
            "clustering": clustering_name,
            "order": order_name,
            **inspection(looked_at).as_record(),
        }


def _text(found: dict[str, Any]) -> str:
    heads = ("share", "clusters", "order", "mean", "95 %", "random 95 %", "of random")
    rows = [
        (
            f"{row['share']:g}",
            row["clustering"],
            row["order"],
            f"{row['mean']:.0f}",
            row["reliable"],
            row["random_reliable"],
            f"{row['saving']:.2f}",
        )
        for row in found["rows"]
    ]
    return printing.table(heads, rows)


if __name__ == "__main__":
    raise SystemExit(main())
