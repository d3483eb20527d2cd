"""How sure the network itself is: softmax confidence, and energy.

References:
    Hendrycks and Gimpel, A baseline for detecting misclassified and
    out-of-distribution examples in neural networks, 2017.
    Liu, Wang, Owens and Li, Energy-based out-of-distribution detection, 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.baselines.detector import as_scores
from stoic.monitors.bounds import Floats
from stoic.monitors.traces import Traces

__all__ = ["Confidence", "Energy", "fit_confidence", "fit_energy"]


@dataclass(frozen=True)
class Confidence:
    """The share that softmax leaves to all classes but the likeliest."""

    features: tuple[str, ...] = ()
    name: str = "softmax confidence"

    def score(self, traces: Traces) -> Floats:
        """Return one less the largest share, float32."""
        # As a sum over the others: one less a share near one would lose all digits.
        with np.errstate(invalid="ignore", over="ignore"):
            scores = traces.scores.astype(float)
            powers = np.sort(np.exp(scores - scores.max(1, keepdims=True)), 1)
            rest = powers[:, :-1].sum(1) / powers.sum(1)
        # A single -inf is a class ruled out; scores that are all so leave NaN.
        return as_scores(rest, np.isfinite(rest))


@dataclass(frozen=True)
class Energy:
    """The free energy of the scores.

    Args:
        temperature: Of the softmax.
    """

    temperature: float = 1.0
    features: tuple[str, ...] = ()
    name: str = "energy"

    def score(self, traces: Traces) -> Floats:
        """Return less the temperature's multiple of the log of summed powers."""
        with np.errstate(invalid="ignore", over="ignore"):
            scores = traces.scores.astype(float) / self.temperature
            energy = -self.temperature * _log_sum(scores)
        return as_scores(energy, np.isfinite(energy))


def fit_confidence(traces: Traces) -> Confidence:
    """Return the detector; there is nothing to learn.

    Raises:
        ValueError: The network has no two scores to compare.
    """
    _check_scores(traces)
    return Confidence()


def fit_energy(traces: Traces, *, temperature: float = 1.0) -> Energy:
    """Return the detector; there is nothing to learn.

    Raises:
        ValueError: The network has no two scores, or the temperature is not above 0.
    """
    _check_scores(traces)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}; give 1")
    return Energy(temperature)


def _check_scores(traces: Traces) -> None:
    if traces.scores.shape[1] < 2:
        raise ValueError(
            "scores must be of at least 2 classes for a confidence, got "
            f"{traces.scores.shape[1]}; use another detector"
        )


def _log_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of summed powers of each row."""
    most = scores.max(1, keepdims=True)
    return np.asarray(most[:, 0] + np.log(np.exp(scores - most).sum(1)))
