"""Drawing without replacement: strata by their odds, and the units left in them."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stoic.plans.contract import Stratum
from stoic.plans.shuffled import below, shuffled
from stoic.plans.steps import Floats

__all__ = ["Node", "Urn", "roots"]

# Raw bits of a chance between 0 and 1.
_BITS = 53


@dataclass(frozen=True)
class Node:
    """A stratum and the range of its leaves.

    Args:
        stratum: Of which there may be parts.
        start: Index of its first leaf.
        stop: Index after its last one.
    """

    stratum: Stratum
    start: int
    stop: int

    def parts(self) -> Iterator[Node]:
        """Yield the parts of the stratum."""
        start = self.start
        for part in self.stratum.parts:
            stop = start + part.breadth
            yield Node(part, start, stop)
            start = stop


class Urn:
    """The units of all leaves that have not been drawn yet.

    Args:
        leaves: The smallest strata.
        seed: Of all draws.
    """

    def __init__(self, leaves: Sequence[Stratum], seed: int) -> None:
        self.left = np.array([float(leaf.size) for leaf in leaves])
        self._leaves = leaves
        self._bits = random.Random(f"search {seed}").getrandbits
        self._seed = seed
        self._units: dict[int, Iterator[int]] = {}

    def drawn(
        self, nodes: Sequence[Node], odds: Floats, size: int
    ) -> list[tuple[int, int, float]]:
        """Draw some units; return node and leaf of each, and all odds before it.

        Args:
            nodes: To draw from; they follow each other.
            odds: Of each node; none where nothing is left.
            size: How many units, or as many as are left.
        """
        left = np.add.reduceat(self.left, [node.start for node in nodes])
        spots = self._spots(nodes, odds.tolist(), left.tolist())
        return list(itertools.islice(spots, size))

    def unit(self, leaf: int) -> int:
        """Return another unit of a leaf, each as likely as all that are left."""
        if leaf not in self._units:
            bits = random.Random(f"units {self._seed} {leaf}").getrandbits
            size = self._leaves[leaf].size
            self._units[leaf] = shuffled(size, size, bits)
        return next(self._units[leaf])

    def _spots(
        self, nodes: Sequence[Node], odds: list[float], left: list[float]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield node and leaf of each draw, and the sum of all nodes' odds before it.

        Args:
            nodes: To draw from.
            odds: Of each; none where nothing is left.
            left: Units of each.
        """
        cumulated = list(itertools.accumulate(odds))
        pickers: dict[int, Callable[[], int]] = {}
        while cumulated[-1] > 0:
            total = cumulated[-1]
            spot = self._bits(_BITS) / (1 << _BITS) * total
            at = min(bisect.bisect_right(cumulated, spot), len(odds) - 1)
            if at not in pickers:
                pickers[at] = self._picker(nodes[at])
            leaf = pickers[at]()
            self.left[leaf] -= 1
            left[at] -= 1
            if left[at] <= 0:
                # Nothing is left here: the others are drawn with what it had.
                odds[at] = 0.0
                cumulated = list(itertools.accumulate(odds))
            yield at, leaf, total

    def _picker(self, node: Node) -> Callable[[], int]:
        """Return a draw of a leaf, by the units that are left in each."""
        if node.stop == node.start + 1:
            return lambda: node.start
        first = [int(left) for left in self.left[node.start : node.stop]]
        cumulated = list(itertools.accumulate(first))

        def pick() -> int:
            while True:
                spot = below(cumulated[-1], self._bits)
                at = bisect.bisect_right(cumulated, spot)
                # As many of the numbers are void as units have been drawn since.
                if cumulated[at] - spot <= self.left[node.start + at]:
                    return node.start + at

        return pick


def roots(strata: Sequence[Stratum]) -> list[Node]:
    """Return strata with the ranges of their leaves."""
    nodes, start = [], 0
    for stratum in strata:
        stop = start + stratum.breadth
        nodes.append(Node(stratum, start, stop))
        start = stop
    return nodes
