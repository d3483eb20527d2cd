"""Rare causes: whether clusters show a cause by its share among the failures.

Run it as ``python -m benchmarks.rare``. From pools of failures, as many are drawn each
time, so that one cause has a given share and the others keep theirs; each cause is the
rare one in turn. A pipeline clusters each draw, its parameters chosen anew, and the
cause is covered if it has 90 % of some cluster. Intervals are of shares of draws
(Wilson). Draws are kept as they come with ``--record``, and a run goes on from them;
``--figure`` draws the curve.

References:
    Attaoui, Fahmy, Pastore and Briand, DNN explanation for safety analysis: an
    empirical evaluation of clustering-based approaches, 2023: the third question.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from numpy.typing import NDArray

from stoic.cases import failing
from stoic.causes.failures import UNKNOWN
from stoic.causes.pipeline import Clusters, Features, Pipeline
from stoic.causes.rare import SHARES, Shown, covered_by_share, look_for, most
from stoic.causes.scores import JOIN, Truth
from stoic.estimates.estimate import Estimate
from stoic.explaining import pipeline_of

__all__ = ["curve", "main"]

_BEST = ("layers and SqueezeNet and Lite0", "PCA", "fine")

_ASKED = 0.02
"""The share that is to be covered in four draws of five."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Cluster all draws, and print how many of them show the rare cause."""
    parser = argparse.ArgumentParser(prog="benchmarks.rare", description=__doc__)
    parser.add_argument("--case", default="signs", help="whose failures")
    parser.add_argument("--pipeline", nargs=3, default=list(_BEST))
    parser.add_argument("--pool", type=int, default=2000, help="failures to draw from")
    parser.add_argument("--count", type=int, default=1200, help="failures in a draw")
    parser.add_argument("--draws", type=int, default=3, help="of each cause and share")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of pools")
    parser.add_argument("--record", type=Path, help="file of draws, gone on from")
    parser.add_argument("--figure", type=Path, help="SVG to write")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [each for seed in options.seeds for each in _looked(options, seed)]
    found = covered_by_share(rows)
    pipeline = " + ".join(options.pipeline)
    record = {
        "case": options.case,
        "pipeline": pipeline,
        "seeds": options.seeds,
        "covered": {f"{share:g}": vars(own) for share, own in found.items()},
        "by cause": _by_cause(rows),
    }
    if options.figure:
        options.figure.write_text(curve(found, f"{options.case}: {pipeline}"))
    printing.show(record, _text(found, rows), as_json=options.json)
    return 0


def _looked(options: argparse.Namespace, seed: int) -> list[Shown]:
    """Return all draws from one pool, those of the record as they are."""
    about: dict[str, Any] = {
        "case": options.case,
        "pool": [options.pool, seed],
        "count": options.count,
        "pipeline": options.pipeline,
    }
    rows = [row for row in _recorded(options.record) if about.items() <= row.items()]
    found = [Shown(**row["shown"]) for row in rows]
    done = {(each.scenario, each.share, each.draw) for each in found}
    asked = list(product(range(options.draws), options.shares))
    names = rows[0]["causes"] if rows else []
    if not rows or any((n, s, d) not in done for d, s in asked for n in names):
        pool, causes = _pool(options, seed)
        about["causes"] = list(Truth.of(causes).names)
        for each, share, name in ((*own, n) for own in asked for n in about["causes"]):
            if (name, share, each) not in done:
                # Of a common cause the pool may hold too few for as many failures.
                count = min(options.count, most(causes, name, share))
                how = {"count": count, "shares": (share,), "names": (name,)}
                new = list(look_for(pool, causes, **how, draws=1, seed=each))
                _keep(options.record, about, new)
                found += new
    return [
        own for own in found if own.share in options.shares and own.draw < options.draws
    ]


