"""Distance: how far one value of a network is from what fault-free inputs show.

Steps of points know no more than what was learnt. A number beyond all that was learnt
is the surer sign of a fault the further it is away, so that points go on growing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats

__all__ = ["MOST", "RUNGS", "Distance", "distance_of"]

# Of half a span. With fewer, kernels that round in another way would more often tell
# another whole number; with more, sums over a thousand features would be rounded.
_PARTS = 64
MOST = float(2 * _PARTS)
"""Parts of half a span from its middle from which on a number adds no more to the sum
of squares: twice the span."""
RUNGS = _PARTS * 2.0 ** np.arange(1, 122).astype(np.float32)
"""The same for the furthest number: half a span doubled once, twice, and so on."""
# Of a number that never changes: what is no other but by rounding.
_ROUNDING = 1e-3
_TINY = 1e-20


@dataclass(frozen=True, eq=False)
class Distance:
    """Features of one value, where they lie without a fault, and how they spread.

    All of it is exact: whole numbers are summed, and others only compared. So it is the
    same on any device, whatever the order.

    Args:
        value: Name of what is watched.
        features: Of that value.
        middle: Of the span of each, float32.
        per: What differences from it are multiplied by: 64ths of half a span are 1.
        rivals: Those of the features that are scores of classes; none, or two or more.
    """

    value: str
    features: tuple[str, ...]
    middle: Floats
    per: Floats
    rivals: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What it tells: a distance, and by how much one class leads, if there are."""
        lead = (f"lead of {self.value}",) if self.rivals else ()
        return (f"distance of {self.value}", *lead)

    @cached_property
    def places(self) -> list[int]:
        """Where the rivals are among its features."""
        return [self.features.index(name) for name in self.rivals]

    def told(self, own: Floats) -> Floats:
        """Return what its names say of rows, float32.

        The distance is a sum of squares, each rounded down; of one feature that is far
        it is no more than of one that is outside of twice its span. The lead is the
        largest of the rivals less the second largest.

        Args:
            own: Its features, of shape ``(rows, features)``.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.minimum(self._away(own), np.float32(MOST))
            told = [np.floor(near * near).sum(1)]
            if self.rivals:
                ordered = np.sort(own[:, self.places], 1)
                told.append(ordered[:, -1] - ordered[:, -2])
        return np.stack(told, 1).astype(np.float32)

    def doublings(self, own: Floats) -> NDArray[np.int64]:
        """Return how often half a span must be doubled to reach the furthest feature.

        Args:
            own: Its features, of shape ``(rows, features)``.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            furthest = self._away(own).max(1)
        return np.asarray((furthest[:, None] > RUNGS).sum(1), np.int64)

    def _away(self, own: Floats) -> Floats:
        return np.asarray(np.abs(own - self.middle) * self.per, np.float32)

    def as_record(self) -> dict[str, Any]:
        """Return plain data that a person can read, and `Distance.of_record`."""
        numbers = zip(self.middle.tolist(), self.per.tolist(), strict=True)
        spans = dict(zip(self.features, map(list, numbers), strict=True))
        return {"value": self.value, "features": spans, "rivals": list(self.rivals)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any] | None) -> Distance | None:
        """Return the distance that was recorded, if any."""
        if record is None:
            return None
        spans, rivals = record["features"], tuple(record["rivals"])
        middle, per = np.array(list(spans.values()), np.float32).T.copy()
        return cls(record["value"], tuple(spans), middle, per, rivals)


def distance_of(
    value: str, features: Sequence[str], clean: Floats, rivals: Sequence[str] = ()
) -> Distance:
    """Return the distance from fault-free rows.

    Args:
        value: Name of what the features are of.
        features: Their names.
        clean: Of fault-free inputs, of shape ``(rows, features)``; finite.
        rivals: Those of the features that are scores of classes.
    """
    low, high = clean.min(0).astype(float), clean.max(0).astype(float)
    middle = ((low + high) / 2).astype(np.float32)
    half = np.maximum((high - low) / 2, np.abs(middle) * _ROUNDING + _TINY)
    per = (_PARTS / half).astype(np.float32)
    contest = tuple(rivals) if len(rivals) > 1 else ()
    return Distance(value, tuple(features), middle, per, contest)
