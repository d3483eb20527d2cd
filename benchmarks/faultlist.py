"""Seeded lists of faults that every tool can do, drawn without any tool's help."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "ActivationFault",
    "Layer",
    "WeightFault",
    "digest_of",
    "harsh",
    "draw_activations",
    "draw_weights",
    "layers_of",
]

BITS = 32

Fault = TypeVar("Fault", "WeightFault", "ActivationFault")


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer that runs.

    Args:
        path: Dotted name of the module.
        defined: Number among all such layers in the order of definition.
        run: Number among those that run, in the order of execution.
        weight: Shape of its weight.
        output: Shape of its output for one input.
        flops: Multiplications and additions for one input.
    """

    path: str
    defined: int
    run: int
    weight: tuple[int, ...]
    output: tuple[int, ...]
    flops: int

    @property
    def weights(self) -> int:
        """Elements of its weight."""
        return prod(self.weight)


@dataclass(frozen=True)
class WeightFault:
    """One flipped bit of one weight."""

    layer: Layer
    element: int
    bit: int

    @property
    def index(self) -> tuple[int, ...]:
        """Place of the element in the weight."""
        return unraveled(self.element, self.layer.weight)


@dataclass(frozen=True)
class ActivationFault:
    """One flipped bit of a layer's output for one input of the batch."""

    layer: Layer
    input: int
    element: int
    bit: int

    @property
    def index(self) -> tuple[int, ...]:
        """Place of the element in the output of its input."""
        return unraveled(self.element, self.layer.output)


def unraveled(element: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the place of a flat index."""
    place: list[int] = []
    for size in reversed(shape):
        element, index = divmod(element, size)
        place.insert(0, index)
    return tuple(place)


def layers_of(network: nn.Module, inputs: Tensor) -> tuple[Layer, ...]:
    """Return the layers whose weight all tools reach, in order of execution.

    A layer whose ``forward`` is never called, such as the projection inside of
    ``nn.MultiheadAttention``, is out of reach for tools that work by hooks.
    """
    found: list[Layer] = []
    seen: set[str] = set()
    with ExitStack() as hooks, torch.inference_mode():
        for defined, (path, module) in enumerate(_candidates(network)):

            def hook(
                layer: nn.Module,
                _: Any,
                output: Tensor,
                path: str = path,
                defined: int = defined,
            ) -> None:
                assert isinstance(layer, nn.Conv2d | nn.Linear)
                if path not in seen:
                    seen.add(path)
                    found.append(_layer(path, defined, len(found), layer, output))

            hooks.callback(module.register_forward_hook(hook).remove)
        network(inputs[:1])
    return tuple(found)


def _candidates(network: nn.Module) -> list[tuple[str, nn.Module]]:
    kinds = (nn.Conv2d, nn.Linear)
    return [(p, m) for p, m in network.named_modules() if isinstance(m, kinds)]


def _layer(
    path: str, defined: int, run: int, module: nn.Conv2d | nn.Linear, output: Tensor
) -> Layer:
    weight = module.weight
    return Layer(
        path,
        defined,
        run,
        tuple(weight.shape),
        tuple(output.shape[1:]),
        2 * output[0].numel() * weight[0].numel(),
    )


def draw_weights(layers: Sequence[Layer], count: int, seed: int) -> list[WeightFault]:
    """Draw faults uniformly over all weight bits, without repeats."""
    places = _sample([layer.weights * BITS for layer in layers], count, seed)
    return [WeightFault(layers[n], *divmod(place, BITS)) for n, place in places]


def draw_activations(
    layers: Sequence[Layer], count: int, inputs: int, seed: int
) -> list[ActivationFault]:
    """Draw faults uniformly over all output bits; one per input, input by input."""
    sizes = [prod(layer.output) * BITS for layer in layers]
    places = _sample(sizes, count, seed)
    return [
        ActivationFault(layers[n], number % inputs, *divmod(place, BITS))
        for number, (n, place) in enumerate(places)
    ]


def harsh(faults: Sequence[Fault]) -> list[Fault]:
    """Return the same faults with sign and highest exponent bits in turn.

    Few uniform faults fail an input. These do, so that a tool that did nothing, or hit
    another place, would be seen.
    """
    turns = itertools.cycle((30, 31, 30))
    return [replace(fault, bit=bit) for fault, bit in zip(faults, turns, strict=False)]


def _sample(sizes: list[int], count: int, seed: int) -> list[tuple[int, int]]:
    starts = list(itertools.accumulate(sizes, initial=0))
    chosen = random.Random(f"faults {seed}").sample(range(starts[-1]), count)
    numbers = [bisect.bisect_right(starts, place) - 1 for place in chosen]
    return [(n, place - starts[n]) for n, place in zip(numbers, chosen, strict=True)]


def digest_of(faults: Sequence[object]) -> str:
    """Return a short digest of a list of faults."""
    return hashlib.sha256(repr(faults).encode()).hexdigest()[:16]
