"""Clusters in words: what their images have in common, by recorded parameters.

References:
    Fahmy, Pastore, Briand and Stifter, Simulator-based explanation and debugging of
    hazard-triggering events in DNN-based safety-critical systems, 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.pipeline import Clusters

__all__ = ["Condition", "Described", "described"]

_LEAST = 3
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Condition:
    """What holds of a parameter.

    Args:
        parameter: Its name.
        relation: ``≤``, ``>``, ``is`` or ``is not``.
        value: A number, or a word.
    """

    parameter: str
    relation: str
    value: float | str

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else f"{self.value:.3g}"
        return f"{self.parameter} {self.relation} {value}"

    def __call__(self, recorded: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Say of which rows it holds."""
        column = recorded[self.parameter]
        if isinstance(self.value, str):
            same = column.astype(str) == self.value
            return np.asarray(same if self.relation == "is" else ~same)
        above = column.astype(float) > self.value
        return np.asarray(above if self.relation == ">" else ~above)


@dataclass(frozen=True)
class Described:
    """A rule about one cluster.

    Args:
        conditions: All of which must hold; none where nothing tells the cluster apart.
        share: Of the cluster's images, those that it holds of.
        precision: Of all failures that it holds of, those of the cluster.
    """

    conditions: tuple[Condition, ...]
    share: float
    precision: float

    def __str__(self) -> str:
        if not self.conditions:
            return "no recorded parameter tells it apart"
        rule = " and ".join(map(str, self.conditions))
        return (
            f"{rule} ({self.share:.0%} of it; {self.precision:.0%} of such are in it)"
        )

    def as_record(self) -> dict[str, Any]:
        """Return plain data that a person can read."""
        rule = [str(condition) for condition in self.conditions]
        return {"rule": rule, "share": self.share, "precision": self.precision}


def described(
    clusters: Clusters, recorded: Mapping[str, NDArray[Any]], *, depth: int = 3
) -> tuple[Described, ...]:
    """Return a rule for each cluster: the best leaf of a small tree against all others.

    Best is the leaf with the largest harmonic mean of share and precision.

    Args:
        clusters: Of the failures.
        recorded: Parameters of all failures, numbers or words; NaN is no number.
        depth: Conditions at most.
    """
    names, columns = _columns(recorded)
    return tuple(
        _described(clusters.labels == cluster, names, columns, recorded, depth)
        for cluster in range(clusters.count)
    )


def _columns(
    recorded: Mapping[str, NDArray[Any]],
) -> tuple[list[tuple[str, str | None]], NDArray[np.float64]]:
    """Return numbers, with one column for each word; constant ones are left out."""
    names: list[tuple[str, str | None]] = []
    columns: list[NDArray[np.float64]] = []
    for name, column in recorded.items():
        if np.issubdtype(column.dtype, np.number) or column.dtype == bool:
            # Trees compute in float32: what is larger has no place in them.
            told = [(None, column.astype(float).clip(-_LARGEST, _LARGEST))]
        else:
            words = column.astype(str)
            told = [(word, (words == word).astype(float)) for word in np.unique(words)]
        for word, own in told:
            if not (own == own[:1]).all():
                names.append((name, word))
                columns.append(own)
    rows = len(next(iter(recorded.values()), ()))
    return names, np.stack(columns, 1) if columns else np.empty((rows, 0))


def _described(
    inside: NDArray[np.bool_],
    names: Sequence[tuple[str, str | None]],
    columns: NDArray[np.float64],
    recorded: Mapping[str, NDArray[Any]],
    depth: int,
) -> Described:
    from sklearn.tree import DecisionTreeClassifier

    nothing = Described((), 1.0, float(inside.mean()))
    if not names or inside.all():
        return nothing
    tree = DecisionTreeClassifier(
        max_depth=depth,
        min_samples_leaf=_LEAST,
        class_weight="balanced",
        random_state=0,
    )
    # It sums all numbers up to see whether they are finite.
    with np.errstate(over="ignore", invalid="ignore"):
        tree.fit(columns, inside)
    rules = [_judged(rule, inside, recorded) for rule in _leaves(tree.tree_, names)]
    return max(rules, key=_harmonic, default=nothing)


def _leaves(
    tree: Any, names: Sequence[tuple[str, str | None]], node: int = 0
) -> Iterator[tuple[Condition, ...]]:
    """Yield the conditions of every leaf, the last of one parameter and side alone."""
    if tree.children_left[node] < 0:
        return
    name, word = names[tree.feature[node]]
    limit = float(tree.threshold[node])
    below = (
        Condition(name, "≤", limit) if word is None else Condition(name, "is not", word)
    )
    above = Condition(name, ">", limit) if word is None else Condition(name, "is", word)
    for own, child in ((below, tree.children_left), (above, tree.children_right)):
        yield (own,)
        for rest in _leaves(tree, names, int(child[node])):
            # Deeper limits of one parameter are the narrower ones.
            again = any((c.parameter, c.relation) == (name, own.relation) for c in rest)
            yield rest if again and word is None else (own, *rest)


def _judged(
    conditions: tuple[Condition, ...],
    inside: NDArray[np.bool_],
    recorded: Mapping[str, NDArray[Any]],
) -> Described:
    holds = np.logical_and.reduce([condition(recorded) for condition in conditions])
    both = float((holds & inside).sum())
    return Described(
        conditions, both / float(inside.sum()), both / max(float(holds.sum()), 1.0)
    )


def _harmonic(rule: Described) -> tuple[float, int]:
    """Rank rules: of those as good, the one with fewer conditions."""
    total = rule.share + rule.precision
    mean = 2 * rule.share * rule.precision / total if total else 0.0
    return round(mean, 3), -len(rule.conditions)
