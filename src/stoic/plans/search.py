"""A search: what an adaptive plan has learnt so far, and the batch that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stoic.plans.allocation import Allocation, Goal, allocate, deviations
from stoic.plans.contract import Draw, Stratum
from stoic.plans.drawing import Node, Urn, roots
from stoic.plans.steps import Floats, Known, Steps, check_partition

__all__ = ["Batch", "Search"]

# Trials of a stratum before it may be split, and the least gain of a split.
_SPLIT_AFTER = 24
_SPLIT_GAIN = 0.01
_STRATA = 400
# Of the trials that are expected to be left, those of the next batch.
_NEXT = 0.4
_SMALLEST = 64
# The last batch is not to be smaller than such a part of all trials.
_ENOUGH = 0.1
_TRUST = 1.3
# Failures, hints among them, below which a stratum counts as one without any.
_QUIET = 0.05


@dataclass(frozen=True)
class Batch:
    """Trials that are drawn before anything is known of each other.

    Args:
        draws: Their units.
        steps: What was known before each.
        last: Whether the plan expects to be done with it.
    """

    draws: tuple[Draw, ...]
    steps: Steps
    last: bool


class Search:
    """Batches of an adaptive plan, each drawn where the former ones say it tells most.

    A pure function of the strata, the seed and the shares that it is told.

    Args:
        strata: At most a hundred or so, with parts into which they may be split.
        known: What is proved of the population.
        goal: From an estimate so far to what the final one shall be like.
        seed: Of all draws.
        pilot: Trials of the first batch, which only shows where to look.
        most: Trials at most.
    """

    def __init__(
        self,
        strata: Sequence[Stratum],
        known: Known,
        goal: Callable[[float], Goal],
        *,
        seed: int,
        pilot: int,
        most: int,
    ) -> None:
        self.known, self._goal = known, goal
        self._pilot, self._most = pilot, most
        self._leaves = [leaf for stratum in strata for leaf in stratum.leaves()]
        check_partition(self._leaves, known)
        self._nodes = roots(strata)
        self._urn = Urn(self._leaves, seed)
        self._count, self._total, self._squares = np.zeros((3, len(self._leaves)))
        self._trials = 0
        self._spent = 0.0
        self._number = 0
        self._asked: Batch | None = None
        self.expected = pilot

    @property
    def names(self) -> list[str]:
        """Names of the smallest strata, by index."""
        return [leaf.name for leaf in self._leaves]

    def batch(self, reached: float = math.inf) -> Batch | None:
        """Draw the next batch; nothing is left of the plan where it returns nothing.

        The shares of the former batch must have been learnt.

        Args:
            reached: Half the width of the interval so far.
        """
        room = min(self._most - self._trials, int(self._urn.left.sum()))
        if room < 1:
            return None
        self._split()
        plan, share, size, last = self._planned(room, reached)
        draws, steps = self._drawn(plan, size, share)
        self._spent += share
        self._asked = Batch(draws, steps, last)
        self._trials += len(draws)
        self._number += 1
        return self._asked

    def learn(self, shares: Floats) -> None:
        """Take what came of the batch: the share of failed inputs of each trial."""
        assert self._asked is not None
        leaf = self._asked.steps.stratum
        self._count += np.bincount(leaf, minlength=len(self._leaves))
        self._total += np.bincount(leaf, shares, len(self._leaves))
        self._squares += np.bincount(leaf, shares**2, len(self._leaves))

    def _sums(self, values: Floats) -> Floats:
        """Return the sum over the leaves of each stratum."""
        return np.add.reduceat(values, [node.start for node in self._nodes])

    def _planned(
        self, room: int, reached: float
    ) -> tuple[Allocation, float, int, bool]:
        """Return how to spread the next batch, its weight, size, and if it is the last.

        All weight that is left goes to the last batch, before it is drawn: then the
        estimate is fair although the number of trials depends on outcomes.
        """
        weights = self._sums(self._urn.left) / self.known.size
        if not self._number:
            even = np.where(weights > 0, 1.0, 0.0)
            chances = (even / even.sum() + weights / weights.sum()) / 2
            first = Allocation(chances, 0.0, 0.0)
            return first, 0.0, min(self._pilot, room), False
        count, total, squares = map(
            self._sums, (self._count, self._total, self._squares)
        )
        hint = np.array([node.stratum.hint for node in self._nodes])
        spreads = deviations(count, total, squares, hint)
        goal = self._goal(self._estimate(weights, count, total, hint))
        plan = allocate(weights, spreads, total + hint < _QUIET, goal)
        self.expected = min(int(plan.trials) + self._pilot, self._most)
        share, size, last = self._portion(plan.trials, goal, reached)
        size = min(size, room)
        if size == room and not last:
            share, last = 1 - self._spent, True
        return plan, share, size, last

    def _portion(
        self, trials: float, goal: Goal, reached: float
    ) -> tuple[float, int, bool]:
        """Return weight and size of the next batch, and whether it is the last."""
        done = self._trials - self._pilot
        if self._spent >= 1:
            # It was not: as many more as the width that was reached asks for.
            more = min(max((reached / goal.half_width) ** 2 - 1, 0.05), 1.0)
            return more * self._spent, max(int(more * done), _SMALLEST), True
        # Two guesses: by the variance that is expected, by the width that was reached,
        # which a single failure can blow up early on.
        if math.isfinite(reached):
            seen = done * (reached / goal.half_width) ** 2
            trials = max(trials, min(seen, _TRUST * trials))
        least = max(_SMALLEST, int(_ENOUGH * trials))
        left = max(int(trials) - done, least)
        if left <= 2 * least:
            return 1 - self._spent, left, True
        size = int(_NEXT * left)
        return (1 - self._spent) * size / left, size, False

    def _estimate(
        self, weights: Floats, count: Floats, total: Floats, hint: Floats
    ) -> float:
        """Return about how often units fail, for planning."""
        left = float(weights @ ((total + hint) / (count + 1)))
        return left + (self.known.failed + float(total.sum())) / self.known.size

    def _split(self) -> None:
        """Replace strata by their parts where that lets fewer trials do."""
        each = self._active(self._nodes)
        least = _SPLIT_GAIN * each.sum()
        counts = self._sums(self._count)
        found: list[Node] = []
        for node, active, count in zip(self._nodes, each, counts, strict=True):
            room = len(found) + len(node.stratum.parts) < _STRATA
            if node.stratum.parts and room and count >= _SPLIT_AFTER:
                parts = list(node.parts())
                if active - self._active(parts).sum() > least:
                    found += parts
                    continue
            found.append(node)
        self._nodes = found

    def _active(self, nodes: Sequence[Node]) -> Floats:
        """Return size times standard deviation of strata that follow each other."""
        starts, stop = [node.start for node in nodes], nodes[-1].stop
        count, total, squares, left = (
            np.add.reduceat(values[:stop], starts)
            for values in (self._count, self._total, self._squares, self._urn.left)
        )
        hint = np.array([node.stratum.hint for node in nodes])
        return np.asarray(left * deviations(count, total, squares, hint))

    def _drawn(
        self, plan: Allocation, size: int, share: float
    ) -> tuple[tuple[Draw, ...], Steps]:
        left = self._sums(self._urn.left)
        guess, part = self._guesses(), left / self.known.size
        odds = np.where(left > 0, plan.chances, 0.0)
        odds /= odds.sum()
        scale = np.divide(part, odds, out=np.zeros_like(part), where=odds > 0)
        drawn = self._urn.drawn(self._nodes, odds, size)
        nodes, leaves, totals = map(np.array, zip(*drawn, strict=True))
        draws = [
            Draw(self._trials + number, leaf, self._urn.unit(leaf))
            for number, (_, leaf, _) in enumerate(drawn)
        ]
        gone = np.cumsum(guess[nodes]) - guess[nodes]
        base = float(part @ guess) - gone / self.known.size
        factor = (left[nodes] - _ranks(nodes)) / self.known.size * totals / odds[nodes]
        n = len(draws)
        steps = Steps(
            stratum=leaves,
            base=base,
            scale=factor,
            guess=guess[nodes],
            # Scales only fall while the batch is drawn.
            top=base + float((scale * (1 - guess)).max()),
            bottom=base - float((scale * guess).max()),
            widest=np.full(n, float(scale.max())),
            stake=np.full(n, plan.stake),
            weight=np.full(n, share / n),
            batch=np.full(n, self._number),
        )
        return tuple(draws), steps

    def _guesses(self) -> Floats:
        """Return the expected share of each stratum."""
        count, total = self._sums(self._count), self._sums(self._total)
        return np.asarray(total / np.maximum(count, 1))


def _ranks(nodes: np.ndarray) -> np.ndarray:
    """Return how often each entry has stood before it."""
    order = np.argsort(nodes, kind="stable")
    starts = np.searchsorted(nodes[order], nodes[order])
    ranks = np.empty_like(nodes)
    ranks[order] = np.arange(len(nodes)) - starts
    return ranks
