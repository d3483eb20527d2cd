"""Rules: a decision tree over markers, in the markers' own units.

A fork asks whether one marker lies within a span; what is no number never does. So a
tree needs nothing but comparisons of float32 numbers, and a person can read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Bounds, Floats
from stoic.records.numerals import numeral

__all__ = ["REGULAR", "Fork", "Leaf", "Node", "Rules", "fitted", "span_text"]

REGULAR = "regular"


@dataclass(frozen=True)
class Leaf:
    """Where a tree ends.

    Args:
        shares: Of each class among the weighted training rows that ended here.
        rows: How many these were.
    """

    shares: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class Fork:
    """A question about one feature.

    Args:
        feature: Its index.
        low: Least value of the span.
        high: Largest.
        inside: What follows where the feature lies in the span.
        outside: What follows where it does not, or is no number.
    """

    feature: int
    low: float
    high: float
    inside: Node
    outside: Node


Node: TypeAlias = Leaf | Fork


@dataclass(frozen=True, eq=False)
class Rules:
    """A decision tree.

    Args:
        classes: What a verdict may be; the first is that nothing is wrong.
        features: Names of the features.
        root: Of the tree.
    """

    classes: tuple[str, ...]
    features: tuple[str, ...]
    root: Node

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves, those inside of a fork before those outside."""
        return tuple(node for node in _walk(self.root) if isinstance(node, Leaf))

    @cached_property
    def forks(self) -> tuple[Fork, ...]:
        """All forks, each before those that follow it."""
        return tuple(node for node in _walk(self.root) if isinstance(node, Fork))

    @cached_property
    def paths(self) -> NDArray[np.int8]:
        """What leads to each leaf, of shape ``(forks, leaves)``.

        1 where the answer must be outside, -1 where it must be inside, else 0.
        """
        paths = np.zeros((len(self.forks), len(self.leaves)), np.int8)
        for fork, first, middle, last in _spans(self.root):
            paths[fork, first:middle], paths[fork, middle:last] = -1, 1
        return paths

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class of each leaf: the one with the largest share."""
        return np.array([np.argmax(leaf.shares) for leaf in self.leaves], np.int64)

    def over(self, features: tuple[str, ...]) -> Rules:
        """Return the same rules, where there are more features or another order."""
        place = [features.index(name) for name in self.features]

        def moved(node: Node) -> Node:
            if isinstance(node, Leaf):
                return node
            inside, outside = moved(node.inside), moved(node.outside)
            feature = place[node.feature]
            return replace(node, feature=feature, inside=inside, outside=outside)

        return Rules(self.classes, features, moved(self.root))

    def leaf_of(self, features: Floats) -> NDArray[np.int64]:
        """Return the number of the leaf that each row ends in.

        Args:
            features: Of shape ``(rows, features)``.
        """
        rows = np.arange(len(features))
        found = np.zeros(len(features), np.int64)
        todo: list[tuple[Node, NDArray[np.int64]]] = [(self.root, rows)]
        number = 0
        while todo:
            node, here = todo.pop()
            if isinstance(node, Leaf):
                found[here] = number
                number += 1
                continue
            values = features[here, node.feature]
            inside = (values >= node.low) & (values <= node.high)
            todo += [(node.outside, here[~inside]), (node.inside, here[inside])]
        return found

    def lines(self) -> Iterator[str]:
        """Yield the tree as indented lines that a person can read."""
        yield from self._lines(self.root, "")

    def _lines(self, node: Node, indent: str) -> Iterator[str]:
        if isinstance(node, Leaf):
            best = int(np.argmax(node.shares))
            share = f" ({100 * node.shares[best]:.3g} % of {node.rows} rows)"
            # A rule that was not learnt rests on no rows.
            yield f"{indent}{self.classes[best]}{share if node.rows else ''}"
            return
        name = self.features[node.feature]
        yield f"{indent}if {name} is {span_text(node.low, node.high)}:"
        yield from self._lines(node.inside, f"{indent}  ")
        yield f"{indent}else:"
        yield from self._lines(node.outside, f"{indent}  ")

    def as_record(self) -> dict[str, Any]:
        """Return plain data that a person can read, and `Rules.of_record`."""
        return {
            "classes": list(self.classes),
            "features": list(self.features),
            "tree": self._recorded(self.root),
        }

    def _recorded(self, node: Node) -> dict[str, Any]:
        if isinstance(node, Leaf):
            return {"shares": list(node.shares), "rows": node.rows}
        return {
            "feature": self.features[node.feature],
            "from": _written(node.low),
            "to": _written(node.high),
            "inside": self._recorded(node.inside),
            "outside": self._recorded(node.outside),
        }

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Rules:
        """Return the rules that were recorded."""
        features = tuple(record["features"])
        index = {name: number for number, name in enumerate(features)}
        classes = tuple(record["classes"])

        def read(node: dict[str, Any]) -> Node:
            if "shares" in node:
                shares = tuple(map(float, node["shares"]))
                _check_shares(shares, classes)
                return Leaf(shares, int(node["rows"]))
            inside, outside = read(node["inside"]), read(node["outside"])
            ends = _read(node["from"], -math.inf), _read(node["to"], math.inf)
            return Fork(index[node["feature"]], *ends, inside, outside)

        return cls(classes, features, read(record["tree"]))


def fitted(
    normalised: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    features: Sequence[str],
    bounds: Bounds,
    *,
    alpha: float = 1e-5,
    depth: int | None = None,
    seed: int = 0,
    weights: NDArray[np.float64] | None = None,
) -> Rules:
    """Grow a tree by Gini impurity, prune it by cost-complexity, and put it in units.

    Classes weigh as much as each other, whatever their number of rows, unless some rows
    count more often than others of their class.

    Args:
        normalised: Features as `Bounds.normalised` gives them.
        labels: Index of the class of each row.
        classes: The first is that nothing is wrong.
        features: Their names.
        bounds: By which they were normalised.
        alpha: Of the pruning: more makes a smaller tree.
        depth: Of the tree at most.
        seed: Of ties between equally good forks.
        weights: How often each row counts; by default once.

    Raises:
        ValueError: There is a class without a row.
    """
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if not count:
            raise ValueError(f"class {name} must have rows to learn from, got none")
    weight = counts.min() / counts
    tree = DecisionTreeClassifier(
        ccp_alpha=alpha,
        class_weight=dict(enumerate(weight.tolist())),
        max_depth=depth,
        random_state=seed,
    ).fit(normalised, labels, sample_weight=weights)
    return Rules(tuple(classes), tuple(features), _grown(tree.tree_, bounds, 0))


def _grown(tree: Any, bounds: Bounds, at: int) -> Node:
    """Return a node of scikit-learn's tree with what follows it."""
    if tree.children_left[at] < 0:
        shares = tree.value[at][0] / tree.value[at][0].sum()
        return Leaf(tuple(shares.tolist()), int(tree.n_node_samples[at]))
    feature = int(tree.feature[at])
    low, high = bounds.span(feature, float(tree.threshold[at]))
    inside, outside = (
        _grown(tree, bounds, child)
        for child in (tree.children_left[at], tree.children_right[at])
    )
    return Fork(feature, low, high, inside, outside)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Fork):
        yield from _walk(node.inside)
        yield from _walk(node.outside)


