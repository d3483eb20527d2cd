"""An oracle that shares nothing with Stoic: a deep copy, one word, a full forward.

It knows faults in parameters, buffers and inputs by their names, and faults in the
output of a module that runs once, by a hook.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Oracle", "same_bits"]

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class Oracle:
    """A network and its inputs.

    Args:
        network: Never touched.
        inputs: A tensor or keyword inputs.
        by_parts: Whether attention runs without its fused path, as Stoic says that it
            must for the words to agree.
    """

    def __init__(self, network: nn.Module, inputs: Any, *, by_parts: bool) -> None:
        self._network = network
        self._inputs = inputs if isinstance(inputs, Mapping) else {"": inputs}
        self._by_parts = by_parts
        self._once = self._modules_that_run_once()

    def knows(self, name: str, kind: str) -> bool:
        """Say whether a site can be hit."""
        if kind == "activation":
            path, _, value = name.partition(":")
            return value == "out" and path in self._once
        return kind in ("parameter", "buffer", "input")

    @torch.no_grad()
    def __call__(
        self, name: str, kind: str, element: int, bit: int, input: int | None
    ) -> Tensor:
        """Return the output of a copy with one flipped bit.

        Args:
            name: Of the site.
            kind: Of the site.
            element: Flat index; of inputs and activations, within a row.
            bit: To invert.
            input: The only row that is hit, where not all are.
        """
        network = copy.deepcopy(self._network)
        inputs = {key: value.clone() for key, value in self._inputs.items()}
        if kind == "input":
            leaf = inputs.get(name.removeprefix("input."), inputs.get(""))
            assert leaf is not None
            _flip_rows(leaf, element, bit, input)
        elif kind == "activation":
            _hook(network.get_submodule(name.partition(":")[0]), element, bit, input)
        else:
            _flip(_stored(network, name), element, bit)
        return self._forward(network, inputs)

    def _forward(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(before and not self._by_parts)
        try:
            output = network(inputs[""]) if "" in inputs else network(**inputs)
        finally:
            torch.backends.mha.set_fastpath_enabled(before)
        assert isinstance(output, Tensor)
        return output

    @torch.no_grad()
    def _modules_that_run_once(self) -> set[str]:
        """Return paths of modules without children that give one tensor, one time."""
        network = copy.deepcopy(self._network)
        calls: dict[str, int] = {}
        for path, module in network.named_modules():
            if next(module.children(), None) is None:

                def hook(_: Any, __: Any, value: Any, path: str = path) -> None:
                    one = 1 if isinstance(value, Tensor) else 2
                    calls[path] = calls.get(path, 0) + one

                module.register_forward_hook(hook)
        self._forward(network, self._inputs)
        return {path for path, count in calls.items() if count == 1}


def _stored(network: nn.Module, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    found = getattr(network.get_submodule(owner), last)
    assert isinstance(found, Tensor)
    return found.detach()


def _hook(module: nn.Module, element: int, bit: int, input: int | None) -> None:
    def hit(_: Any, __: Any, value: Tensor) -> Tensor:
        changed = value.clone()
        _flip_rows(changed, element, bit, input)
        return changed

    module.register_forward_hook(hit)


def _flip_rows(tensor: Tensor, element: int, bit: int, input: int | None) -> None:
    for row in range(len(tensor)) if input is None else [input]:
        _flip(tensor[row], element, bit)


def _flip(tensor: Tensor, element: int, bit: int) -> None:
    """Invert one bit of an element, counted in row-major order, in place."""
    values = tensor.cpu().numpy()
    word = _WORDS[values.itemsize]
    place = np.unravel_index(element, values.shape)
    values.view(word)[place] ^= word(1 << bit)
    if tensor.device.type != "cpu":
        tensor.copy_(torch.from_numpy(values))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors have the same words."""
    return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().numpy().tobytes())
