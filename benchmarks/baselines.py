"""Our own naive tools: what anyone would write in an afternoon, done well."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from benchmarks.faultlist import ActivationFault, WeightFault
from benchmarks.verdicts import Codes, judge
from torch import Tensor, nn

__all__ = ["CopyTool", "HookTool", "InPlaceTool", "flip_word", "one_by_one"]

_SIGN = 1 << 31


def flip_word(tensor: Tensor, place: tuple[int, ...], bit: int) -> None:
    """Invert one bit of a 32-bit element in place."""
    mask = 1 << bit
    tensor.view(torch.int32)[place] ^= mask - 2 * (mask & _SIGN)


class InPlaceTool:
    """Flip the bit in the network itself, run all of it, flip the bit back."""

    name = "in place"

    @torch.inference_mode()
    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        begun = time.perf_counter()
        self._network = copy.deepcopy(network)
        self._inputs = inputs
        self._golden = self._network(inputs)
        self.setup_s = time.perf_counter() - begun

    @torch.inference_mode()
    def run(self, faults: Sequence[WeightFault]) -> list[Codes]:
        """Run each fault through the whole network."""
        return [self._one(fault) for fault in faults]

    def _one(self, fault: WeightFault) -> Codes:
        weight = self._network.get_parameter(f"{fault.layer.path}.weight").detach()
        flip_word(weight, fault.index, fault.bit)
        try:
            return judge(self._golden, self._network(self._inputs))
        finally:
            flip_word(weight, fault.index, fault.bit)


class CopyTool:
    """Copy the network for each fault: nothing can go wrong, nothing is fast."""

    name = "deep copy"

    @torch.inference_mode()
    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        begun = time.perf_counter()
        self._network = network
        self._inputs = inputs
        self._golden = network(inputs)
        self.setup_s = time.perf_counter() - begun

    @torch.inference_mode()
    def run(self, faults: Sequence[WeightFault]) -> list[Codes]:
        """Run each fault through a copy."""
        return [self._one(fault) for fault in faults]

    def _one(self, fault: WeightFault) -> Codes:
        own = copy.deepcopy(self._network)
        weight = own.get_parameter(f"{fault.layer.path}.weight").detach()
        flip_word(weight, fault.index, fault.bit)
        return judge(self._golden, own(self._inputs))


class HookTool:
    """Hit every input of the batch with a fault of its own in one forward."""

    name = "hooks"

    @torch.inference_mode()
    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        begun = time.perf_counter()
        self._network = copy.deepcopy(network)
        self._inputs = inputs
        self._golden = self._network(inputs)
        self.setup_s = time.perf_counter() - begun

    @torch.inference_mode()
    def run(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        """Run as many faults at once as there are inputs."""
        size = len(self._inputs)
        parts = [faults[i : i + size] for i in range(0, len(faults), size)]
        return [codes for part in parts for codes in self._batch(part)]

    def _batch(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        by_path: dict[str, list[ActivationFault]] = {}
        for fault in faults:
            by_path.setdefault(fault.layer.path, []).append(fault)
        with ExitStack() as hooks:
            for path, own in by_path.items():

                def hook(
                    _: nn.Module,
                    __: Any,
                    output: Tensor,
                    own: list[ActivationFault] = own,
                ) -> None:
                    for fault in own:
                        flip_word(output, (fault.input, *fault.index), fault.bit)

                module = self._network.get_submodule(path)
                hooks.callback(module.register_forward_hook(hook).remove)
            faulty = self._network(self._inputs)
        return one_by_one(judge(self._golden, faulty), faults)


def one_by_one(codes: Codes, faults: Sequence[ActivationFault]) -> list[Codes]:
    """Return for each fault the code of its own input."""
    return [codes[fault.input : fault.input + 1] for fault in faults]
