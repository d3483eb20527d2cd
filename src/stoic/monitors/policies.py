"""Policies: what to do when a verdict says that an inference went wrong.

A policy is a frozen value that is called with an alarm and returns the output that the
caller gets. Nothing of it is inside of the graph. A function of one's own that does so
is a policy as well.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.monitors.monitor import Monitor
from stoic.monitors.rules import Rules, span_text
from stoic.monitors.verdict import Verdict
from stoic.network.subject import Inputs

__all__ = [
    "AlarmError",
    "Alarmed",
    "CallBack",
    "Policy",
    "Raise",
    "ReRun",
    "Warn",
    "mixed",
    "rule_text",
]


class AlarmError(RuntimeError):
    """An inference went wrong, by the verdict of its monitor.

    Args:
        message: Which rows, by which rule.
        verdict: On all rows.
    """

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict


@dataclass(frozen=True, eq=False)
class Alarmed:
    """An inference, and the rows for which an alarm was raised.

    Args:
        inputs: That the network was called with.
        output: Of the network, in its own structure.
        verdict: On all rows.
        rows: Which of them are alarming, bool of shape ``(rows,)``.
        monitor: That gave the verdict.
        again: Runs the same inputs again.
    """

    inputs: Inputs
    output: Any
    verdict: Verdict
    rows: Tensor
    monitor: Monitor
    again: Callable[[], Alarmed]

    def lines(self) -> Iterator[str]:
        """Yield for each alarming row its class, and what says so."""
        for row in self.rows.nonzero().flatten().tolist():
            label = self.monitor.classes[int(self.verdict.label[row])]
            score = float(self.verdict.score[row])
            yield f"row {row} is {label} (score {score:.3g}): {self._why(row)}"

    def _why(self, row: int) -> str:
        leaf = int(self.verdict.rule[row])
        if leaf < 0:
            return "a watched value is not finite"
        if not self.verdict.label[row]:
            return "unlike fault-free inputs"
        return f"rule {leaf}, {rule_text(self.monitor.rules, leaf)}"

    def told(self) -> str:
        """Return the first alarming row in one line, and how many more there are."""
        first, *more = self.lines()
        return f"{first}; and {len(more)} more" if more else first


class Policy(Protocol):
    """What is done about an alarm."""

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return the output that the caller gets, in the network's own structure."""
        ...


@dataclass(frozen=True)
class Warn:
    """Keep the output, and warn in one line."""

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return the output as it is."""
        warnings.warn(alarmed.told(), RuntimeWarning, stacklevel=2)
        return alarmed.output


@dataclass(frozen=True)
class Raise:
    """Give no output."""

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return nothing.

        Raises:
            AlarmError: Always.
        """
        raise AlarmError(alarmed.told(), alarmed.verdict)


@dataclass(frozen=True)
class CallBack:
    """Keep the output, and tell somebody.

    Args:
        function: Called with the alarm; what it returns is not used.
    """

    function: Callable[[Alarmed], object]

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return the output as it is."""
        self.function(alarmed)
        return alarmed.output


@dataclass(frozen=True)
class ReRun:
    """Run again, and keep the second result of rows that are regular then.

    For faults that do not last. More than twice: ``ReRun(otherwise=ReRun())``.

    Args:
        otherwise: What is done about rows that are alarming again.
    """

    otherwise: Policy = field(default_factory=Warn)

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return the output with rows of the second run, as `mixed` has them."""
        second = alarmed.again()
        left = alarmed.rows & second.rows
        output = mixed(alarmed.output, second.output, alarmed.rows & ~second.rows)
        if not left.any():
            return output
        return self.otherwise(replace(alarmed, output=output, rows=left))


def mixed(first: Any, second: Any, rows: Tensor) -> Any:
    """Return an output with some rows of a second one.

    Args:
        first: In the network's own structure.
        second: Likewise.
        rows: Which rows are of the second. A tensor whose first dimension is not that
            of the rows is all of the second one if there is any such row.
    """
    leaves, spec = pytree.tree_flatten(first)
    pairs = zip(leaves, pytree.tree_leaves(second), strict=True)
    some = bool(rows.any())
    return pytree.tree_unflatten([_mixed(a, b, rows, some) for a, b in pairs], spec)


def _mixed(first: Any, second: Any, rows: Tensor, some: bool) -> Any:
    has_rows = isinstance(first, Tensor) and first.shape[:1] == rows.shape
    if not has_rows:
        return second if some else first
    chosen = rows.reshape(-1, *[1] * (first.dim() - 1)).to(first.device)
    return torch.where(chosen, second, first)


def rule_text(rules: Rules, leaf: int) -> str:
    """Return what leads to a leaf, in one line and in the markers' own units."""
    taken = zip(rules.forks, rules.paths[:, leaf].tolist(), strict=True)
    forks = [(fork, way > 0) for fork, way in taken if way]
    asked = []
    for feature in dict.fromkeys(fork.feature for fork, _ in forks):
        own = [(f.low, f.high, out) for f, out in forks if f.feature == feature]
        told = " and ".join(_spans(own))
        asked.append(f"{rules.features[feature]} is {told}")
    return " and ".join(asked) or "always"


def _spans(own: Sequence[tuple[float, float, bool]]) -> Iterator[str]:
    """Yield where a feature is, as one span, and where in it the feature is not."""
    inside = [(low, high) for low, high, out in own if not out]
    low = max((each for each, _ in inside), default=-math.inf)
    high = min((each for _, each in inside), default=math.inf)
    if inside:
        yield span_text(low, high)
    left = {(a, b) for a, b, out in own if out and a <= high and b >= low}
    for start, end in sorted(left):
        if not any(a <= start and end <= b for a, b in left - {(start, end)}):
            yield f"not {span_text(start, end)}"
