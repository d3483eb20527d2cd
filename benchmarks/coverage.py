"""How often the intervals of adaptive campaigns miss, where the truth is known.

Run it as ``python -m benchmarks.coverage``. No network runs: thousands of campaigns are
replayed on populations whose every unit has been tried. A row tells of one population,
interval and half width; ``never missed`` also counts a truth that was outside of the
interval after an earlier batch. Bias is in standard errors of its own estimate.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import printing
from benchmarks.truths import SOURCES, Network, Truth, kept, load
from numpy.typing import NDArray
from scipy.special import betaincinv

from stoic.estimates.course import Course
from stoic.plans import Adaptive

__all__ = ["drawing", "limit", "main", "replayed"]

_TARGETS: dict[str, tuple[float, ...]] = {
    "digits": (0.001, 0.0005, 0.0002),
    "digits unproved": (0.002, 0.001),
    "digits by 8": (0.001, 0.0005),
    "digits activations": (0.004, 0.002),
    "signs end": (0.002, 0.001),
    "misled": (0.004, 0.002),
    "tiny": (0.001,),
    "rare": (0.001,),
    "sure": (0.004, 0.002),
    "fractional": (0.008, 0.004),
    "small": (0.01, 0.005),
}
# What the lower 99 % limit of the coverage must reach, and how large a bias may seem.
_LEAST = {"guaranteed": 0.945, "approximate": 0.93}
_BIAS = 3.0
_CHUNK = 20
# Limits are found by halving.
_CLOSE = 1e-9
# Estimates in the record: bins of what they are off by, in half widths asked for.
_BINS = np.linspace(-2, 2, 42)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; exit 1 unless coverage is shown and no estimate is off."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in _rows(options, options.cache or Path(folder)):
            rows.append(row)
            printing.say(_table([row]).splitlines()[-1])
            if options.plot:
                options.plot.write_text(drawing(rows))
    record = {"benchmark": "coverage", "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return 1 if any(row["wrong"] for row in rows) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.coverage", description=__doc__
    )
    parser.add_argument("--campaigns", type=int, default=10_000, help="of each row")
    parser.add_argument("--peeks", type=int, default=2000, help="of these, peeked at")
    parser.add_argument(
        "--populations", nargs="+", choices=SOURCES, default=[*SOURCES], metavar="NAME"
    )
    parser.add_argument("--kinds", nargs="+", choices=_LEAST, default=[*_LEAST])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="folder that keeps truths")
    parser.add_argument("--record", type=Path, help="keeps rows; go on from there")
    parser.add_argument("--plot", type=Path, help="SVG file")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    options.targets = _TARGETS
    if options.quick:
        options.populations, options.campaigns = ["misled", "fractional"], 30
        options.targets = {name: _TARGETS[name][:1] for name in options.populations}
    return options


def _rows(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows as soon as they are there, those of the record without any work."""
    record: Path | None = options.record
    lines = record.read_text().splitlines() if record and record.exists() else []
    done = {tuple(row["asked"]): row for row in map(json.loads, lines)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.populations:
        for kind in options.kinds:
            for target in options.targets[name]:
                asked = (name, kind, target, options.campaigns, options.seed)
                if asked in done:
                    yield done[asked]
                    continue
                row = {"asked": asked, **_row(options, folder, name, kind, target)}
                if record:
                    with record.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                yield row


def _row(
    options: argparse.Namespace, folder: Path, name: str, kind: str, target: float
) -> dict[str, Any]:
    path = kept(name, folder)
    plan = Adaptive(target, guaranteed=kind == "guaranteed")
    peeked = min(options.peeks, options.campaigns) if plan.guaranteed else 0
    first, last = options.seed, options.seed + options.campaigns
    some = partial(_some, path, plan, range(first, first + peeked))
    parts = [range(s, min(s + _CHUNK, last)) for s in range(first, last, _CHUNK)]
    if options.processes == 1:
        chunks = list(map(some, parts))
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.processes) as pool:
            chunks = pool.map(some, parts, chunksize=1)
    found = np.concatenate(chunks)
    row = {"population": name, "kind": kind, "target": target}
    row |= _summary(found, _truth(path).mean, target, peeked)
    judged = plan.guaranteed or isinstance(SOURCES[name], Network)
    row["judged"] = judged and not options.quick
    return {**row, "wrong": _wrong(row, _LEAST[kind]) if row["judged"] else []}


