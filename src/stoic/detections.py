"""Detections: how boxes overlap, what is found, and when a fault changes that.

Detections are rows of left, top, right, bottom, class and score, labels such rows
without a score; of each input there are as many as of any other. A class below 0 fills
up: it is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["DetectionsChanged", "found", "overlaps"]

_BOX, _CLASS, _SCORE = slice(0, 4), 4, 5
_LABEL_WIDTH, _WIDTH = 5, 6

Detections = Float[Tensor, "input detection 6"]
Labels = Float[Tensor, "input truth 5"]


@dataclass(frozen=True)
class DetectionsChanged:
    """Other numbers of true positives, false positives or misses than without a fault.

    Without labels, the golden detections are the truth.

    Args:
        overlap: Of a detection with what it finds, at least.
        confidence: Score of a detection that counts, at least.
    """

    overlap: float = 0.5
    confidence: float = 0.25

    def __post_init__(self) -> None:
        for name, value in (
            ("overlap", self.overlap),
            ("confidence", self.confidence),
        ):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value}")

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input with other counts, or of which any number is not finite."""
        hint = "; give a tail that makes them"
        for output in (golden, faulty):
            _check(output, "output", "box, class and score", _WIDTH, hint)
        if labels is None:
            labels = self._sure(golden)
        _check(labels, "labels", "box and class", _LABEL_WIDTH)
        labels = labels.to(golden.device)
        moved = (self._counts(golden, labels) != self._counts(faulty, labels)).any(1)
        broken: Tensor = ~faulty.isfinite().flatten(1).all(1)
        return broken | moved

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """No distance is safe: boxes and scores are numbers of different kinds."""
        return torch.zeros(len(faulty), dtype=torch.float64)

    def as_record(self) -> dict[str, Any]:
        """Name the criterion and its limits."""
        return {
            "name": "detections-changed",
            "overlap": self.overlap,
            "confidence": self.confidence,
        }

    def _counts(self, output: Detections, labels: Labels) -> Int64[Tensor, "input 2"]:
        """Return true and false positives; misses are the rest of the labels."""
        sure = self._sure(output)
        right = found(sure, labels, self.overlap)
        return torch.stack([right, (sure[..., _CLASS] >= 0).sum(1) - right], dim=1)

    def _sure(self, output: Detections) -> Labels:
        """Return detections that count, as labels; the others become nothing."""
        sure = output[..., :_LABEL_WIDTH].to(torch.float64, copy=True)
        # Not "less": a score that is NaN does not count.
        sure[..., _CLASS][~(output[..., _SCORE] >= self.confidence)] = -1
        return sure


def found(ones: Labels, truth: Labels, overlap: float = 0.5) -> Int64[Tensor, " input"]:
    """Return how much of the truth is found, in the matching that finds the most.

    Args:
        ones: Boxes and classes; each finds one at most.
        truth: Boxes and classes; each is found by one at most, of its class.
        overlap: Of the two, at least.
    """
    # Areas may be beyond the largest number of a half.
    share = overlaps(ones[..., _BOX].double(), truth[..., _BOX].double())
    same = ones[:, :, None, _CLASS] == truth[:, None, :, _CLASS]
    fits = (share >= overlap) & same & (truth[:, None, :, _CLASS] >= 0)
    # Where no detection has a choice, whatever fits any is found.
    count = fits.any(1).sum(1)
    for number in (fits.sum(2) > 1).any(1).nonzero()[:, 0].tolist():
        worth = fits[number].cpu().double().numpy()
        count[number] = int(worth[linear_sum_assignment(worth, maximize=True)].sum())
    return count


def overlaps(
    ones: Float[Tensor, "*input one 4"], others: Float[Tensor, "*input other 4"]
) -> Float[Tensor, "*input one other"]:
    """Return the intersection over the union of each box with each other one.

    It is 0 where the union has no area, and NaN where a box has no numbers.
    """
    one, other = ones[..., :, None, :], others[..., None, :, :]
    before = torch.maximum(one[..., :2], other[..., :2])
    after = torch.minimum(one[..., 2:], other[..., 2:])
    common = (after - before).clamp(min=0).prod(-1)
    union = _area(one) + _area(other) - common
    share: Tensor = common / union
    return share.masked_fill(union <= 0, 0)


def _area(boxes: Tensor) -> Tensor:
    area: Tensor = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    return area


def _check(rows: Any, name: str, what: str, width: int, hint: str = "") -> None:
    shape = tuple(rows.shape) if isinstance(rows, Tensor) else None
    if shape is None or len(shape) != 3 or shape[2] != width:
        got = type(rows).__name__ if shape is None else f"a tensor of shape {shape}"
        raise ValueError(
            f"{name} must be rows of {what}, of shape (inputs, rows, {width}), for "
            f"criterion detections-changed, got {got}{hint}"
        )
