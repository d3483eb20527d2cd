"""How many scenes fail of each cause, and for how many failures the cause is known.

``python -m benchmarks.failures --case signs`` prints the counts of docs/cases.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch

from stoic.cases.afflicted.search import PAIRS, Found
from stoic.causes.failures import UNKNOWN
from stoic.cli.output import aligned

__all__ = ["main", "rows", "summary"]


def _signs(count: int, seed: int) -> Found:
    from stoic.cases.signs.failing import signs_failing

    return signs_failing(count, seed)


def _gaze(count: int, seed: int) -> Found:
    from stoic.cases.gaze.failing import gaze_failing

    return gaze_failing(count, seed)


def _fashion(name: str, count: int, seed: int) -> Found:
    from stoic.cases.fashion.failing import fashion_failing

    return fashion_failing(name, count, seed)


CASES: dict[str, Callable[[int, int], Found]] = {
    "signs": _signs,
    "gaze": _gaze,
    **{
        name: partial(_fashion, name)
        for name in ("fashion", "fashion-vgg", "fashion-alexnet")
    },
}


def rows(found: Found) -> list[dict[str, str]]:
    """Return what came of each kind of scenes."""
    return [
        {
            "given": each.kind,
            "scenes looked at": f"{each.scenes:,}",
            "failures": f"{each.failures:,}",
        }
        for each in found.tried
    ]


def summary(found: Found) -> str:
    """Return in words what failures are due to."""
    known = found.inquiry.failures.scenarios
    assert known is not None
    counts = Counter(known.tolist())
    several = {name: count for name, count in counts.items() if "+" in name}
    pairs = sum(each.failures for each in found.tried if each.kind == PAIRS)
    return (
        f"{len(known):,} failures, {counts[UNKNOWN]} of no known cause; of {pairs} "
        f"with two causes {sum(several.values())} are due to both, in {len(several)} "
        "combinations"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Find failures, and print how many there are of what."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failures")
    parser.add_argument("--case", choices=CASES, default="signs")
    parser.add_argument("--failures", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = CASES[asked.case](asked.failures, asked.seed)
    print(f"{aligned(rows(found))}\n\n{summary(found)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
