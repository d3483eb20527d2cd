"""How much clusters tell of scenarios, less what random clusters would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.cluster import expected_mutual_information

__all__ = ["adjusted_information", "crossed"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def crossed(first: Integers, second: Integers) -> Integers:
    """Return how often each pair of labels occurs; no row or column is empty."""
    _, rows = np.unique(first, return_inverse=True)
    _, columns = np.unique(second, return_inverse=True)
    shape = (rows.max(initial=-1) + 1, columns.max(initial=-1) + 1)
    table = np.zeros(shape, np.int64)
    np.add.at(table, (rows.reshape(-1), columns.reshape(-1)), 1)
    return table


def adjusted_information(table: Integers) -> float | None:
    """Return the adjusted mutual information of a table of counts.

    1 if either side tells the other, 0 on average for random labels of the same sizes;
    None of an empty table. The mean of both entropies is the norm.

    References:
        Vinh, Epps, Bailey: Information theoretic measures for clusterings comparison.
        JMLR 11, 2010.
    """
    if not table.size:
        return None
    rows, columns = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    if 1 in table.shape:
        # Two partitions of one part each are the same; one of one part tells nothing.
        return 1.0 if table.size == 1 else 0.0
    mutual = rows + columns - _entropy(table.reshape(-1))
    expected = expected_mutual_information(table, int(table.sum()))
    room = (rows + columns) / 2 - expected
    # Below zero only by rounding: no room at all, such as one failure for each label.
    return float((mutual - expected) / room) if room > 1e-12 else 1.0


def _entropy(counts: Integers) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
