"""From the network's raw output to detections: decoding and non-maximum suppression.

All of it is outside of the network's graph.
"""

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from stoic.cases.scenes.layout import SIZE
from stoic.cases.scenes.network import CELL
from stoic.detections import overlaps

__all__ = ["DETECTIONS", "decode", "detect", "middles", "suppressed"]

DETECTIONS = 16
"""Detections of a picture at most; rows that are left have a class of -1."""

_CANDIDATES = 48
_TOO_NEAR = 0.5

Raw = Float32[Tensor, "scene channel row column"]
Detections = Float32[Tensor, "scene detection 6"]


def detect(raw: Raw) -> Detections:
    """Return left, top, right, bottom, class and score, the best detections first.

    Of detections of one class that overlap by half, the best stays. Whatever is not
    finite gets through: it ranks first and nothing suppresses it.
    """
    best = _best(decode(raw), _CANDIDATES)
    weak = suppressed(best)
    best[..., 4] = best[..., 4].masked_fill(weak, -1)
    best[..., 5] = best[..., 5].masked_fill(weak, 0)
    return _best(best, DETECTIONS)


def decode(raw: Raw) -> Detections:
    """Return one detection for each cell, row by row.

    The score is the probability of a sign times that of its best class. It is NaN where
    any number of the cell is not finite.
    """
    cells = raw.flatten(2).transpose(1, 2)
    there, sides, classes = cells.split([1, 4, cells.shape[2] - 5], dim=2)
    middle = middles(raw.shape[2], raw.shape[3]).to(raw.device)
    away = sides.float().exp() * CELL
    boxes = torch.cat([middle - away[..., :2], middle + away[..., 2:]], dim=2)
    likely = classes.float().softmax(2).max(2, keepdim=True)
    score = there.float().sigmoid() * likely.values
    score = score.masked_fill(~cells.isfinite().all(2, keepdim=True), torch.nan)
    return torch.cat([boxes.clamp(0, SIZE), likely.indices.float(), score], dim=2)


def suppressed(detections: Detections) -> Bool[Tensor, "scene detection"]:
    """Say which detections a better one of their class suppresses; the best is first.

    A detection that is suppressed itself suppresses none; nor does one whose score is
    not finite, and none suppresses it.
    """
    boxes, classes, scores = detections.split([4, 1, 1], dim=2)
    near = overlaps(boxes, boxes) > _TOO_NEAR
    near &= classes == classes.transpose(1, 2)
    near &= scores.isfinite() & scores.isfinite().transpose(1, 2)
    weak = torch.zeros(near.shape[:2], dtype=torch.bool, device=near.device)
    for number in range(near.shape[1] - 1):
        after = near[:, number, number + 1 :] & ~weak[:, number, None]
        weak[:, number + 1 :] |= after
    return weak


def _best(detections: Detections, count: int) -> Float32[Tensor, "scene best 6"]:
    """Return the ``count`` best by score; NaN is ahead, of equals the first leads."""
    order = detections[..., 5].argsort(dim=1, descending=True, stable=True)[:, :count]
    return detections.gather(1, order[..., None].expand(-1, -1, 6))


def middles(rows: int, columns: int) -> Float32[Tensor, "cell 2"]:
    """Return the middle of each cell of a grid, row by row, in pixels."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return (torch.stack([x, y], dim=2).flatten(0, 1) + 0.5) * CELL
