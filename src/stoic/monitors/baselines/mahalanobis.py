"""Mahalanobis distance of features to those of fault-free inputs of their class.

References:
    Lee, Lee, Lee and Shin, A simple unified framework for detecting
    out-of-distribution samples and adversarial attacks, 2018.
    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.baselines.detector import (
    as_scores,
    clean_rows,
    of_values,
    parted,
)
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import EXCESS
from stoic.monitors.traces import Traces

__all__ = ["FEWEST", "Mahalanobis", "fit_mahalanobis"]

# Rows of a predicted class from which a mean of its own is better than that of all.
FEWEST = 10
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Where fault-free rows lie, and how they spread.

    Args:
        features: That it reads.
        scale: Standard deviation of each, which it is divided by.
        means: Of shape ``(classes, features)``, after division; where a class had too
            few rows, that of all.
        precision: Inverse of the covariance about these means.
    """

    features: tuple[str, ...]
    scale: NDArray[np.float64]
    means: NDArray[np.float64]
    precision: NDArray[np.float64]
    name: str = "mahalanobis"

    def score(self, traces: Traces) -> Floats:
        """Return the distance to the mean of the class that is predicted, float32."""
        chosen = traces.columns(self.features)
        known = chosen.finite & np.isfinite(traces.scores).all(1)
        rows = np.where(known[:, None], chosen.values, 0) / self.scale
        away = rows - self.means[predicted(traces)]
        square = np.einsum("ij,ij->i", away @ self.precision, away)
        return as_scores(np.sqrt(np.maximum(square, 0)), known)


def fit_mahalanobis(
    traces: Traces, features: Sequence[str] | None = None
) -> Mahalanobis:
    """Take means and a shrunk covariance from fault-free rows.

    Args:
        traces: Of any markers.
        features: To read; by default all of the last watched value but a checksum's.

    Raises:
        KeyError: One of the features is not there.
        ValueError: There are too few fault-free rows.
    """
    from sklearn.covariance import LedoitWolf

    if features is None:
        features = _of_last_value(traces.features)
    clean = clean_rows(traces.columns(features))
    scale = np.maximum(clean.values.astype(float).std(0), _TINY)
    rows, classes = clean.values / scale, predicted(clean)
    means = np.tile(rows.mean(0), (traces.scores.shape[1], 1))
    for label, count in enumerate(np.bincount(classes)):
        if count >= FEWEST:
            means[label] = rows[classes == label].mean(0)
    fitted = LedoitWolf(assume_centered=True).fit(rows - means[classes])
    return Mahalanobis(tuple(features), scale, means, fitted.precision_)


def _of_last_value(features: Sequence[str]) -> list[str]:
    """Return what other markers than checksums, a monitor of their own, tell of it."""
    plain = [name for name in features if parted(name)[0] != EXCESS]
    return [plain[column] for column in list(of_values(plain).values())[-1]]


def predicted(traces: Traces) -> NDArray[np.int64]:
    """Return the class that the network predicts for each row; NaN is never it."""
    return np.asarray(np.nan_to_num(traces.scores, nan=-np.inf).argmax(1), np.int64)
