"""Scores: what of an output is judged, and its best classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["best_classes", "scores_of"]


def scores_of(output: Any) -> Tensor:
    """Return the scores in an output: itself, its ``logits``, or its first tensor.

    Raises:
        ValueError: There is no tensor in it.
    """
    if isinstance(output, Tensor):
        return output
    named = getattr(output, "logits", None)
    if named is None and isinstance(output, Mapping):
        named = output.get("logits")
    if isinstance(named, Tensor):
        return named
    tensors = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]
    if not tensors:
        raise ValueError(f"output must hold a tensor, got {type(output).__name__}")
    return tensors[0]


def best_classes(scores: Tensor, top_k: int) -> dict[str, NDArray[Any]]:
    """Return the best classes of each row and their scores."""
    scores, classes = _ranked(scores, top_k)
    ranks = range(top_k)
    return {
        **{f"top{rank}": classes[:, rank].cpu().numpy() for rank in ranks},
        **{f"score{rank}": scores[:, rank].cpu().numpy() for rank in ranks},
    }


def _ranked(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return the best scores and classes; of equals, the first leads, as in argmax."""
    best, classes = scores.topk(top_k)
    # Ties are rare and a stable sort is slow. NaN equals nothing and is sorted, too.
    tied = (scores >= best[:, -1:]).sum(1) != top_k
    tied |= ~(best[:, 1:] < best[:, :-1]).all(1)
    if bool(tied.any()):
        order = scores[tied].sort(dim=1, descending=True, stable=True)
        best[tied], classes[tied] = order.values[:, :top_k], order.indices[:, :top_k]
    return best.float(), classes
