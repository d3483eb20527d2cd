"""Facts of a trial: what of the output changed, for each input by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.criteria import Criterion, Custom, unjudged

__all__ = [
    "CriterionError",
    "Facts",
    "Judge",
    "RaisedError",
    "best_classes",
    "scores_of",
    "told",
]

# Fast runs this close to the largest number of the format are not trusted.
_NEAR_OVERFLOW = 1000.0


class CriterionError(ValueError):
    """The criterion failed to judge an output: no fault of the network's."""


class RaisedError(RuntimeError):
    """The faulty network or its tail raised, as on the machine: that is an outcome."""


def told(error: Exception) -> str:
    """Say in a short line what was raised."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


@dataclass(frozen=True)
class Facts:
    """One row per row of an output.

    Args:
        columns: As the table of outcomes has them, without trial and input.
        masked: Rows whose output words are the golden ones.
        unsure: Rows on which rounding could have turned the verdict.
    """

    columns: dict[str, NDArray[Any]]
    masked: NDArray[Any]
    unsure: NDArray[Any]


@dataclass(frozen=True)
class Judge:
    """What facts are taken and which verdict is passed.

    Args:
        criterion: The verdict.
        tail: What the user does with the network's output outside the graph.
        top_k: How many of the best classes are kept.
        slack: A score closer than this, in roundings of the largest score, to the
            opposite verdict is not trusted from a run whose last bits may be off.
    """

    criterion: Criterion
    tail: Any = None
    top_k: int = 1
    slack: float = 256.0

    def verdict_input(self, output: Any) -> Any:
        """Return what the criterion judges: the tail's result or the scores."""
        if self.tail is not None:
            return self.tail(output)
        if isinstance(self.criterion, Custom):
            return output
        return scores_of(output)

    def facts(
        self, golden: Any, faulty: Any, labels: Tensor | None, *, exact: bool
    ) -> Facts:
        """Compare a faulty output with the golden one, row by row.

        Args:
            golden: The network's output without the fault.
            faulty: And with it.
            labels: Of the rows.
            exact: Whether the faulty output is right to the bit.

        Raises:
            CriterionError: The criterion raised.
            RaisedError: The tail raised, or the output has another shape.
        """
        before, after = self.verdict_input(golden), self._faulty_input(faulty)
        if isinstance(before, Tensor) and before.shape != after.shape:
            shapes = (tuple(output.shape) for output in (before, after))
            raise RaisedError("output must have shape {}, got {}".format(*shapes))
        failed, clearance = self.verdicts(before, after, labels, exact=exact)
        moved = compared(golden, faulty, len(failed))
        unsure = np.zeros(len(failed), bool)
        differs = np.ma.masked_array(moved.differs, unsure)
        if not exact:
            room = self._room(after)
            # "Not further" rather than "closer": NaN is neither.
            unsure = ~(clearance > room).numpy() | (moved.nonfinite > 0)
            differs = np.ma.masked_array(
                moved.differs, ~(torch.from_numpy(moved.deviation) > room).numpy()
            )
        columns: dict[str, Any] = {
            "differs": differs,
            "failed": failed.cpu().numpy(),
            "nonfinite": moved.nonfinite,
            "deviation": moved.deviation,
            **best_classes(faulty, self.top_k, len(failed)),
        }
        return Facts(columns, ~moved.differs & exact, unsure)

    def _faulty_input(self, faulty: Any) -> Any:
        try:
            return self.verdict_input(faulty)
        except Exception as error:
            raise RaisedError(told(error)) from error

    def verdicts(
        self, before: Any, after: Any, labels: Tensor | None, *, exact: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the verdict on each input and, unless exact, its clearance.

        Raises:
            CriterionError: The criterion raised.
        """
        try:
            failed = self.criterion.failed(before, after, labels)
            if exact:
                return failed, torch.zeros(0)
            return failed, self.criterion.clearance(before, after, labels).cpu()
        except ValueError as error:
            raise CriterionError(str(error)) from error
        except Exception as error:
            name = self.criterion.as_record()["name"]
            raise CriterionError(unjudged(name, error)) from error

    def _room(self, scores: Any) -> Tensor:
        """Return how far rounding may have carried the scores of each input.

        Endless where it cannot be told: behind a tail or in whole numbers, and close to
        an overflow.
        """
        if self.tail is not None or not _is_floating(scores):
            return torch.tensor([np.inf])
        format = torch.finfo(scores.dtype)
        sizes = scores.abs().nan_to_num(0, 0, 0).reshape(len(scores), -1)
        size = sizes.amax(1).cpu().double()
        room: Tensor = self.slack * format.eps * size
        return room.masked_fill(size * _NEAR_OVERFLOW > format.max, np.inf)


@dataclass(frozen=True)
class _Moved:
    differs: NDArray[Any]
    nonfinite: NDArray[Any]
    deviation: NDArray[Any]


def compared(golden: Any, faulty: Any, inputs: int) -> _Moved:
    """Compare outputs word by word, over all tensors with a row per input."""
    differs = np.zeros(inputs, bool)
    nonfinite = np.zeros(inputs, np.int64)
    deviation = np.zeros(inputs, np.float32)
    pairs = zip(pytree.tree_leaves(golden), pytree.tree_leaves(faulty), strict=True)
    for a, b in pairs:
        if not isinstance(a, Tensor) or not a.numel() + b.numel():
            continue
        if a.shape != b.shape:
            # As of boxes found: they belong to no input and cannot be subtracted.
            differs[:] = True
            continue
        a, b = (_rowed(t, inputs) for t in (a, b))
        differs |= (_words(a) != _words(b)).any(1).cpu().numpy()
        gap, broken = _gap(a, b)
        deviation = np.maximum(deviation, gap.cpu().numpy())
        nonfinite += broken.cpu().numpy()
    return _Moved(differs, nonfinite, deviation)


def _gap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest finite difference of each row, and how many values broke."""
    gap = (b.double() - a.double()).abs()
    largest = gap.amax(1)
    if bool(largest.isfinite().all()):
        return largest.float(), torch.zeros(len(a), dtype=torch.int64)
    broken = (~b.isfinite() & a.isfinite()).sum(1)
    return torch.where(gap.isfinite(), gap, 0.0).amax(1).float(), broken


def _rowed(tensor: Tensor, inputs: int) -> Tensor:
    """Return a tensor as one row per input; what has no rows belongs to every input."""
    if tensor.dim() and tensor.shape[0] == inputs:
        return tensor.reshape(inputs, -1)
    return tensor.reshape(1, -1).expand(inputs, -1)


def _words(tensor: Tensor) -> Tensor:
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(kinds[tensor.element_size()])


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


def best_classes(output: Any, top_k: int, inputs: int) -> dict[str, NDArray[Any]]:
    """Return the best classes and their scores, where the output has classes."""
    if not top_k:
        return {}
    scores, classes = _ranked(scores_of(output), top_k)
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


def _is_floating(scores: Any) -> bool:
    return isinstance(scores, Tensor) and scores.is_floating_point()