def _pool(options: argparse.Namespace, seed: int) -> tuple[_Fit, NDArray[np.str_]]:
    """Return failures of one known cause each, and what clusters some of them."""
    inquiry = failing(options.case, options.pool, seed)
    known = inquiry.failures.scenarios
    assert known is not None, f"the failures of {options.case} have no known cause"
    alone = np.array([word != UNKNOWN and JOIN not in word for word in known])
    pipeline = pipeline_of(*options.pipeline)
    features = pipeline.extractor(inquiry, seed)[alone]
    return _Fit(pipeline, features), known[alone]


class _Fit:
    """Clusters some of the pool, by features that were made once."""

    def __init__(self, pipeline: Pipeline, features: Features) -> None:
        self.pipeline, self.features = pipeline, features

    def __call__(self, places: NDArray[np.int64], seed: int) -> Clusters:
        points = self.pipeline.reduction(self.features[places], seed)
        return self.pipeline.clustering(points, seed)


def _recorded(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _keep(path: Path | None, about: Mapping[str, Any], new: Sequence[Shown]) -> None:
    if path:
        with path.open("a") as file:
            file.writelines(
                f"{json.dumps({**about, 'shown': each.as_record()})}\n" for each in new
            )


def _by_cause(rows: Sequence[Shown]) -> dict[str, float]:
    """How many draws of the share asked about cover each cause."""
    asked = [row for row in rows if row.share == _ASKED]
    return {
        name: found[_ASKED].value
        for name in sorted({row.scenario for row in asked})
        if (found := covered_by_share([row for row in asked if row.scenario == name]))
    }


def _text(found: Mapping[float, Estimate], rows: Sequence[Shown]) -> str:
    heads = ("share", "failures", "draws", "covered", "95 %", "purest", "clusters")
    lines = []
    for share, own in found.items():
        drawn = [row for row in rows if row.share == share]
        purest = float(np.mean([row.purest for row in drawn]))
        clusters = float(np.mean([row.clusters for row in drawn]))
        lines.append(
            (
                f"{share:.1%}",
                drawn[0].held,
                own.n,
                f"{own.value:.0%}",
                f"{own.low:.0%} to {own.high:.0%}",
                f"{purest:.0%}",
                f"{clusters:.0f}",
            )
        )
    causes = ", ".join(f"{name} {value:.0%}" for name, value in _by_cause(rows).items())
    return f"{printing.table(heads, lines)}\n\nat {_ASKED:.0%}: {causes or '-'}"


def curve(found: Mapping[float, Estimate], title: str) -> str:
    """Return the curve as a picture: shares in equal steps, intervals as bars."""
    left, top, width, height = 60, 40, 460, 240

    def up(value: float) -> float:
        return top + height * (1 - value)

    step = width / max(len(found), 1)
    marks, path = [], []
    for place, (share, own) in enumerate(found.items()):
        x = left + step * (place + 0.5)
        path.append(f"{x:.1f},{up(own.value):.1f}")
        marks += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(own.low):.1f}" '
            f'y2="{up(own.high):.1f}" stroke="#7a9cc6" stroke-width="6"/>',
            f'<circle cx="{x:.1f}" cy="{up(own.value):.1f}" r="4" fill="#1f4e8c"/>',
            f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">'
            f"{100 * share:g} %</text>",
        ]
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        dash = ' stroke-dasharray="6 4" stroke="#a33"' if value == 0.8 else ""
        marks.append(
            f'<line x1="{left}" x2="{left + width}" y1="{up(value):.1f}" '
            f'y2="{up(value):.1f}"{dash or " stroke=" + chr(34) + "#ddd" + chr(34)}/>'
            f'<text x="{left - 8}" y="{up(value) + 4:.1f}" text-anchor="end">'
            f"{100 * value:.0f} %</text>"
        )
    lines = "\n".join(sorted(marks, key=lambda mark: "<circle" in mark))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 330" '
        'font-family="sans-serif" font-size="12">\n'
        '<rect width="540" height="330" fill="white"/>\n'
        f'<text x="{left}" y="20" font-size="13">{title}: '
        "draws in which a rare cause has a cluster</text>\n"
        f"{lines}\n"
        f'<polyline points="{" ".join(path)}" fill="none" stroke="#1f4e8c"/>\n'
        f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">'
        "share of the cause among the failures</text>\n</svg>\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
