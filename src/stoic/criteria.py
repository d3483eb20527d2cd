"""Criteria: what counts as a failure, judged for each input by itself.

A criterion compares the golden and the faulty scores. Its clearance says how far the
faulty scores are from the opposite verdict: a run whose last bits may be off is
trusted only where they are further than that away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stoic.detections import DetectionsChanged
from stoic.words import as_words

__all__ = [
    "AnyChange",
    "Criterion",
    "Custom",
    "DetectionsChanged",
    "Threshold",
    "Tolerance",
    "Top1Changed",
    "Top1Wrong",
    "TopKLost",
    "named_criterion",
    "unjudged",
]

# How criteria with numbers are written; those in brackets may be left out.
_FORMS = (
    *("top-k:K", "threshold:LEVEL", "tolerance:ABSOLUTE[,RELATIVE]"),
    "detections-changed:OVERLAP[,CONFIDENCE] (above 0, at most 1)",
)


class Criterion(Protocol):
    """A verdict per input; scores have one row per input."""

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Say for each input whether the faulty output is a failure."""
        ...

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Return for each input the least change of a score that turns the verdict."""
        ...

    def as_record(self) -> dict[str, Any]:
        """Return plain data that names the criterion."""
        ...


@dataclass(frozen=True)
class Top1Changed:
    """The best class is another one than without the fault."""

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input whose class differs, or whose scores are not all finite."""
        _check_scores(golden)
        moved: Tensor = golden.argmax(-1) != faulty.argmax(-1)
        return _broken(faulty) | moved

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Half the lead of the golden class over the best other, or its lag."""
        return _lead(faulty, golden.argmax(-1)).abs() / 2

    def as_record(self) -> dict[str, Any]:
        """Name the criterion."""
        return {"name": "top1-changed"}


@dataclass(frozen=True)
class Top1Wrong:
    """The class was right without the fault and is wrong with it."""

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input that the golden run got right and the faulty run did not."""
        _check_scores(golden)
        labels = _check_labels(labels, golden)
        right: Tensor = golden.argmax(-1) == labels
        wrong: Tensor = _broken(faulty) | (faulty.argmax(-1) != labels)
        return right & wrong

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Half the lead or lag of the right class; endless where golden was wrong."""
        labels = _check_labels(labels, golden)
        half = _lead(faulty, labels).abs() / 2
        missed: Tensor = golden.argmax(-1) != labels
        return half.masked_fill(missed, math.inf)

    def as_record(self) -> dict[str, Any]:
        """Name the criterion."""
        return {"name": "top1-wrong"}


@dataclass(frozen=True)
class TopKLost:
    """The golden class is no longer among the ``k`` best; of equals, the first leads.

    Args:
        k: How many count as found.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input whose golden class fell out of the ``k`` best."""
        _check_scores(golden)
        if self.k >= golden.shape[-1]:
            raise ValueError(
                f"k must be in 1..{golden.shape[-1] - 1} for {golden.shape[-1]} "
                f"classes, got {self.k}"
            )
        classes = golden.argmax(-1, keepdim=True)
        own = faulty.gather(-1, classes)
        earlier = torch.arange(faulty.shape[-1], device=faulty.device) < classes
        ahead: Tensor = (faulty > own) | ((faulty == own) & earlier)
        return _broken(faulty) | (ahead.sum(-1) >= self.k)

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Half the distance of the golden class from the ``k``-th best other."""
        classes, scores = golden.argmax(-1, keepdim=True), _numbers(faulty)
        own = scores.gather(-1, classes).squeeze(-1)
        others = scores.scatter(-1, classes, -math.inf).topk(self.k).values[:, -1]
        return (own - others).abs() / 2

    def as_record(self) -> dict[str, Any]:
        """Name the criterion and its ``k``."""
        return {"name": "top-k", "k": self.k}


@dataclass(frozen=True)
class Threshold:
    """A score is on the other side of a decision threshold.

    Args:
        level: The threshold; a score above it is a yes.
    """

    level: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.level):
            raise ValueError(f"level must be finite, got {self.level}")

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input of which any score changed sides or is not finite."""
        before, after = _numbers(golden), _numbers(faulty)
        moved = (before > self.level) != (after > self.level)
        return (moved | ~after.isfinite()).any(1)

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """The distance of the nearest score from the threshold."""
        return (_numbers(faulty) - self.level).abs().amin(1)

    def as_record(self) -> dict[str, Any]:
        """Name the criterion and its threshold."""
        return {"name": "threshold", "level": self.level}


@dataclass(frozen=True)
class Tolerance:
    """A score is off by more than ``absolute + relative * |golden|``."""

    absolute: float
    relative: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in (("absolute", self.absolute), ("relative", self.relative)):
            if not 0 <= limit < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {limit}")

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input of which any score is off, or not finite."""
        excess = self._excess(golden, faulty)
        return ~(excess <= 0).all(1)

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """How far the worst score is from the edge of the tolerance."""
        return self._excess(golden, faulty).amax(1).abs()

    def _excess(self, golden: Any, faulty: Any) -> Tensor:
        before, after = _numbers(golden), _numbers(faulty)
        return (after - before).abs() - (self.absolute + self.relative * before.abs())

    def as_record(self) -> dict[str, Any]:
        """Name the criterion and its limits."""
        return {
            "name": "tolerance",
            "absolute": self.absolute,
            "relative": self.relative,
        }


