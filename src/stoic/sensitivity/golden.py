"""What a network says in its own format, and the ranges of what layers read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.captured import CapturedSubject
from stoic.network.program import Program
from stoic.network.subject import Inputs, Subject
from stoic.sensitivity.layers import Layer, find_layers, run_layers

__all__ = ["Ranges", "Scored", "score_inputs"]

Ranges = dict[str, tuple[float, float]]
"""Least and largest word that each layer read, by its name."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A captured network on inputs that it has been run on.

    Args:
        program: Of the network.
        layers: That may be made narrower.
        inputs: All of them.
        scores: Of each class, a row for each input.
        ranges: Of what the layers read.
        tail: From the network's output to the scores.
        batch: Inputs per run.
    """

    program: Program
    layers: tuple[Layer, ...]
    inputs: Inputs
    scores: Tensor
    ranges: Ranges
    tail: Callable[[Any], Tensor]
    batch: int

    @property
    def decisions(self) -> Tensor:
        """The best class of each input."""
        return self.scores.argmax(1)

    def first(self, count: int) -> Scored:
        """Return the same on the first inputs only; ranges are still those of all."""
        some = self.inputs.rows(0, min(count, self.inputs.count))
        return replace(self, inputs=some, scores=self.scores[: some.count])


@torch.inference_mode()
def score_inputs(
    subject: Subject, inputs: Inputs, tail: Callable[[Any], Tensor], batch: int
) -> Scored:
    """Run a network on inputs as it is.

    Raises:
        ValueError: It cannot be captured, has no layers, its output is no scores of
            classes, or not finite; one line says which.
    """
    if not isinstance(subject, CapturedSubject):
        raise ValueError(
            f"a network to be made narrower must be captured, got {subject.reason}; "
            "see 'torch.export' for what it asks of a network"
        )
    program = subject.program
    some = inputs.rows(0, min(2, inputs.count))
    layers = find_layers(program, program.run(some.leaves), some.count)
    ranges: Ranges = {}

    def seen(layer: Layer, value: Tensor) -> Tensor:
        low, high = ranges.get(layer.name, (0.0, 0.0))
        least, most = value.aminmax()
        ranges[layer.name] = min(low, float(least)), max(high, float(most))
        return value

    scores = [
        tail(run_layers(program, layers, part.leaves, seen))
        for part in inputs.batches(batch)
    ]
    _check(scores)
    return Scored(program, layers, inputs, torch.cat(scores), ranges, tail, batch)


def _check(scores: list[Tensor]) -> None:
    shape = tuple(scores[0].shape)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            "output must be scores of 2 or more classes per input, got a tensor of "
            f"shape {shape}; give a tail that makes such scores of it"
        )
    broken = ~torch.cat(scores).isfinite().all(1)
    if broken.any():
        raise ValueError(
            "golden run must be finite, got NaN or Inf in the network's output for "
            f"input {int(broken.nonzero()[0])}; mend the network or leave it out"
        )
