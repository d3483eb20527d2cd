"""What Attaoui et al. claim of 99 pipelines, one claim after another, on other cases.

Run it as ``python -m benchmarks.claims ROWS...`` on what ``benchmarks.causes --record``
has written, of several cases. A claim is that one group of pipelines is better than
another: the difference of their means over cases, and over seeds in each. It has two
intervals. That of the mixed model takes the case as random block and how a pipeline
does on a case as chance, independent from pipeline to pipeline: it holds of these
cases. Student's t over cases asks whether it would hold of others, and has as many
numbers as there are cases. A claim is confirmed if an interval lies above zero, refuted
if below, and else not shown. A pipeline that has raised has found nothing: its purity
and coverage are 0. With ``--extractors`` only pipelines of these are read.

Beside it stand A12 (how probably a run of the first group beats one of the second,
within a case) and, below, what each level of each stage adds by the mixed model, and
the share of the variance that each stage explains, over cases left out one by one.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import printing
from benchmarks.causes import Row, recorded
from benchmarks.paper_claims import CLAIMS, FACTORS, NAME, PUBLISHED, Claim, within
from numpy.typing import NDArray

from stoic.causes.effects import Mixed, Runs, explained, mixed_model
from stoic.causes.effects import a12 as effect_size

__all__ = ["judged", "main"]

SCORES = ("purity", "coverage")

Numbers = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read rows, and print what becomes of each claim."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="+", type=Path, help="files of benchmarks.causes")
    parser.add_argument("--extractors", nargs="+", help="only pipelines of these")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args(arguments)
    kept = {"extractor": options.extractors} if options.extractors else {}
    rows = [row for path in options.rows for row in recorded(path)]
    found = judged([row for row in rows if within(row["pipeline"], kept)])
    printing.show(found, _text(found), as_json=options.json)
    return 0


def judged(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what becomes of each claim, and what matters, as plain data.

    Raises:
        ValueError: There is one case only, or none has all pipelines of another.
    """
    of: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        of[row["case"], row["pipeline"]].append(row)
    cases = sorted({case for case, _ in of})
    pipelines = sorted({name for _, name in of})
    missing = [f"{n} of {c}" for c in cases for n in pipelines if (c, n) not in of]
    if len(cases) < 2 or missing:
        raise ValueError(
            "rows must be of at least 2 cases and have each pipeline in each, got "
            f"{', '.join(cases)} without {', '.join(missing[:3]) or 'anything'}"
        )
    models = {
        score: mixed_model(_runs(score, of, cases, pipelines)) for score in SCORES
    }
    return {
        "cases": {
            case: len({r["seed"] for r in rows if r["case"] == case}) for case in cases
        },
        "pipelines": len(pipelines),
        "published": list(_published(of, cases)) if NAME in pipelines else [],
        "claims": [
            _judged(claim, score, of, cases, pipelines, models[score])
            for claim in CLAIMS
            for score in SCORES
            if all(claim.split(pipelines))
        ],
        "ranks": {case: _rank(of, case, pipelines) for case in cases},
        "best elsewhere": [
            _elsewhere(score, of, cases, pipelines)
            for score in SCORES
            if NAME in pipelines
        ],
        "stages": {
            score: _stages(score, of, cases, pipelines, models[score])
            for score in SCORES
        },
    }