@lru_cache(maxsize=1)
def _truth(path: Path) -> Truth:
    return load(path)


def _some(
    path: Path, plan: Adaptive, peeked: range, seeds: range
) -> NDArray[np.float64]:
    """Replay campaigns: trials, value, limits, whether it ever missed, seconds."""
    truth, rows = _truth(path), []
    for seed in seeds:
        begun = time.process_time()
        row = replayed(truth, plan, seed, peek=seed in peeked)
        rows.append((*row, time.process_time() - begun))
    return np.array(rows)


def replayed(
    truth: Truth, plan: Adaptive, seed: int, *, peek: bool
) -> tuple[int, float, float, float, bool]:
    """Replay a campaign; return its trials, value, limits, and if it ever missed.

    Args:
        truth: What comes of trials.
        plan: What is wanted.
        seed: Of the campaign.
        peek: Whether to look at the interval after each batch, not only at the end.
    """
    course, missed = Course(plan, truth.strata, truth.known, seed), False
    while (batch := course.batch()) is not None:
        shares = truth.shares(batch)
        course.learn(shares, shares)
        if peek:
            seen = course.estimate(guaranteed=plan.guaranteed)
            missed |= not seen.low - _CLOSE <= truth.mean <= seen.high + _CLOSE
    found = course.estimate(guaranteed=plan.guaranteed)
    return found.n, found.value, found.low, found.high, missed


def _summary(
    found: NDArray[np.float64], truth: float, target: float, peeked: int
) -> dict[str, Any]:
    trials, value, low, high, missed, seconds = found.T
    count = len(found)
    above, below = (low - _CLOSE > truth).sum(), (high + _CLOSE < truth).sum()
    spread = float(value.std(ddof=1)) if count > 1 else 0.0
    covered, kept = count - int(above + below), peeked - int(missed[:peeked].sum())
    off = np.clip((value - truth) / target, _BINS[0], _BINS[-1])
    return {
        "truth": truth,
        "campaigns": count,
        "trials": float(np.median(trials)),
        "trials_90": float(np.quantile(trials, 0.9)),
        "coverage": covered / count,
        "coverage_99": [limit(covered, count, 0.01), limit(covered, count, 0.99)],
        "interval_above": int(above),
        "interval_below": int(below),
        "peeked": peeked,
        "never_missed": kept / peeked if peeked else None,
        "never_missed_99": limit(kept, peeked, 0.01) if peeked else None,
        "bias": float(value.mean() - truth),
        "bias_se": float(value.mean() - truth) / max(spread / count**0.5, 1e-300),
        "standard_error": spread,
        "half_width": float((high - low).mean() / 2),
        "cpu_s": float(seconds.mean()),
        "estimates": np.histogram(off, _BINS)[0].tolist(),
    }


def limit(count: int, of: int, level: float) -> float:
    """Return a limit of a probability, by Clopper and Pearson.

    Args:
        count: How often it happened.
        of: Out of so many times.
        level: Below a half for a lower limit that errs so often, above for an upper.
    """
    up = level > 0.5
    if count == (of if up else 0):
        return float(up)
    return float(betaincinv(count + up, of - count + (not up), level))


