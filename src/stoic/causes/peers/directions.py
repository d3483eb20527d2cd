"""Failure directions: within each class, the hyperplane between right and wrong."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

from stoic.causes.peers.evidence import Evidence, clusters_of
from stoic.causes.pipeline import LEAST, NOISE, Clusters

__all__ = ["Directions"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """A linear support vector machine for each class tells its failures apart.

    The failures of a class that lie on the wrong side of its hyperplane are a cluster;
    the others are noise, as is a class with too few of either kind to fit.

    Args:
        penalties: To choose from by cross-validated balanced accuracy.
        folds: Of the cross-validation.

    References:
        Jain, Lawrence, Moitra, Madry: Distilling model failures as directions in latent
        space. ICLR 2023.
    """

    penalties: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: int = 2

    @property
    def name(self) -> str:
        """What tables call it."""
        return "failure directions"

    def __call__(self, evidence: Evidence, seed: int) -> Clusters:
        """Return the class of each failure on the wrong side."""
        points = evidence.standardised()
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.where(lengths, lengths, 1)
        groups = np.full(len(points), NOISE)
        fitted = 0
        for label in np.unique(evidence.labels[: evidence.failures]).tolist():
            own = evidence.labels == label
            right = evidence.right[own]
            if min(right.sum(), (~right).sum()) >= max(LEAST, self.folds):
                fitted += 1
                side = self._sides(points[own], right, seed)
                groups[np.flatnonzero(own)[side < 0]] = label
        return clusters_of(groups, evidence, {"classes": float(fitted)})

    def _sides(self, points: Floats, right: NDArray[np.bool_], seed: int) -> Floats:
        """How far each point is on the right side of the best hyperplane."""
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # A fit that has not converged is judged like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            machines = [_machine(penalty, seed) for penalty in self.penalties]
            accuracies = [
                cross_val_score(
                    machine, points, right, cv=folds, scoring="balanced_accuracy"
                ).mean()
                for machine in machines
            ]
            best = machines[int(np.argmax(accuracies))].fit(points, right)
        return np.asarray(best.decision_function(points))


def _machine(penalty: float, seed: int) -> LinearSVC:
    return LinearSVC(C=penalty, class_weight="balanced", dual="auto", random_state=seed)
