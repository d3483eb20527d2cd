"""Pipelines that explain failures: chosen on some seeds, scored on others.

Run it as ``python -m benchmarks.causes``. Each seed has failures of its own: other
scenes, other severities. The best pipeline is chosen on the first half of the seeds, by
the product of purity and coverage, and scored on the other half, where nothing was
chosen. Regret compares what each clustering chose without known causes with the best of
its own candidates, by purity plus coverage. Random clusters of the same sizes are
scored, too. Rows are written as they come with ``--record``, and a run goes on from
them: what is there of the same case, failures and seed is not run again. Stages are
kept in ``--kept``. ``benchmarks.claims`` reads rows of several cases.

References:
    Attaoui, Fahmy, Pastore and Briand, DNN explanation for safety analysis: an
    empirical evaluation of clustering-based approaches, 2023: purity, coverage.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import printing

import stoic
from stoic.causes.clusterings import CLUSTERINGS
from stoic.causes.grid import Outcome, crossed
from stoic.causes.pipeline import Clusters, Pipeline
from stoic.causes.reductions import REDUCTIONS
from stoic.causes.scores import PURE, baseline
from stoic.causes.scores.truth import Truth
from stoic.explaining import ELEVEN, compare, extractors
from stoic.explaining.judging import judge

__all__ = ["Row", "main", "recorded", "rows_of"]

_COLUMNS = ("purity", "coverage", "information", "noise", "clusters")

Row = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid on every seed, and print what was chosen and how well it did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", default="signs")
    parser.add_argument("--failures", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--extractors", nargs="+", help="of the eleven and more")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--record", type=Path, help="file of rows, gone on from")
    parser.add_argument("--kept", type=Path, help="folder of stages")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(arguments)
    known = extractors()
    names = options.extractors or list(known)[:ELEVEN]
    pipelines = crossed([known[name] for name in names], REDUCTIONS, CLUSTERINGS)
    rows = recorded(options.record)
    for seed in options.seeds:
        rows += _run(options, pipelines, seed, rows)
    names = {each.name for each in pipelines}
    wanted = [
        row
        for row in rows
        if row["pipeline"] in names
        and any(_about(options, seed).items() <= row.items() for seed in options.seeds)
    ]
    text = "\n\n".join(_tables(wanted, options.seeds))
    printing.show({"rows": wanted}, text, as_json=options.json)
    return 0


def recorded(path: Path | None) -> list[Row]:
    """Return the rows that ``--record`` has written; none if there is no file."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _about(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What rows have in common that one call makes."""
    return {"case": options.case, "failures": options.failures, "seed": seed}


def _run(
    options: argparse.Namespace,
    pipelines: Sequence[Pipeline],
    seed: int,
    known_rows: Sequence[Row],
) -> list[Row]:
    about = _about(options, seed)
    done = {row["pipeline"] for row in known_rows if about.items() <= row.items()}
    left = [each for each in pipelines if each.name not in done]
    if not left:
        return []
    inquiry = stoic.failing(options.case, options.failures, seed)
    begun, before = time.monotonic(), time.process_time()
    outcomes = compare(
        inquiry,
        left,
        seed=seed,
        folder=options.kept,
        processes=options.processes,
    )
    known = inquiry.failures.scenarios
    assert known is not None
    rows: list[Row] = [about | row for row in rows_of(outcomes, known)]
    seconds, own = time.monotonic() - begun, time.process_time() - before
    printing.say(
        f"{about}: {len(rows)} pipelines in {seconds:.1f} s, {own:.1f} s of processor"
    )
    if options.record:
        with options.record.open("a") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return rows


def rows_of(
    outcomes: Iterator[Outcome], known: np.ndarray[Any, Any]
) -> Iterator[dict[str, Any]]:
    """Yield purity, coverage and more of each pipeline; none of what has raised."""
    truth = Truth.of(known, parts=True)
    for outcome in outcomes:
        own, clusters = judge(outcome, truth).as_record(), outcome.clusters
        row: dict[str, Any] = {"pipeline": own["pipeline"]}
        if clusters is None:
            yield row | {"purity": 0.0, "coverage": 0.0, "problem": own["problem"]}
            continue
        row |= {name: own[name] for name in _COLUMNS} | _by_chance(clusters, known)
        yield row | {f"{name} regret": cost for name, cost in own["regret"].items()}


def _by_chance(clusters: Clusters, known: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the purity and coverage of random clusters of the same sizes."""
    random = baseline(clusters, known, parts=True).numbers
    means = {"purity": random["purity"], "coverage": random[f"coverage at {PURE:g}"]}
    return {f"random {name}": own.mean if own else 0.0 for name, own in means.items()}


def _tables(rows: Sequence[Row], seeds: Sequence[int]) -> Iterator[str]:
    half = len(seeds) // 2
    first, second = set(seeds[:half]), set(seeds[half:])
    of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of[row["pipeline"]].append(row)
    worth = {
        name: float(
            np.mean([r["purity"] * r["coverage"] for r in own if r["seed"] in first])
        )
        for name, own in of.items()
        if first
    }
    order = sorted(of, key=lambda name: -worth.get(name, 0.0))
    lines = [_line(name, of[name], second) for name in order]
    yield printing.table(list(lines[0]), [list(line.values()) for line in lines])
    best = [row for row in of[order[0]] if row["seed"] in second]
    yield (
        f"chosen on seeds {sorted(first)}: {order[0]}; on seeds {sorted(second)}: "
        + ", ".join(f"{name} {_mean(best, name)}" for name in ("purity", "coverage"))
    )


def _line(name: str, rows: Sequence[Row], seeds: set[int]) -> dict[str, str]:
    own = [row for row in rows if row["seed"] in seeds and "problem" not in row]
    columns = ("purity", "coverage", "information", "noise")
    line = {"pipeline": name, "seeds": str(len(own))}
    if not own:
        return line | dict.fromkeys((*columns, "clusters", "regret"), "-")
    line |= {column: _mean(own, column) for column in columns}
    line["clusters"] = f"{np.mean([row['clusters'] for row in own]):.0f}"
    regrets = (np.mean([r[f"{n} regret"] for r in own]) for n in ("purity", "coverage"))
    line["regret"] = ", ".join(f"{100 * each:.1f}" for each in regrets)
    return line


def _mean(rows: Sequence[Row], column: str) -> str:
    """Return the mean over seeds in percent, with its 95 % interval by Student's t."""
    from scipy.stats import t

    values = 100 * np.array([row[column] for row in rows])
    if len(values) < 2:
        return f"{values.mean():.1f}"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.1f} ± {half:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