@dataclass(frozen=True)
class AnyChange:
    """Any word of the scores is another one."""

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Fail an input of which any word differs; NaN and -0.0 are words too."""
        _check_rows(golden)
        moved = as_words(golden) != as_words(faulty)
        return moved.reshape(len(moved), -1).any(1)

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """How much the scores moved: rounding alone may have moved them."""
        return (_numbers(faulty) - _numbers(golden)).abs().amax(1)

    def as_record(self) -> dict[str, Any]:
        """Name the criterion."""
        return {"name": "any-change"}


@dataclass(frozen=True)
class Custom:
    """A function of the user's: ``(golden, faulty, labels)`` to failed per input.

    It gets the network's own outputs, after the case's tail. As nothing is known of its
    edges, its trials are always run exactly.

    Args:
        function: The verdict.
        name: As records write it.
    """

    function: Callable[[Any, Any, Tensor | None], Any]
    name: str = "custom"

    def failed(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Ask the function."""
        try:
            verdict = torch.as_tensor(self.function(golden, faulty, labels))
        except Exception as error:
            raise ValueError(unjudged(self.name, error)) from error
        if verdict.dtype != torch.bool or verdict.dim() != 1:
            raise ValueError(
                f"criterion {self.name} must return one bool per input, "
                f"got {verdict.dtype} of shape {tuple(verdict.shape)}"
            )
        return verdict

    def clearance(self, golden: Any, faulty: Any, labels: Tensor | None) -> Tensor:
        """Nothing is known: no distance is safe."""
        return torch.zeros(len(self.failed(golden, golden, labels)))

    def as_record(self) -> dict[str, Any]:
        """Name the criterion and the function."""
        return {"name": "custom", "function": self.name}


def named_criterion(text: str) -> Criterion:
    """Return the criterion that a text such as ``top-k:5`` or ``threshold:0.5`` names.

    Raises:
        ValueError: There is none of that name, or its number is missing.
    """
    name, _, number = text.partition(":")
    plain: dict[str, Criterion] = {
        "top1-changed": Top1Changed(),
        "top1-wrong": Top1Wrong(),
        "any-change": AnyChange(),
        "detections-changed": DetectionsChanged(),
    }
    numbered: dict[str, Callable[[str], Criterion]] = {
        "top-k": lambda value: TopKLost(int(value)),
        "threshold": lambda value: Threshold(float(value)),
        "tolerance": lambda value: Tolerance(*map(float, value.split(","))),
        "detections-changed": lambda value: DetectionsChanged(
            *map(float, value.split(","))
        ),
    }
    if name in plain and not number:
        return plain[name]
    try:
        return numbered[name](number)
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f"criterion must be one of {', '.join([*plain, *_FORMS])}, got {text!r}"
        ) from None


def unjudged(name: str, error: Exception) -> str:
    """Say in one line that a criterion raised."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"criterion {name} must judge every output, got {reason[:200]}"


def _numbers(scores: Any) -> Tensor:
    """Return scores of any format as numbers, one row per input."""
    _check_rows(scores)
    numbers: Tensor = scores.double().reshape(len(scores), -1)
    return numbers


def _broken(faulty: Tensor) -> Tensor:
    # argmax of an all-NaN row is 0 and would mask failures of class-0 inputs.
    return ~faulty.isfinite().all(dim=-1)


def _lead(scores: Tensor, classes: Tensor) -> Tensor:
    """Return by how much a class leads the best other one; negative if it lags."""
    scores = _numbers(scores)
    own: Tensor = scores.gather(-1, classes[:, None]).squeeze(-1)
    others = scores.scatter(-1, classes[:, None], -math.inf).amax(-1)
    return own - others


def _check_rows(scores: Any) -> None:
    if not isinstance(scores, Tensor) or not scores.dim() or not scores.numel():
        raise ValueError(
            "output must be a tensor of scores, one row per input, for this "
            f"criterion, got {_told(scores)}; give a tail or a function"
        )


def _check_scores(golden: Any) -> None:
    if not isinstance(golden, Tensor) or golden.dim() != 2 or golden.shape[1] < 2:
        raise ValueError(
            "output must be scores of 2 or more classes per input for this criterion, "
            f"got {_told(golden)}; choose tolerance, threshold, any-change or a "
            "function"
        )


def _told(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    return type(output).__name__


def _check_labels(labels: Tensor | None, golden: Tensor) -> Tensor:
    if labels is None:
        raise ValueError("labels must be given for criterion top1-wrong, got none")
    return labels.to(golden.device)
