"""Mean average precision: how good detections are, whatever score counts as found.

References:
    Everingham et al., The PASCAL visual object classes challenge: a retrospective,
    2015: the area under the precision-recall curve, all points of it.
"""

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from stoic.detections import overlaps

__all__ = ["average_precision", "mean_average_precision"]

_ENOUGH = 0.5

Detections = Float32[Tensor, "scene detection 6"]
Truth = Float32[Tensor, "scene most 5"]


def mean_average_precision(found: Detections, labels: Truth, *, classes: int) -> float:
    """Return the mean over the classes that there are examples of.

    Args:
        found: Box, class and score of each detection, the best of a scene first; a
            class of -1 is none.
        labels: Box and class of each sign; a class of -1 is none.
        classes: How many there are.

    Raises:
        ValueError: There is no example of any class.
    """
    hits = _hits(found, labels)
    each = []
    for number in range(classes):
        mine = found[..., 4] == number
        examples = int((labels[..., 4] == number).sum())
        if examples:
            each.append(average_precision(found[mine][:, 5], hits[mine], examples))
    if not each:
        raise ValueError("labels must hold an example of a class, got none")
    return sum(each) / len(each)


def average_precision(
    scores: Float32[Tensor, " detection"],
    hits: Bool[Tensor, " detection"],
    examples: int,
) -> float:
    """Return the area under the curve of the best precision at each recall or above."""
    hits = hits[scores.argsort(descending=True, stable=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    best = precision.flip(0).cummax(0).values.flip(0)
    return float((best * hits).sum() / examples)


def _hits(found: Detections, labels: Truth) -> Bool[Tensor, "scene detection"]:
    """Say which detections hit a sign that no better one has hit."""
    share = overlaps(found[..., :4], labels[..., :4])
    share = share.masked_fill(found[..., 4, None] != labels[:, None, :, 4], 0)
    share = share.masked_fill(labels[:, None, :, 4] < 0, 0)
    best, which = share.max(2)
    hits = torch.zeros_like(best, dtype=torch.bool)
    taken = torch.zeros(labels.shape[:2], dtype=torch.bool)
    for number in range(found.shape[1]):
        mine = which[:, number, None]
        hit = (best[:, number, None] >= _ENOUGH) & ~taken.gather(1, mine)
        hits[:, number] = hit[:, 0]
        taken.scatter_(1, mine, taken.gather(1, mine) | hit)
    return hits
