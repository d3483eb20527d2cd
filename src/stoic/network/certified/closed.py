"""Faults in the last linear layer, whose verdicts follow without a run.

A word of the weight or bias moves one score, the sum of one row; the others keep their
words. What that sum will be is known up to rounding: most verdicts are certain, also of
failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from stoic.network.certified.rounding import is_plain, relative, smallest
from stoic.network.certified.thresholds import is_alone
from stoic.network.program import Program, Ref, Step, Values
from stoic.network.subject import Inputs

__all__ = [
    "FAILS",
    "HOLDS",
    "OPEN",
    "Kind",
    "LastLinear",
    "closed_verdicts",
    "last_linear",
    "last_linear_of",
]

Kind = Literal["weight", "bias"]
FAILS: Final = 1
HOLDS: Final = 0
OPEN: Final = -1

_ATEN = torch.ops.aten
_KINDS: tuple[Kind, ...] = ("weight", "bias")
_FORMATS = (torch.float32, torch.float64)
# Where operands stand in ``linear(x, weight, bias)`` and ``addmm(bias, x, weight)``.
_PLACES = {_ATEN.linear.default: (0, 1, 2), _ATEN.addmm.default: (1, 2, 0)}
# Products of the two largest numbers, made so much smaller, are still numbers.
_SCALE = 2.0**-64
# A product beyond the largest number by this, and by all other terms, overflows.
_BEYOND = 1 + 1e-6
# Verdicts that are made at once, so that their numbers stay in the cache.
_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class LastLinear:
    """The layer that makes the scores.

    Args:
        x: What it reads, golden, [inputs, features].
        weight: [classes, features].
        bias: [classes], if there is one.
        scores: Golden, [inputs, classes].
        kinds: Which of its operands are stored and read by nobody else, by name.
        turned: Whether the weight is stored as [features, classes].
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    scores: Tensor
    kinds: dict[str, Kind]
    turned: bool

    def verdicts(self, name: str, elements: Tensor, words: Tensor) -> Tensor:
        """Return ``closed_verdicts`` for elements of a stored value.

        Args:
            name: One of ``kinds``.
            elements: Flat indices in row-major order, as stored.
            words: What each of them becomes, [elements, words].
        """
        if self.turned and self.kinds[name] == "weight":
            classes, features = self.weight.shape
            elements = elements % classes * features + elements // classes
        operands = (self.x, self.weight, self.bias, self.scores)
        return closed_verdicts(*operands, words, elements, self.kinds[name])


@torch.no_grad()
def last_linear(program: Program, inputs: Inputs, scores: str) -> LastLinear | None:
    """Return the layer that makes the scores, if it is linear and its sums are plain.

    Args:
        program: What is run.
        inputs: On which it is run.
        scores: The value that is judged.
    """
    with torch.inference_mode():
        values = program.run(inputs.leaves)
    return last_linear_of(program, values, scores)


@torch.no_grad()
def last_linear_of(program: Program, values: Values, scores: str) -> LastLinear | None:
    """Return the same as `last_linear` for all values of a run."""
    step = program.by_name.get(scores)
    if step is None or step.op not in _PLACES or step.kwargs:
        return None
    names = [_name(step, place) for place in _PLACES[step.op]]
    kinds: dict[str, Kind] = {}
    for name, kind in zip(names[1:], _KINDS, strict=True):
        if name in program.stored and is_alone(program, name):
            kinds[name] = kind
    x, weight, bias = (values[name] if name else None for name in names)
    assert x is not None
    assert weight is not None
    turned = step.op is _ATEN.addmm.default
    weight = weight.t() if turned else weight
    layer = LastLinear(x, weight, bias, values[scores], kinds, turned)
    return layer if _is_known(layer) else None


def _name(step: Step, place: int) -> str:
    """Return the name of the value at a place of the arguments; empty for none."""
    arg = step.args[place] if place < len(step.args) else None
    return arg.name if isinstance(arg, Ref) else ""


def _is_known(layer: LastLinear) -> bool:
    """Say whether each score is the plain sum of one row, with scores to compare."""
    given = [layer.x, layer.weight, layer.scores]
    given += [] if layer.bias is None else [layer.bias]
    shapes = [tuple(tensor.shape) for tensor in (layer.x, layer.weight, layer.scores)]
    inputs, classes = shapes[2][0], shapes[2][-1]
    features = shapes[0][-1]
    return (
        shapes == [(inputs, features), (classes, features), (inputs, classes)]
        and (layer.bias is None or layer.bias.shape == (classes,))
        and classes > 1
        and {tensor.dtype for tensor in given} <= {layer.x.dtype}
        and layer.x.dtype in _FORMATS
        and is_plain(layer.x.device)
    )