def _published(
    of: Mapping[tuple[str, str], Sequence[Row]], cases: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The paper's own numbers, beside those of the same pipeline here."""
    for score, claimed in PUBLISHED.items():
        values = np.array([_mean(of[case, NAME], score) for case in cases])
        low, high = _interval(values)
        missed = "exceeded" if low > claimed else "not reached"
        yield {
            "claim": f"{NAME}: {score} {claimed:.1%}",
            "score": score,
            "value": float(values.mean()),
            "low": low,
            "high": high,
            "verdict": "as there" if low <= claimed <= high else missed,
        }


def _rank(
    of: Mapping[tuple[str, str], Sequence[Row]], case: str, pipelines: Sequence[str]
) -> int | None:
    """The place of the paper's winner on a case, by purity times coverage."""
    if NAME not in pipelines:
        return None
    worth = {
        name: _mean(of[case, name], "purity") * _mean(of[case, name], "coverage")
        for name in pipelines
    }
    return 1 + sum(each > worth[NAME] for each in worth.values())


def _judged(
    claim: Claim,
    score: str,
    of: Mapping[tuple[str, str], Sequence[Row]],
    cases: Sequence[str],
    pipelines: Sequence[str],
    model: Mixed,
) -> dict[str, Any]:
    one, two = claim.split(pipelines)
    sides = [
        [
            np.array([r[score] for name in side for r in of[case, name]])
            for case in cases
        ]
        for side in (one, two)
    ]
    apart = np.array([a.mean() - b.mean() for a, b in zip(*sides, strict=True)])
    sizes = [effect_size(a, b) for a, b in zip(*sides, strict=True)]
    return {
        "claim": claim.text,
        "score": score,
        "pipelines": [len(one), len(two)],
        "a12": float(np.mean(sizes)),
        **_verdict(apart),
        "these cases": _contrast(float(apart.mean()), one, two, len(cases), model),
    }


def _contrast(
    value: float, one: Sequence[str], two: Sequence[str], cases: int, model: Mixed
) -> dict[str, Any]:
    """The interval of a difference between groups of pipelines, by the mixed model."""
    from scipy.stats import t

    each = model.components.together * (1 / len(one) + 1 / len(two)) / cases
    half = float(t.ppf(0.975, model.terms[0].free[1])) * math.sqrt(each)
    low, high = value - half, value + half
    return {"low": low, "high": high, "verdict": _word(low, high)}


def _elsewhere(
    score: str,
    of: Mapping[tuple[str, str], Sequence[Row]],
    cases: Sequence[str],
    pipelines: Sequence[str],
) -> dict[str, Any]:
    """The paper's winner less what is best on all other cases, on each case in turn.

    So neither of the two is chosen on what it is judged by.
    """
    worth = {
        (case, each): _mean(of[case, each], "purity")
        * _mean(of[case, each], "coverage")
        for case in cases
        for each in pipelines
    }
    apart, rivals = [], []
    for case in cases:
        rest = [other for other in cases if other != case]
        rival = max(
            (each for each in pipelines if each != NAME),
            key=lambda each: sum(worth[other, each] for other in rest),
        )
        rivals.append(rival)
        apart.append(_mean(of[case, NAME], score) - _mean(of[case, rival], score))
    return {
        "claim": f"{NAME} beats what is best on the other cases",
        "score": score,
        "rivals": dict(zip(cases, rivals, strict=True)),
        **_verdict(np.array(apart)),
    }


def _stages(
    score: str,
    of: Mapping[tuple[str, str], Sequence[Row]],
    cases: Sequence[str],
    pipelines: Sequence[str],
    model: Mixed,
) -> dict[str, Any]:
    """What each stage explains, and a mixed model with the case as block."""
    return {
        "explained": explained(_runs(score, of, cases, pipelines), ("case", *FACTORS)),
        "without one case": [
            explained(_runs(score, of, rest, pipelines), ("case", *FACTORS))
            for rest in ([c for c in cases if c != left] for left in cases)
            if len(rest) > 1
        ],
        "terms": [vars(term) for term in model.terms],
        "levels": [vars(level) for level in model.levels],
    }


def _runs(
    score: str,
    of: Mapping[tuple[str, str], Sequence[Row]],
    cases: Sequence[str],
    pipelines: Sequence[str],
) -> Runs:
    """One row for each case and pipeline: the mean over seeds."""
    cells = [(case, name) for case in cases for name in pipelines]
    parts = np.array([(case, *name.split(" + ")) for case, name in cells])
    return Runs(
        {name: parts[:, place] for place, name in enumerate(("case", *FACTORS))},
        np.array([_mean(of[cell], score) for cell in cells]),
    )


def _verdict(apart: Numbers) -> dict[str, Any]:
    low, high = _interval(apart)
    return {
        "value": float(apart.mean()),
        "low": low,
        "high": high,
        "by case": apart.tolist(),
        "verdict": _word(low, high),
    }


def _word(low: float, high: float) -> str:
    return "confirmed" if low > 0 else "refuted" if high < 0 else "not shown"


def _interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % interval of the mean by Student's t."""
    from scipy.stats import t

    error = values.std(ddof=1) / math.sqrt(len(values))
    half = float(t.ppf(0.975, len(values) - 1) * error)
    return float(values.mean()) - half, float(values.mean()) + half


def _mean(rows: Sequence[Row], score: str) -> float:
    return float(np.mean([row[score] for row in rows]))


def _text(found: Mapping[str, Any]) -> str:
    seeds = ", ".join(f"{case} ({n} seeds)" for case, n in found["cases"].items())
    heads = (
        "claim",
        "of",
        "difference",
        "these cases",
        "",
        "A12",
        "cases like these",
        "",
    )
    numbers = [_number(each) for each in found["published"]]
    claims = [_row(each) for each in (*found["claims"], *found["best elsewhere"])]
    parts = [
        f"{found['pipelines']} pipelines on {seeds}",
        printing.table(("number", "here", "95 %, over cases", ""), numbers),
        f"place of {NAME} by purity x coverage: "
        + ", ".join(f"{rank} on {case}" for case, rank in found["ranks"].items()),
        printing.table(heads, claims),
    ]
    for score, stages in found["stages"].items():
        parts += [f"variance of {score}", _explained(stages), _levels(stages)]
    return "\n\n".join(parts)


def _number(each: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = (f"{100 * each[end]:.1f}" for end in ("low", "high"))
    value = f"{100 * each['value']:.1f}"
    return each["claim"], value, f"{low} to {high}", each["verdict"]


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    these = each.get("these cases")
    return (
        each["claim"],
        each["score"],
        f"{100 * each['value']:+.1f}",
        _span(these) if these else "-",
        these["verdict"] if these else "-",
        f"{each['a12']:.2f}" if "a12" in each else "-",
        _span(each),
        each["verdict"],
    )


def _span(each: Mapping[str, Any]) -> str:
    return f"{100 * each['low']:+.1f} to {100 * each['high']:+.1f}"


def _explained(stages: Mapping[str, Any]) -> str:
    chances = {term["name"]: term["p"] for term in stages["terms"]}
    rows = []
    for name, share in sorted(stages["explained"].items(), key=lambda own: -own[1]):
        others = [each[name] for each in stages["without one case"]] or [share]
        p = f"{chances[name]:.2g}" if name in chances else "-"
        span = f"{min(others):.1%} to {max(others):.1%}"
        rows.append((name, f"{share:.1%}", span, p))
    return printing.table(("stage", "explains", "without one case", "p"), rows)


def _levels(stages: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{each['factor']}: {each['level']}",
            f"{100 * each['effect']:+.1f}",
            f"{100 * each['low']:+.1f} to {100 * each['high']:+.1f}",
        )
        for each in stages["levels"]
    ]
    return printing.table(("level", "adds points", "95 %, mixed model"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