def _spans(root: Node) -> Iterator[tuple[int, int, int, int]]:
    """Yield number of each fork, its first leaf, its first outside, and past its last.

    Numbers are those of `Rules.forks` and `Rules.leaves`.
    """
    forks, leaves = 0, 0
    found: list[tuple[int, int, int, int]] = []

    def visit(node: Node) -> None:
        nonlocal forks, leaves
        if isinstance(node, Leaf):
            leaves += 1
            return
        number, first = forks, leaves
        forks += 1
        visit(node.inside)
        middle = leaves
        visit(node.outside)
        found.append((number, first, middle, leaves))

    visit(root)
    yield from found


def span_text(low: float, high: float) -> str:
    """Return a span as a rule tells it, such as ``4.58 to 15.5``."""
    if math.isinf(low):
        return f"at most {numeral(high)}"
    least = numeral(low)
    return f"at least {least}" if math.isinf(high) else f"{least} to {numeral(high)}"


def _check_shares(shares: tuple[float, ...], classes: tuple[str, ...]) -> None:
    if len(shares) != len(classes):
        raise ValueError(
            f"shares must be one for each of {len(classes)} classes, got {len(shares)}"
        )


def _written(end: float) -> float | None:
    return None if math.isinf(end) else end


def _read(end: float | None, otherwise: float) -> float:
    return otherwise if end is None else float(end)
