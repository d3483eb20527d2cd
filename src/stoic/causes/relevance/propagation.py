"""Propagation: relevance from a score back to the image, and to every inner value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.folding import Folded, folded
from stoic.causes.relevance.layers import Layer, layers_of
from stoic.causes.relevance.operators import by_gradient, handed
from stoic.causes.relevance.operators.contract import Handed, Passage
from stoic.causes.relevance.walk import Walk, floating
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program, Ref
from stoic.network.rows import RowDims
from stoic.network.smooth import aliased
from stoic.network.subject import Inputs

__all__ = ["NoRuleError", "Propagation", "Relevance"]

_OUTERMOST = frozenset({"softmax", "log_softmax"})


class NoRuleError(ValueError):
    """An operator has no rule; the message names it and its share of all relevance."""


@dataclass(frozen=True, eq=False)
class Relevance:
    """What a score of each image came from.

    The score is the relevance of all inputs, plus ``bias`` and ``absorbed``.

    Args:
        classes: The class of each image that is explained.
        scores: Its score.
        at: The relevance of each element of the values asked for, by their name.
        bias: Of each image, what biases and other constants have taken.
        absorbed: Of each image, what stabilisers have taken.
        estimated: Steps taken as straight lines, with the share of relevance that has
            reached them.
    """

    classes: Tensor
    scores: Tensor
    at: Mapping[str, Tensor]
    bias: Tensor
    absorbed: Tensor
    estimated: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Propagation:
    """A network made ready to be explained; it is never changed itself.

    Args:
        folded: Its program, with norms folded, in the format of all computation.
        rows: Where each value has its images.
        layers: Where it weighs, in order; the first of them read the image.
        composite: Which rules hold.
        dtype: Of all computation.
    """

    folded: Folded
    rows: RowDims
    layers: tuple[Layer, ...]
    composite: Composite
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        network: nn.Module,
        images: Tensor,
        composite: Composite,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Propagation:
        """Capture a network.

        Args:
            network: In evaluation mode.
            images: As it takes them, one or more.
            composite: Which rules hold.
            dtype: ``torch.float32`` or ``torch.float64``.

        Raises:
            ValueError: It cannot be captured, or does not score classes.
        """
        pair = images[:2] if len(images) > 1 else torch.cat([images, images])
        subject = prepare(network, Inputs((pair,), {}))
        if not isinstance(subject, CapturedSubject) or subject.rows is None:
            raise ValueError(
                f"network must be captured for relevance, got {subject.reason}"
            )
        with _plainly():
            program = _wide(_scoring(subject.program), dtype)
            values = program.run([aliased(pair).to(dtype)])
            made = folded(program, values, onwards=composite.onwards)
            values = made.program.run([aliased(pair).to(dtype)])
        _require_scores(made.program, values, len(pair))
        layers = layers_of(made.program, values, subject.rows)
        return cls(made, subject.rows, layers, composite, dtype)

    @property
    def program(self) -> Program:
        """What is run."""
        return self.folded.program

    @property
    def image(self) -> str:
        """The name of the value that the images are."""
        return self.program.inputs[0]

    def __call__(
        self,
        images: Tensor,
        *,
        classes: Tensor | None = None,
        keep: Collection[str] | None = None,
    ) -> Relevance:
        """Explain a score of each image.

        Args:
            images: One batch.
            classes: Whose score of each image; the predicted class if nothing.
            keep: Names of values; the images alone if nothing.

        Raises:
            NoRuleError: An operator has no rule, and the composite wants one.
            ValueError: A name is not that of a value.
        """
        with _plainly():
            values = self.program.run([aliased(images).to(self.dtype)])
            walk = Walk(self.program, values, self.rows, len(images))
            output = values[self.output]
            best = output.argmax(1) if classes is None else classes
            scores = output.gather(1, best[:, None])
            seed = torch.zeros_like(output).scatter_(1, best[:, None], scores)
            wanted = self._wanted(keep)
            estimated = self._propagate(walk, seed, {*wanted.values()})
            at = {name: walk.of(own) for name, own in wanted.items()}
        return Relevance(best, scores[:, 0], at, walk.bias, walk.absorbed, estimated)

    @property
    def output(self) -> str:
        """The name of the scores."""
        (leaf,) = self.program.outputs
        return str(leaf.name)

    def _wanted(self, keep: Collection[str] | None) -> dict[str, str]:
        """Return names asked for, with the values that have their relevance."""
        asked = [self.image] if keep is None else list(keep)
        stands = {name: _last(name, self.folded.stands) for name in asked}
        known = {*self.program.inputs, *self.program.by_name}
        if unknown := sorted(name for name, own in stands.items() if own not in known):
            raise ValueError(f"keep must be among {sorted(known)}, got {unknown}")
        return stands

    def _propagate(
        self, walk: Walk, seed: Tensor, keep: Collection[str]
    ) -> dict[str, float]:
        """Walk all steps backwards; return those that were taken as straight lines."""
        walk.begin(self.output, seed, keep)
        estimated = {}
        total = float(seed.abs().sum())
        for step in reversed(self.program.steps):
            passage = walk.passage(step, self.composite)
            if passage is None:
                continue
            found = handed(passage)
            if found is None:
                share = walk.size(passage) / total if total else 0.0
                estimated[step.name] = share
                found = self._estimated(passage, share)
            walk.take(step, passage, found)
        return estimated

    def _estimated(self, passage: Passage, share: float) -> Handed:
        step = passage.call.step
        if self.composite.by_gradient:
            return by_gradient(passage)
        raise NoRuleError(
            f"operator {step.operator} of {step.path or step.name} must have a rule, "
            f"got none for {share:.1%} of the relevance; "
            "set by_gradient=True to take it as a straight line"
        )


def _last(name: str, stands: Mapping[str, str]) -> str:
    while name in stands:
        name = stands[name]
    return name


@contextmanager
def _plainly() -> Iterator[None]:
    """Compute without gradients, but let rules ask for some."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _scoring(program: Program) -> Program:
    """Return the program of the scores, without a softmax around them."""
    leaves = [leaf for leaf in program.outputs if isinstance(leaf, Ref)]
    if len(leaves) != 1 or len(program.inputs) != 1:
        raise ValueError(
            "network must turn one tensor of images into one of scores, "
            f"got {len(program.inputs)} and {len(leaves)}"
        )
    leaf = leaves[0]
    step = program.by_name.get(leaf.name)
    while step is not None and step.operator in _OUTERMOST:
        leaf = step.args[0]
        step = program.by_name.get(leaf.name)
    return replace(program, outputs=(leaf,))


def _wide(program: Program, dtype: torch.dtype) -> Program:
    """Return the program in another format, its tensors apart from the network's."""
    stored = {
        name: aliased(value).to(dtype) if floating(value) else value
        for name, value in program.stored.items()
    }
    return replace(program, stored=stored)


def _require_scores(program: Program, values: Mapping[str, Any], count: int) -> None:
    output = values[program.outputs[0].name]
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != count:
        shape: Sequence[int] = tuple(getattr(output, "shape", ()))
        raise ValueError(
            "network must give a row of scores for each image, "
            f"got shape {shape} for {count} images"
        )
