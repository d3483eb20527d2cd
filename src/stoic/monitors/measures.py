"""Measures of a detector, as functions of how much each row counts.

A measure takes weights of rows, many sets of them at once, and returns its numbers for
each set; NaN where there is nothing to divide by. So a bootstrap is the same measure
under other weights. Each row belongs to what is judged through masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats

__all__ = ["AtRate", "Auroc", "Measure", "RecallAt", "Shares", "Weights"]

Bools: TypeAlias = NDArray[np.bool_]
Weights: TypeAlias = NDArray[np.float64]


class Measure(Protocol):
    """Some numbers under weights of rows."""

    @property
    def rows(self) -> Bools:
        """Which rows any number depends on, of shape ``(rows,)``."""
        ...

    @property
    def among(self) -> Bools:
        """Which rows each number speaks of, of shape ``(rows, numbers)``."""
        ...

    def on(self, rows: NDArray[Any]) -> Measure:
        """Return the same measure of some rows; no other must count for it."""
        ...

    def __call__(self, weights: Weights) -> Weights:
        """Return the numbers, of shape ``(sets, numbers)``.

        Args:
            weights: Of shape ``(sets, rows)``.
        """
        ...


@dataclass(frozen=True, eq=False)
class Shares:
    """Which share of some rows counts: recall, precision, false alarms.

    Args:
        counted: Of shape ``(rows, numbers)``.
        among_each: Likewise; a share is of these.
        macro: Whether the mean of all shares follows as one more number; NaN where
            one of them is.
    """

    counted: Bools
    among_each: Bools
    macro: bool = False

    @property
    def rows(self) -> Bools:
        """All rows that a share is of, of shape ``(rows,)``."""
        return np.asarray(self.among_each.any(1))

    @property
    def among(self) -> Bools:
        """Rows that a share is of; for the mean, all of them."""
        if not self.macro:
            return self.among_each
        return np.concatenate([self.among_each, self.rows[:, None]], 1)

    def on(self, rows: NDArray[Any]) -> Shares:
        """Return the shares of some rows."""
        return Shares(self.counted[rows], self.among_each[rows], self.macro)

    def __call__(self, weights: Weights) -> Weights:
        """Return shares, of shape ``(sets, numbers)``."""
        top = weights @ (self.counted & self.among_each).astype(float)
        shares = divided(top, weights @ self.among_each.astype(float))
        if not self.macro:
            return shares
        return np.concatenate([shares, shares.mean(1, keepdims=True)], 1)


@dataclass(frozen=True, eq=False)
class Auroc:
    """How often a wrong row has a higher score than a right one; ties count half.

    Args:
        score: Of shape ``(rows,)``; may be infinite, not NaN.
        wrong: Rows that should score high.
        right: Rows that should score low.
    """

    score: Floats
    wrong: Bools
    right: Bools

    @property
    def rows(self) -> Bools:
        """Both, of shape ``(rows,)``."""
        return self.wrong | self.right

    @property
    def among(self) -> Bools:
        """The wrong rows, which are the scarce ones, of shape ``(rows, 1)``."""
        return self.wrong[:, None]

    def on(self, rows: NDArray[Any]) -> Auroc:
        """Return the same of some rows."""
        return Auroc(self.score[rows], self.wrong[rows], self.right[rows])

    def __call__(self, weights: Weights) -> Weights:
        """Return the area, of shape ``(sets, 1)``."""
        order, last = descending(self.score)
        wrong = _up_to(weights, self.wrong, order, last)
        right = _up_to(weights, self.right, order, last)
        # Trapezoids under the curve of wrong rows found over right ones disturbed.
        before = np.concatenate([np.zeros((len(wrong), 1)), wrong[:, :-1]], 1)
        steps = np.diff(right, prepend=0.0, axis=1)
        area = ((before + wrong) / 2 * steps).sum(1)
        return divided(area, wrong[:, -1] * right[:, -1])[:, None]


@dataclass(frozen=True, eq=False)
class RecallAt:
    """Recall at thresholds where few enough fault-free rows raise an alarm.

    A threshold is the lowest at which the share of clean rows at or above it is at
    most the rate; it moves with the weights.

    Args:
        score: Of shape ``(rows,)``; may be infinite, not NaN.
        wrong: Rows to find.
        clean: Fault-free rows.
        rates: Of false alarms.
    """

    score: Floats
    wrong: Bools
    clean: Bools
    rates: tuple[float, ...]

    @property
    def rows(self) -> Bools:
        """The rows to find, and the clean ones, of shape ``(rows,)``."""
        return self.wrong | self.clean

    @property
    def among(self) -> Bools:
        """The rows to find, of shape ``(rows, rates)``."""
        return np.repeat(self.wrong[:, None], len(self.rates), 1)

    def on(self, rows: NDArray[Any]) -> RecallAt:
        """Return the same of some rows."""
        return RecallAt(
            self.score[rows], self.wrong[rows], self.clean[rows], self.rates
        )

    def __call__(self, weights: Weights) -> Weights:
        """Return recalls, of shape ``(sets, rates)``."""
        order, last = descending(self.score)
        wrong = _up_to(weights, self.wrong, order, last)
        clean = _up_to(weights, self.clean, order, last)
        recall, false = divided(wrong, wrong[:, -1:]), divided(clean, clean[:, -1:])
        unknown = np.isnan(recall[:, -1]) | np.isnan(false[:, -1])
        columns = []
        for rate in self.rates:
            # A hair more, as a sum of weights over a sum of weights is rounded.
            allowed = (false <= rate * (1 + 1e-12)).sum(1)
            best = recall[np.arange(len(recall)), np.maximum(allowed - 1, 0)]
            columns.append(np.where(allowed > 0, best, 0.0))
        return np.where(unknown[:, None], np.nan, np.stack(columns, 1))


@dataclass(frozen=True, eq=False)
class AtRate:
    """Precision and cost of alarms where faults are as frequent as in the field.

    Rows with a fault are a share ``rate`` of all inferences and clean ones the rest;
    how many of the former fail stays as it is among the rows. Precision is the share
    of alarms on failed results; cost is the share of inferences with a false alarm.

    Args:
        alarmed: Rows with an alarm.
        failed: Rows that failed.
        faulted: Rows with a fault, in memory or in the input.
        clean: Rows without.
        rate: Share of inferences with a fault.
        fixed: Shares that are given instead of taken from the rows, each None or a
            number: of faulted rows those found, of faulted rows false alarms, of clean
            rows false alarms.
    """

    alarmed: Bools
    failed: Bools
    faulted: Bools
    clean: Bools
    rate: float
    fixed: tuple[float | None, float | None, float | None] = (None, None, None)

    @property
    def rows(self) -> Bools:
        """All rows, with a fault or clean, of shape ``(rows,)``."""
        return self.faulted | self.clean

    @property
    def among(self) -> Bools:
        """The same, of shape ``(rows, 2)``."""
        return np.repeat(self.rows[:, None], 2, 1)

    @property
    def shares(self) -> Shares:
        """The three shares that both numbers are made of."""
        counted = [self.failed & self.alarmed, ~self.failed & self.alarmed]
        among = [self.faulted, self.faulted, self.clean]
        return Shares(np.stack([*counted, self.alarmed], 1), np.stack(among, 1))

    def on(self, rows: NDArray[Any]) -> AtRate:
        """Return the same of some rows."""
        return replace(
            self,
            alarmed=self.alarmed[rows],
            failed=self.failed[rows],
            faulted=self.faulted[rows],
            clean=self.clean[rows],
        )

    def __call__(self, weights: Weights) -> Weights:
        """Return both numbers, of shape ``(sets, 2)``."""
        shares = self.shares(weights)
        for column, given in enumerate(self.fixed):
            shares[:, column] = shares[:, column] if given is None else given
        found, benign, clean = shares.T
        cost = self.rate * benign + (1 - self.rate) * clean
        right = self.rate * found
        return np.stack([divided(right, right + cost), cost], 1)


def divided(top: Weights, bottom: Weights) -> Weights:
    """Return a quotient; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(bottom > 0, top / bottom, np.nan))


def descending(score: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows by falling score, and the place of the last of each equal run."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(score[order][1:] != score[order][:-1])
    return order, np.append(ends, len(score) - 1)


def _up_to(
    weights: Weights,
    mask: Bools,
    order: NDArray[np.int64],
    last: NDArray[np.int64],
) -> Weights:
    """Return the weight of masked rows with at least each score, highest first."""
    counted = weights[:, order] * mask[order]
    return np.asarray(counted.cumsum(1)[:, last])
