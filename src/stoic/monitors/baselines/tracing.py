"""Feature-map tracing: channel sums of all layers into a small neural network.

References:
    Schorn, Guntoro and Ascheid, Efficient on-line error detection and mitigation for
    deep neural network accelerators, 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.baselines.detector import as_scores, clean_rows, needed
from stoic.monitors.bounds import Floats
from stoic.monitors.traces import Traces

__all__ = ["Tracing", "fit_tracing"]

# Beyond so many standard deviations, more says no more; a flipped exponent is 1e30.
_FAR = 100.0
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Tracing:
    """A fitted network of dense layers over standardised channel sums.

    Args:
        features: Channel sums.
        mean: Of each in fault-free rows.
        spread: Its standard deviation there.
        weights: Of each layer, of shape ``(inputs, outputs)``.
        biases: Likewise, of shape ``(outputs,)``.
    """

    features: tuple[str, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    name: str = "feature-map tracing"

    def shares(self, traces: Traces) -> NDArray[np.float64]:
        """Return how likely each class is, of shape ``(rows, classes)``.

        NaN for rows with a feature that is no number.
        """
        chosen = traces.columns(self.features)
        hidden = standardised(chosen.values, self.mean, self.spread)
        last = len(self.weights) - 1
        for number, layer in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ layer[0] + layer[1]
            hidden = hidden if number == last else np.maximum(hidden, 0)
        if hidden.shape[1] == 1:
            # Two classes share one output: the logit of the second.
            hidden = np.concatenate([np.zeros_like(hidden), hidden], 1)
        powers = np.exp(hidden - hidden.max(1, keepdims=True))
        shares = powers / powers.sum(1, keepdims=True)
        return np.where(chosen.finite[:, None], shares, np.nan)

    def score(self, traces: Traces) -> Floats:
        """Return how likely each row is of any class but the first, float32."""
        wrong = self.shares(traces)[:, 1:].sum(1)
        return as_scores(wrong, np.isfinite(wrong))


def fit_tracing(
    traces: Traces,
    labels: NDArray[np.int64],
    *,
    hidden: tuple[int, ...] = (32,),
    seed: int = 0,
    rounds: int = 100,
) -> Tracing:
    """Train on the rows with finite features; classes count the same.

    Args:
        traces: With channel sums of every watched value.
        labels: Class of each row, from 0 for regular without a gap.
        hidden: Sizes of hidden layers.
        seed: Of the start and the order.
        rounds: Over all rows, at most.

    Raises:
        ValueError: No channel sums, too few fault-free rows, or a class without rows.
    """
    sums = needed(traces, lambda name: name.startswith("sum "), "ChannelSums")
    clean = clean_rows(sums).values.astype(float)
    mean, spread = clean.mean(0), clean.std(0)
    known = sums.finite
    rows = standardised(sums.values[known], mean, spread)
    weights, biases = _trained(rows, labels[known], hidden, seed, rounds)
    return Tracing(sums.features, mean, spread, weights, biases)


def standardised(
    values: Floats, mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how many standard deviations values lie off; far is as far as 100."""
    with np.errstate(over="ignore", invalid="ignore"):
        away = (values - mean) / np.maximum(spread, _TINY)
    return np.nan_to_num(np.clip(away, -_FAR, _FAR), nan=0.0)


def _trained(
    rows: NDArray[np.float64],
    labels: NDArray[np.int64],
    hidden: tuple[int, ...],
    seed: int,
    rounds: int,
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]]:
    """Return weights and biases of a trained network."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    counts = np.bincount(labels)
    if len(counts) < 2 or not counts.all():
        raise ValueError(
            "every class must have finite rows to learn from, got "
            f"{counts.tolist()} by class; collect more"
        )
    network = MLPClassifier(hidden, max_iter=rounds, random_state=seed)
    with warnings.catch_warnings():
        # Fewer rounds than to the very end are the caller's choice.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(rows, labels, sample_weight=(counts.mean() / counts)[labels])
    return tuple(network.coefs_), tuple(network.intercepts_)
