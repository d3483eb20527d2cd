"""A calibrated alarm: anything unlike fault-free inputs, with a bound on false alarms.

References:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005: conformal
    prediction. Laxhammar and Falkman, 2010: conformal anomaly detection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Bounds, Floats, check_finite

__all__ = ["Alarm", "calibrated", "check_enough"]

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True, eq=False)
class Alarm:
    """Spans of features; an input with a feature outside of its span is unlike others.

    Args:
        low: Least value of each feature.
        high: Largest.
        rate: False alarms on inputs like the calibration's are no more likely.
        rows: Fault-free inputs that it was calibrated on.
    """

    low: Floats
    high: Floats
    rate: float
    rows: int

    def raised(self, features: Floats) -> NDArray[np.bool_]:
        """Say for each row whether it is unlike fault-free ones; NaN always is."""
        inside = (features >= self.low) & (features <= self.high)
        return np.asarray(~inside.all(1))

    def as_record(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return plain data that a person can read."""
        ends = zip(names, self.low.tolist(), self.high.tolist(), strict=True)
        spans = {name: [low, high] for name, low, high in ends}
        return {"rate": self.rate, "rows": self.rows, "spans": spans}

    @classmethod
    def of_record(cls, record: dict[str, Any], names: tuple[str, ...]) -> Alarm:
        """Return the alarm that was recorded, over features of such names."""
        spans = [record["spans"][name] for name in names]
        low, high = np.array(spans, np.float32).T
        return cls(low, high, float(record["rate"]), int(record["rows"]))


def calibrated(features: Floats, bounds: Bounds, rate: float) -> Alarm:
    """Widen bounds evenly until few enough fault-free inputs are outside.

    If another input is exchangeable with these, and none of them was used to find the
    bounds, the alarm is false with probability ``rate`` at most: the guarantee is over
    both, the input and the calibration.

    Args:
        features: Of fault-free inputs, of shape ``(rows, features)``.
        bounds: From other inputs.
        rate: Of false alarms.

    Raises:
        ValueError: There are too few inputs for such a rate, or one is not finite.
    """
    rows = len(features)
    check_enough(rate, rows)
    check_finite(features)
    # Not what is normalised: far outside of small bounds that is 1 in all digits.
    worst = np.sort(bounds.away(features.astype(float)).max(1))
    # One of rows + 1 alike inputs is among the highest so often.
    rank = math.ceil((rows + 1) * (1 - rate))
    away = float(worst[rank - 1])
    spans = [bounds.reach(number, away) for number in range(features.shape[1])]
    low, high = np.array(spans, np.float32).T
    # Rounding may put the input that sets the threshold outside of it.
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    low, high = (np.clip(end, -_LARGEST, _LARGEST) for end in (low, high))
    return Alarm(low.astype(np.float32), high.astype(np.float32), rate, rows)


def check_enough(rate: float, rows: int, of: int | None = None) -> None:
    """Refuse a rate of false alarms that so many fault-free inputs cannot promise.

    Args:
        rate: Of false alarms.
        rows: Inputs to calibrate with.
        of: Inputs in all, if these are a quarter of them.

    Raises:
        ValueError: It is none, or there are too few inputs.
    """
    if not 0 < rate < 1:
        raise ValueError(
            f"rate of false alarms must be between 0 and 1, got {rate:g}; give a share "
            "of fault-free inputs such as 0.01"
        )
    least = math.ceil(1 / rate) - 1
    if rows < least:
        higher = math.ceil(1000 / (rows + 1)) / 1000
        got, more = f"{rows}", "more"
        if of is not None:
            got, more = f"a quarter of {of}", f"{4 * least} inputs in all"
        raise ValueError(
            f"a false alarm rate of {rate:g} needs at least {least} fault-free inputs "
            f"to calibrate with, got {got}; give {more}, or allow a rate of "
            f"{min(higher, 0.999):g} or higher"
        )
