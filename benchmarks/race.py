"""Tools in turn on the same faults: rates by the block, and ratios with intervals.

Noise of the machine comes and goes over minutes. So every round lets each tool run a
block of the round's faults, and a ratio is formed of rounds, drawn again together.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from benchmarks.verdicts import Codes, digest
from benchmarks.workers import Runner

__all__ = ["Lap", "Race", "Ratio", "race"]

G = TypeVar("G")

_RESAMPLES = 4000


@dataclass(frozen=True)
class Lap:
    """One tool's block of one round."""

    faults: int
    seconds: float


@dataclass(frozen=True)
class Ratio:
    """How many times more faults per second one tool runs than another.

    Args:
        medians: Of the median rates of the rounds.
        low: Lower end of its 95 % bootstrap interval over rounds.
        high: Upper end.
        totals: Of all faults over all seconds.
    """

    medians: float
    low: float
    high: float
    totals: float

    def __str__(self) -> str:
        return f"{self.medians:.2f}x [{self.low:.2f}, {self.high:.2f}]"


@dataclass
class Race:
    """What the tools did.

    Args:
        setup_s: Seconds of preparation of each tool, with the first block of faults.
        laps: Blocks of each tool, one per round.
        codes: Outcomes by tool and number of the fault.
    """

    setup_s: dict[str, float]
    laps: dict[str, list[Lap]] = field(default_factory=dict)
    codes: dict[str, dict[int, Codes]] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """Return the median over rounds of faults per second."""
        return statistics.median(lap.faults / lap.seconds for lap in self.laps[name])

    def total_rate(self, name: str) -> float:
        """Return all faults over all seconds."""
        laps = self.laps[name]
        return sum(lap.faults for lap in laps) / sum(lap.seconds for lap in laps)

    def ratio(self, name: str, other: str) -> Ratio:
        """Compare two tools."""
        rates = [self._rates(tool) for tool in (name, other)]
        chance = np.random.default_rng(0)
        rounds = chance.integers(len(rates[0]), size=(_RESAMPLES, len(rates[0])))
        drawn = np.median(rates[0][rounds], 1) / np.median(rates[1][rounds], 1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Ratio(
            self.rate(name) / self.rate(other),
            float(low),
            float(high),
            self.total_rate(name) / self.total_rate(other),
        )

    def mismatches(self, name: str, reference: str) -> list[int]:
        """Return faults that both ran and that came out differently."""
        mine, right = self.codes[name], self.codes[reference]
        return [n for n in mine if n in right and not np.array_equal(mine[n], right[n])]

    def digests(self) -> dict[str, str]:
        """Return one digest per tool, of the faults that every tool ran."""
        shared = set.intersection(*(set(codes) for codes in self.codes.values()))
        return {n: digest(codes, sorted(shared)) for n, codes in self.codes.items()}

    def as_record(self, name: str) -> dict[str, Any]:
        """Return plain data about one tool."""
        return {
            "setup_s": self.setup_s[name],
            "faults": sum(lap.faults for lap in self.laps[name]),
            "faults_per_s": self.rate(name),
            "faults_per_s_total": self.total_rate(name),
            "blocks": [[lap.faults, lap.seconds] for lap in self.laps[name]],
        }

    def _rates(self, name: str) -> np.ndarray[Any, Any]:
        return np.array([lap.faults / lap.seconds for lap in self.laps[name]])


def race(
    tools: Sequence[Runner[G]],
    faults: Sequence[G],
    *,
    rounds: int,
    shares: Mapping[str, int],
    checks: Sequence[G] = (),
    seed: int = 0,
    block: int = 1,
) -> Race:
    """Let tools run the faults, round by round, each round in another order.

    Args:
        tools: Ready to run.
        faults: The list.
        checks: Faults that every tool runs first, untimed but for the first block of
            them: that counts as preparation, as tools do some of it when first used.
        rounds: How many parts it is cut into.
        shares: Faults per round of tools that do not run all; a random subset.
        seed: Of the subsets.
        block: Neighbours that a subset keeps together.
    """
    result = Race({tool.name: tool.setup_s for tool in tools})
    for tool in tools:
        _warm_up(result, tool, checks, len(faults), block)
    chance = random.Random(f"subset {seed}")
    for number in range(rounds):
        part = range(
            len(faults) * number // rounds, len(faults) * (number + 1) // rounds
        )
        shuffled = _shuffled(part, block, chance)
        turn = number % len(tools)
        for tool in (*tools[turn:], *tools[:turn]):
            chosen = sorted(shuffled[: shares.get(tool.name, len(part))])
            _lap(result, tool, faults, chosen)
        said = ", ".join(f"{t.name} {result.rate(t.name):.3g}/s" for t in tools)
        print(f"round {number + 1}/{rounds}: {said}", file=sys.stderr, flush=True)
    return result


def _warm_up(
    result: Race, tool: Runner[G], checks: Sequence[G], first: int, block: int
) -> None:
    codes, seconds = tool.lap(checks[:block])
    result.setup_s[tool.name] += seconds
    codes = codes + tool.lap(checks[block:])[0]
    result.codes[tool.name] = dict(enumerate(codes, first))
    print(f"warmed up {tool.name}", file=sys.stderr, flush=True)


def _shuffled(part: range, block: int, chance: random.Random) -> list[int]:
    blocks = [part[i : i + block] for i in range(0, len(part), block)]
    chance.shuffle(blocks)
    return [number for one in blocks for number in one]


def _lap(result: Race, tool: Runner[G], faults: Sequence[G], chosen: list[int]) -> None:
    mine = [faults[number] for number in chosen]
    codes, seconds = tool.lap(mine)
    result.laps.setdefault(tool.name, []).append(Lap(len(chosen), seconds))
    kept = result.codes.setdefault(tool.name, {})
    kept.update(zip(chosen, codes, strict=True))
