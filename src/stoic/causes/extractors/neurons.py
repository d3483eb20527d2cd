"""Features of the network under test itself: what its own layers say of an image.

References:
    Fahmy, Pastore, Bagherzadeh and Briand, Supporting deep neural network safety
    analysis and retraining through heatmap-based unsupervised learning, 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Features
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program, Step, Values
from stoic.network.subject import Inputs

__all__ = ["Layers", "Neurons"]

_BATCH = 64
_PRODUCTS = ("conv1d", "conv2d", "conv3d", "linear", "addmm", "mm", "matmul")


@dataclass(frozen=True)
class Neurons:
    """What the network's last layer is told: its activations just before the scores."""

    name: str = "neurons"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return the mean of each channel of the value that the last layer reads."""
        program = _program(inquiry)
        last = _products(program)[-1]
        return _run(inquiry, program, lambda values: [_means(values[_read(last)])])[0]


@dataclass(frozen=True)
class Layers:
    """A mix of all layers: early ones see texture and light, late ones see objects.

    Each layer has the same weight, whatever the number of its channels.
    """

    name: str = "layers"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return mean and spread of each channel of what each product makes."""
        program = _program(inquiry)
        names = [step.name for step in _products(program)]
        parts = _run(inquiry, program, lambda v: [_spread(v[name]) for name in names])
        return np.concatenate([_evened(part) for part in parts], 1)


def _program(inquiry: Inquiry) -> Program:
    """Return the captured network.

    Raises:
        ValueError: It cannot be captured.
    """
    images = inquiry.failures.images[:_BATCH]
    subject = prepare(inquiry.network, Inputs((images,), {}))
    if not isinstance(subject, CapturedSubject):
        raise ValueError(
            f"features of the network itself need its graph, got {subject.reason}; "
            "choose other extractors"
        )
    return subject.program


def _products(program: Program) -> list[Step]:
    """Return the layers that weigh.

    Raises:
        ValueError: There is none.
    """
    found = [step for step in program.steps if step.operator in _PRODUCTS]
    if not found:
        raise ValueError(
            "features of the network itself must be of convolutions or matrix "
            "products, got a network without any; choose other extractors"
        )
    return found


def _read(step: Step) -> str:
    """Return the value that a product with a weight reads."""
    place = 1 if step.operator == "addmm" else 0
    return str(step.args[place].name)


@torch.inference_mode()
def _run(
    inquiry: Inquiry,
    program: Program,
    told: Callable[[Values], list[Tensor]],
) -> list[Features]:
    """Return what runs on all failures tell, each thing by itself.

    Raises:
        ValueError: Some of it is not finite.
    """
    images = inquiry.failures.images
    found = [told(program.run([part])) for part in images.split(_BATCH)]
    tables = [
        np.asarray(torch.cat(parts).float().numpy(), np.float32)
        for parts in zip(*found, strict=True)
    ]
    bad = ~np.logical_and.reduce([np.isfinite(each).all(1) for each in tables])
    if bad.any():
        raise ValueError(
            f"features must be finite, got NaN or infinity in {bad.sum()} of "
            f"{len(bad)} failures, the first {inquiry.failures.names[bad.argmax()]}; "
            "leave these failures out"
        )
    return tables


def _means(value: Tensor) -> Tensor:
    return value.flatten(2).mean(2) if value.dim() > 2 else value


def _spread(value: Tensor) -> Tensor:
    if value.dim() <= 2:
        return value
    flat = value.flatten(2)
    return torch.cat([flat.mean(2), flat.std(2, correction=0)], 1)


def _evened(part: Features) -> Features:
    """Return features of variance 1, and together as heavy as those of any layer."""
    deviation = part.std(0)
    kept = deviation > 0
    even = (part[:, kept] - part[:, kept].mean(0)) / deviation[kept]
    return np.asarray(even / max(kept.sum(), 1) ** 0.5, np.float32)
