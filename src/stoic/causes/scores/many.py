"""Scores of many clusterings of the same failures at once, such as random ones.

What `scores_of` says of one, for draws in which only the labels differ: tables of all
draws are counted together, and what depends on sizes alone is computed once for each
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from stoic.causes.scores.truth import Truth

__all__ = ["adjusted_informations", "numbers_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def numbers_of(
    labels: Integers, truth: Truth, thresholds: Sequence[float]
) -> dict[str, Floats]:
    """Return what `Scores.numbers` tells, by name, one number for each draw.

    Args:
        labels: Of each failure in each draw, (draws, failures); every cluster is in
            every draw.
        truth: The causes of the failures.
        thresholds: Purities to tell the coverage at.

    Returns:
        Numbers, NaN where there is nothing to divide by.
    """
    kinds = int(truth.kinds.max()) + 1
    table = _counted(labels, truth.kinds, kinds)[:, :, :kinds]
    clustered = table[:, :-1]
    known = clustered.sum(axis=2)
    counts = clustered @ _holds(truth, kinds)
    with np.errstate(invalid="ignore"):
        shares = counts / known[:, :, None]
        purities = np.where(known > 0, shares.max(axis=2), 0.0)
        found = {
            "purity": purities.sum(axis=1) / (known > 0).sum(axis=1),
            "weighted purity": (purities * known).sum(axis=1) / known.sum(axis=1),
            "information": adjusted_informations(table),
            "clustered information": adjusted_informations(clustered),
        }
        owned = {each: (shares >= each).sum(axis=1) for each in thresholds}
    covered = {each: (own > 0).sum(axis=1) for each, own in owned.items()}
    scenarios, clusters = len(truth.names), clustered.shape[1]
    for each, count in covered.items():
        found[f"coverage at {each:g}"] = count / scenarios
    for each, count in covered.items():
        found[f"redundancy at {each:g}"] = _ratio(owned[each].sum(axis=1), count)
    for each, count in covered.items():
        found[f"cost at {each:g}"] = _ratio(np.full(len(count), clusters), count)
    return found


def adjusted_informations(tables: Integers) -> Floats:
    """Return the adjusted mutual information of each table; NaN of an empty one.

    Args:
        tables: Counts, (tables, rows, columns); empty rows and columns do not count.
    """
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    total = rows.sum(axis=1)
    one, two = _entropies(rows), _entropies(columns)
    mutual = one + two - _entropies(tables.reshape(len(tables), -1))
    room = (one + two) / 2
    expected = _expected(rows, columns)
    found = np.ones(len(tables))
    some = room - expected > 1e-12
    np.divide(mutual - expected, room - expected, out=found, where=some)
    parts = [(each > 0).sum(axis=1) for each in (rows, columns)]
    # Two partitions of one part each are the same; one of one part tells nothing.
    alone = np.minimum(*parts) == 1
    found[alone] = np.maximum(*parts)[alone] == 1
    found[total == 0] = np.nan
    return found


def _counted(labels: Integers, kinds: Integers, count: int) -> Integers:
    """Count (draws, clusters and noise, kinds and unknown); both last ones are last."""
    draws, clusters = len(labels), int(labels.max(initial=-1)) + 1
    # -1 is noise, or an unknown cause: the last place of its axis.
    row = np.where(labels < 0, clusters, labels)
    column = np.where(kinds < 0, count, kinds)
    shape = (draws, clusters + 1, count + 1)
    place = (np.arange(draws)[:, None] * shape[1] + row) * shape[2] + column
    return np.bincount(place.reshape(-1), minlength=int(np.prod(shape))).reshape(shape)


def _holds(truth: Truth, kinds: int) -> Integers:
    """Which scenarios a failure of each kind is of."""
    found = np.zeros((kinds, len(truth.names)), np.int64)
    found[truth.kinds[truth.known]] = truth.holds[truth.known]
    return found


def _ratio(count: Integers, covered: Integers) -> Floats:
    found = np.full(len(count), np.nan)
    return np.asarray(np.divide(count, covered, out=found, where=covered > 0))


def _entropies(counts: Integers) -> Floats:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(-xlogy(shares, shares).sum(axis=1))


def _expected(rows: Integers, columns: Integers) -> Floats:
    """Return the mutual information of random tables with these sums, on average."""
    total = rows.sum(axis=1)
    found = np.zeros(len(rows))
    for each in np.unique(total[total > 0]).tolist():
        own = np.flatnonzero(total == each)
        first, one = np.unique(rows[own], return_inverse=True)
        second, two = np.unique(columns[own], return_inverse=True)
        cell = _cell(first, second, each)
        one, two = one.reshape(rows[own].shape), two.reshape(columns[own].shape)
        found[own] = cell[one[:, :, None], two[:, None, :]].sum(axis=(1, 2))
    return found


def _cell(first: Integers, second: Integers, total: int) -> Floats:
    """Return what a cell adds on average, by the sums of its row and its column.

    The count in a cell is hypergeometric.
    """
    a, b = first[:, None, None], second[None, :, None]
    count = np.arange(1, min(int(first.max()), int(second.max())) + 1)
    there = (count <= np.minimum(a, b)) & (count >= a + b - total)
    logs = gammaln(np.arange(total + 2))

    def factorial(number: Integers) -> Floats:
        return np.asarray(logs[np.clip(number, 0, total) + 1])

    chance = factorial(a) + factorial(b) + factorial(total - a) + factorial(total - b)
    chance = chance - factorial(count) - factorial(a - count) - factorial(b - count)
    chance -= logs[total + 1] + factorial(total - a - b + count)
    told = np.log(total) + np.log(count) - np.log(np.maximum(a, 1) * np.maximum(b, 1))
    each = count / total * told * np.exp(np.where(there, chance, -np.inf))
    return np.asarray(each.sum(axis=2))
