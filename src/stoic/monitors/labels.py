"""Labels: what a monitor should have said of each trace.

A corrupted input or a flipped bit that changes nothing is regular. What is not finite
anyway needs no monitor and is no example.

References:
    Geissler, Qutub, Paulitsch and Pattabiraman, 2023, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.rules import REGULAR
from stoic.monitors.traces import MEMORY, NOTHING, Traces

__all__ = ["classes_of", "examples", "labels_of", "macro"]


def classes_of(traces: Traces) -> tuple[str, ...]:
    """Return what can be wrong in traces: regular, memory, then corruptions by name."""
    kinds = set(traces.origin.kind.tolist()) - {NOTHING}
    first = (MEMORY,) if MEMORY in kinds else ()
    return (REGULAR, *first, *sorted(kinds - {MEMORY}))


def labels_of(traces: Traces, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of the class of each row; regular where nothing failed.

    Raises:
        ValueError: Something failed for a reason that is none of the classes.
    """
    origin = traces.origin
    labels = np.zeros(len(traces), np.int64)
    known = origin.kind == NOTHING
    for number, name in enumerate(classes):
        here = origin.kind == name
        labels[here & origin.failed] = number
        known |= here
    if not known.all():
        raise ValueError(
            f"kinds of traces must be among {', '.join(classes)}, "
            f"got {origin.kind[~known][0]}; leave it out"
        )
    return labels


def examples(traces: Traces) -> Traces:
    """Return the rows that a monitor can learn from: features and output are finite."""
    return traces.rows(traces.finite & ~traces.origin.broken)


def macro(
    wanted: NDArray[np.int64], got: NDArray[np.int64], classes: int
) -> tuple[float, float]:
    """Return precision and recall, each the mean over all classes but regular.

    A class that is never said has no precision to speak of: it counts as 0.

    Args:
        wanted: What is right.
        got: What was said.
        classes: How many there are.

    Raises:
        ValueError: A class has no example.
    """
    right = np.bincount(wanted[wanted == got], minlength=classes)[1:classes]
    said = np.bincount(got, minlength=classes)[1:classes]
    there = np.bincount(wanted, minlength=classes)[1:classes]
    if not there.all():
        raise ValueError(
            f"each class must have examples, got none of class {there.argmin() + 1}; "
            "give more inputs"
        )
    return float((right / np.maximum(said, 1)).mean()), float((right / there).mean())
