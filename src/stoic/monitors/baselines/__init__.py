"""Baselines: detectors that a monitor is compared with, on the same traces.

One contract, `Detector`; each is fitted by a function and reads what it needs from
traces. Features that are not at hand are an error that names the marker.
"""

from stoic.monitors.baselines.confidence import (
    Confidence,
    Energy,
    fit_confidence,
    fit_energy,
)
from stoic.monitors.baselines.detector import Detector
from stoic.monitors.baselines.excess import Excess, fit_excess
from stoic.monitors.baselines.mahalanobis import Mahalanobis, fit_mahalanobis
from stoic.monitors.baselines.ranger import Ranger, fit_ranger
from stoic.monitors.baselines.signatures import Signatures, fit_signatures
from stoic.monitors.baselines.tracing import Tracing, fit_tracing
from stoic.monitors.baselines.trivial import Trivial, fit_trivial

__all__ = [
    "Confidence",
    "Detector",
    "Energy",
    "Excess",
    "Mahalanobis",
    "Ranger",
    "Signatures",
    "Tracing",
    "Trivial",
    "fit_confidence",
    "fit_energy",
    "fit_excess",
    "fit_mahalanobis",
    "fit_ranger",
    "fit_signatures",
    "fit_tracing",
    "fit_trivial",
]