def closed_verdicts(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    golden_scores: Tensor,
    new_words: Tensor,
    element: Tensor,
    kind: Kind,
) -> Tensor:
    """Return whether faults in a linear layer change the best class of each input.

    Rounding is allowed for as in any sum of as many terms, twice over; a score that is
    no number any more is a failure.

    Args:
        x: What the layer reads, [inputs, features], float32 or float64.
        weight: [classes, features].
        bias: [classes], if there is one.
        golden_scores: [inputs, classes], of a run on a CPU.
        new_words: Numbers, infinities and NaN that words become, [elements, words].
        element: Flat indices of those words in the weight or the bias, [elements].
        kind: Which of the two.

    Returns:
        int8 of shape [inputs, elements, words]: ``FAILS``, ``HOLDS``, or ``OPEN`` where
        rounding, ties or an overflow may decide.
    """
    rows = _Rows.of(x, weight, bias, golden_scores)
    few = max(1, _AT_ONCE // max(1, len(x) * new_words.shape[1]))
    pieces = zip(element.split(few), new_words.split(few), strict=True)
    found = [rows.verdicts(some, words.double(), kind) for some, words in pieces]
    return torch.cat(found, 1)


@dataclass(frozen=True)
class _Rows:
    """The sums that make the scores, in float64.

    Args:
        x: [inputs, features].
        weight: [classes, features].
        bias: [classes].
        sums: Scores before rounding, [inputs, classes].
        sizes: Sums of the absolute terms.
        scores: Golden.
        dtype: The format that the layer rounds to.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    sums: Tensor
    sizes: Tensor
    scores: Tensor
    dtype: torch.dtype

    @classmethod
    def of(
        cls, x: Tensor, weight: Tensor, bias: Tensor | None, scores: Tensor
    ) -> _Rows:
        """Sum in double precision."""
        a, w = x.detach().double(), weight.detach().double()
        b = torch.zeros_like(w[:, 0]) if bias is None else bias.detach().double()
        sums, sizes = a @ w.t() + b, a.abs() @ w.abs().t() + b.abs()
        return cls(a, w, b, sums, sizes, scores.detach().double(), x.dtype)

    def verdicts(self, elements: Tensor, words: Tensor, kind: Kind) -> Tensor:
        """Return the verdicts of some faults, [inputs, elements, words]."""
        classes, old, factors = self._struck(elements, kind)
        moved = factors * (words - old)
        sums = self.sums[:, classes, None] + moved
        sizes = self.sizes[:, classes, None] + moved.abs()
        error = self._error(sizes)
        fails, holds = self._compared(classes, sums, error)
        # A sum that may overflow on its way is no sum to compare.
        calm = sizes + error < torch.finfo(self.dtype).max
        broken = self._overflows(classes, words, factors) | ~words.isfinite()
        verdict = torch.full(sums.shape, OPEN, dtype=torch.int8)
        verdict[calm & holds] = HOLDS
        verdict[(calm & fails) | broken] = FAILS
        verdict[~self.scores.isfinite().all(1)] = OPEN
        return verdict

    def _struck(self, elements: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes of some words, the words, and what they are multiplied by."""
        if kind == "bias":
            ones = torch.ones(len(self.x), len(elements), 1, dtype=torch.float64)
            return elements, self.bias[elements, None], ones
        features = self.x.shape[1]
        classes, places = elements // features, elements % features
        return classes, self.weight[classes, places, None], self.x[:, places, None]

    def _error(self, sizes: Tensor) -> Tensor:
        """Return what sums are off by, our own rounding included."""
        terms = self.x.shape[1] + 6
        return 2 * relative(terms, self.dtype) * sizes + smallest(terms, self.dtype)

    def _compared(
        self, classes: Tensor, sums: Tensor, error: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Say where the best class is surely another one, and surely the same."""
        best = self.scores.argmax(1)
        others = self.scores.scatter(1, best[:, None], -torch.inf)
        top, second = (scores.amax(1)[:, None] for scores in (self.scores, others))
        is_best = best[:, None] == classes
        rival = torch.where(is_best, second, top)[:, :, None]
        above, below = sums - error > rival, sums + error < rival
        is_best = is_best[:, :, None]
        return torch.where(is_best, below, above), torch.where(is_best, above, below)

    def _overflows(self, classes: Tensor, words: Tensor, factors: Tensor) -> Tensor:
        """Say where a product alone is too large, whatever else is in the sum."""
        product = (words.abs() * _SCALE) * factors.abs()
        limit = torch.finfo(self.dtype).max * _BEYOND * _SCALE
        rest = 2 * self.sizes[:, classes, None] * _SCALE
        return product > limit + rest
