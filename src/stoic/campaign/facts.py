"""Facts of a trial: what of the output changed, for each input by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.campaign.moved import Moved, differing, gaps, taken
from stoic.campaign.scores import best_classes, scores_of
from stoic.criteria import Criterion, Custom, unjudged

__all__ = [
    "CriterionError",
    "Facts",
    "Judge",
    "RaisedError",
    "Standing",
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
    """What is known of the rows of an output.

    Args:
        told: Rows that have facts. The words of the others are the golden ones, or,
            where last bits may be off, too close to them for another verdict.
        columns: Of those rows, as the table of outcomes has them.
        unsure: Rows on which rounding could have turned the verdict.
    """

    told: NDArray[Any]
    columns: dict[str, NDArray[Any]]
    unsure: NDArray[Any]


@dataclass(frozen=True)
class Standing:
    """Where the golden output of each row stands.

    Args:
        size: The largest score of the batch; endless where rounding cannot be told.
        clearance: The least change of a score that turns its verdict.
    """

    size: Tensor
    clearance: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Standing]) -> Standing:
        """Return the standings of several batches as that of one."""
        sizes, clearances = zip(*((p.size, p.clearance) for p in parts), strict=True)
        return cls(torch.cat(sizes), torch.cat(clearances))

    def at(self, rows: Tensor) -> Standing:
        """Return the standing of some rows."""
        return Standing(self.size[rows], self.clearance[rows])


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

    @property
    def opaque(self) -> bool:
        """Whether a tail or criterion of the user's may compute anything."""
        return self.tail is not None or isinstance(self.criterion, Custom)

    def verdict_input(self, output: Any) -> Any:
        """Return what the criterion judges: the tail's result or the scores."""
        if self.tail is not None:
            return self.tail(output)
        if isinstance(self.criterion, Custom):
            return output
        return scores_of(output)

    def standing(self, golden: Any, labels: Tensor | None) -> Standing:
        """Return where a golden output stands."""
        scores = self.verdict_input(golden)
        clearance = self.criterion.clearance(scores, scores, labels).cpu()
        if self.tail is not None or not _is_floating(scores):
            return Standing(torch.full_like(clearance, np.inf), clearance)
        # Of all rows: one may be small because large terms cancel, with their rounding.
        size = scores.abs().max().cpu().double()
        return Standing(size.expand(len(scores)), clearance)

    def exact_facts(
        self, golden: Any, faulty: Any, labels: Tensor | None, count: int
    ) -> Facts:
        """Compare a faulty output that is right to the bit with the golden one.

        Args:
            golden: The network's output without the fault.
            faulty: And with it.
            labels: Of the rows.
            count: Number of rows.

        Raises:
            CriterionError: The criterion raised.
            RaisedError: The tail raised, or the output has another shape.
        """
        before, after = self._compared(golden, faulty)
        told = differing(golden, faulty, count)
        rows = torch.from_numpy(told.nonzero()[0])
        moved = gaps(golden, faulty, count, rows)
        failed, _ = self._verdicts_of(before, after, labels, count, rows, exact=True)
        columns = {"differs": np.ma.masked_array(told[told], False), "failed": failed}
        columns |= self._more(moved, faulty, count, rows)
        return Facts(told, columns, np.zeros(count, bool))

    def fast_facts(
        self,
        golden: Any,
        faulty: Any,
        labels: Tensor | None,
        count: int,
        standing: Standing,
    ) -> Facts:
        """Compare a faulty output whose last bits may be off, as `exact_facts` does.

        Args:
            golden: The network's output without the fault.
            faulty: And with it.
            labels: Of the rows.
            count: Number of rows.
            standing: Of the golden output, row by row.
        """
        before, after = self._compared(golden, faulty)
        moved = gaps(golden, faulty, count)
        deviation = torch.from_numpy(moved.deviation)
        room = self._room(standing.size + deviation, after)
        near = (deviation <= room) & (standing.clearance > 2 * room)
        told = (~near).numpy() | (moved.nonfinite > 0)
        rows = torch.from_numpy(told.nonzero()[0])
        failed, clearance = self._verdicts_of(
            before, after, labels, count, rows, exact=False
        )
        unsure = np.zeros(count, bool)
        # "Not further" rather than "closer": NaN is neither.
        unsure[told] = ~(clearance > room[rows]).numpy()
        unsure |= moved.nonfinite > 0
        away = (deviation > room).numpy()[told]
        columns = {"differs": np.ma.masked_array(away, ~away), "failed": failed}
        columns |= self._more(moved.of(told), faulty, count, rows)
        return Facts(told, columns, unsure)

    def _compared(self, golden: Any, faulty: Any) -> tuple[Any, Any]:
        before, after = self.verdict_input(golden), self._faulty_input(faulty)
        if isinstance(before, Tensor) and before.shape != after.shape:
            shapes = (tuple(output.shape) for output in (before, after))
            raise RaisedError("output must have shape {}, got {}".format(*shapes))
        return before, after

    def _verdicts_of(
        self,
        before: Any,
        after: Any,
        labels: Tensor | None,
        count: int,
        rows: Tensor,
        *,
        exact: bool,
    ) -> tuple[NDArray[Any], Tensor]:
        """Return verdict and clearance of some rows, asking for no others if it can."""
        if not len(rows):
            return np.zeros(0, bool), torch.zeros(0)
        apart = isinstance(before, Tensor) and not isinstance(self.criterion, Custom)
        if apart and len(before) == count:
            before, after = taken(before, rows), taken(after, rows)
            labels = None if labels is None else taken(labels, rows)
            failed, clearance = self.verdicts(before, after, labels, exact=exact)
            return failed.cpu().numpy(), clearance
        failed, clearance = self.verdicts(before, after, labels, exact=exact)
        if failed.shape != (count,):
            name = self.criterion.as_record()["name"]
            raise CriterionError(
                f"criterion {name} must give a verdict for each of {count} inputs, "
                f"got shape {tuple(failed.shape)}"
            )
        return failed.cpu()[rows].numpy(), clearance if exact else clearance[rows]

    def _more(
        self, moved: Moved, faulty: Any, count: int, rows: Tensor
    ) -> dict[str, NDArray[Any]]:
        """Return the facts that need no verdict."""
        columns = {
            "nonfinite": moved.nonfinite,
            "nonfinite_at": moved.nonfinite_at,
            "deviation": moved.deviation,
        }
        if self.top_k:
            columns |= best_classes(taken(scores_of(faulty), rows), self.top_k)
        return columns

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

    def _room(self, size: Tensor, scores: Any) -> Tensor:
        """Return how far rounding may have carried scores that are at most so large.

        Endless where it cannot be told: behind a tail or in whole numbers, and close to
        an overflow.
        """
        if not _is_floating(scores):
            return torch.full_like(size, np.inf)
        format = torch.finfo(scores.dtype)
        room: Tensor = self.slack * format.eps * size
        return room.masked_fill(~(size * _NEAR_OVERFLOW <= format.max), np.inf)


def _is_floating(scores: Any) -> bool:
    return isinstance(scores, Tensor) and scores.is_floating_point()