def _wrong(row: dict[str, Any], least: float) -> list[str]:
    """Name what is not as it should be."""
    checks = {
        "coverage": row["coverage_99"][0] >= least,
        "peeking": row["peeked"] == 0 or row["never_missed_99"] >= least,
        "bias": abs(row["bias_se"]) <= _BIAS,
    }
    return [name for name, right in checks.items() if not right]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    heads = "population,interval,±,campaigns,trials,90 %,coverage,at least"
    heads += ",never missed,at least,bias,of ±,std. error,half width,CPU ms,target"
    cells = [
        [
            *(row[name] for name in ("population", "kind", "target", "campaigns")),
            *(f"{row[name]:.0f}" for name in ("trials", "trials_90")),
            *(f"{row['coverage']:.4f}", f"{row['coverage_99'][0]:.4f}"),
            *(_share(row[name]) for name in ("never_missed", "never_missed_99")),
            *(f"{row['bias_se']:+.1f}", f"{row['bias'] / row['target']:+.3f}"),
            *(f"{row[name]:.2g}" for name in ("standard_error", "half_width")),
            f"{1000 * row['cpu_s']:.0f}",
            _verdict(row),
        ]
        for row in rows
    ]
    return printing.table(heads.split(","), cells)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _verdict(row: dict[str, Any]) -> str:
    if not row["judged"]:
        return "not judged"
    return "not met: " + ", ".join(row["wrong"]) if row["wrong"] else "met"


def _text(rows: Sequence[dict[str, Any]]) -> str:
    return f"{_table(rows)}\n\nAt least: lower 99 % limits of shares of campaigns."


_LINE, _LEFT, _AXIS, _STRIP = 22, 290, 260, 260
_COLORS = {"guaranteed": "#1f5fa8", "approximate": "#b3541e"}


def drawing(rows: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of coverages, and of what estimates are off by."""
    low = min([0.9, *(row["coverage_99"][0] for row in rows)]) - 0.005
    bottom = 34 + _LINE * len(rows)
    width = _LEFT + _AXIS + 30 + _STRIP + 10

    def at(coverage: float) -> float:
        return float(_LEFT + _AXIS * (coverage - low) / (1 - low))

    middle = _LEFT + _AXIS + 30 + _STRIP / 2
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
        f'font-size="12" width="{width}" height="{bottom + 24}">'
        '<rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{at(0.95):.1f} 26V{bottom}M{middle:.1f} 26V{bottom}" stroke="gray"'
        ' stroke-dasharray="3"/>',
        _label(_LEFT + _AXIS / 2, 16, "coverage, with 99 % limits to either side"),
        _label(middle, 16, "estimate less truth, from -2 to 2 half widths asked for"),
        *(_label(at(x), bottom + 16, f"{x:g}") for x in (0.9, 0.95, 1.0)),
    ]
    for number, row in enumerate(rows):
        y = 34 + _LINE * number + _LINE / 2
        first, last = map(at, row["coverage_99"])
        color = _COLORS[row["kind"]]
        name = f"{row['population']}, {row['kind']}, ± {row['target']:g}"
        parts += [
            _label(4, y + 4, name, "start"),
            f'<path d="M{first:.1f} {y}H{last:.1f}" stroke="{color}" stroke-width="2"/>'
            f'<circle cx="{at(row["coverage"]):.1f}" cy="{y}" r="3.5" fill="{color}"/>',
            *_bars(row["estimates"], middle - _STRIP / 2, y + _LINE / 2 - 2, color),
        ]
    return "\n".join([*parts, "</svg>\n"])


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _bars(counts: Sequence[int], x: float, bottom: float, color: str) -> Iterator[str]:
    wide, most = _STRIP / len(counts), max(counts)
    for number, count in enumerate(counts):
        if count:
            high = (_LINE - 4) * count / most
            yield (
                f'<rect x="{x + wide * number:.1f}" y="{bottom - high:.1f}" '
                f'width="{wide:.1f}" height="{high:.1f}" fill="{color}"/>'
            )


if __name__ == "__main__":
    raise SystemExit(main())
