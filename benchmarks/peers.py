"""PyTorchFI and MRFI, used as their documentation does, on our lists of faults.

Each gets its bit flip through its own door for users' functions: PyTorchFI a custom
injection function, MRFI a custom error mode. Where a tool leaves a choice, the faster
one is taken.

References:
    PyTorchFI 0.6.0: https://github.com/pytorchfi/pytorchfi
    MRFI 2.1.0: https://github.com/fffasttime/MRFI
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks.baselines import flip_word, one_by_one
from benchmarks.faultlist import ActivationFault, Layer, WeightFault
from benchmarks.verdicts import Codes, judge
from torch import Tensor, nn

__all__ = [
    "MrfiActivations",
    "MrfiWeights",
    "PyTorchFIActivations",
    "PyTorchFIWeights",
]

_KINDS = [nn.Conv2d, nn.Linear]
# PyTorchFI asks for a place in four dimensions; indexing by None adds one of size 1.
_DIMS = 4


def _quiet_root() -> None:
    # PyTorchFI gives the root logger a format that fails on every message, unless the
    # application has set one before.
    logging.basicConfig(level=logging.WARNING)


def _padded(place: tuple[int, ...]) -> tuple[int | None, ...]:
    return (*place, *[None] * (_DIMS - len(place)))


class PyTorchFIWeights:
    """PyTorchFI's weight injection: a declaration, hence a copy, per fault."""

    name = "PyTorchFI"

    @torch.no_grad()
    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        from pytorchfi.core import fault_injection

        _quiet_root()
        begun = time.perf_counter()
        self._inputs = inputs
        self._tool = fault_injection(
            network, len(inputs), list(inputs.shape[1:]), layer_types=_KINDS
        )
        self._golden = network(inputs)
        self.setup_s = time.perf_counter() - begun

    @torch.no_grad()
    def run(self, faults: Sequence[WeightFault]) -> list[Codes]:
        """Declare each fault and run the network it gives."""
        return [self._one(fault) for fault in faults]

    def _one(self, fault: WeightFault) -> Codes:
        k, dim1, dim2, dim3 = _padded(fault.index)
        corrupted = self._tool.declare_weight_fi(
            function=_flipped(fault.bit),
            layer_num=[fault.layer.defined],
            k=[k],
            dim1=[dim1],
            dim2=[dim2],
            dim3=[dim3],
        )
        return judge(self._golden, corrupted(self._inputs))


def _flipped(bit: int) -> Callable[[Tensor, tuple[int, ...]], Tensor]:
    def function(weight: Tensor, place: tuple[int, ...]) -> Tensor:
        word = weight.detach()[place].clone()
        flip_word(word, (), bit) if word.dim() == 0 else flip_word(word, (0, 0), bit)
        return word

    return function


class PyTorchFIActivations:
    """PyTorchFI's neuron injection: one declaration and one forward per batch."""

    name = "PyTorchFI"

    @torch.no_grad()
    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        from pytorchfi.core import fault_injection

        class Flips(fault_injection):  # type: ignore[misc]
            """Flip a bit of each declared neuron, as PyTorchFI's own models do."""

            bits: Sequence[int] = ()

            def flip(self, _: nn.Module, __: Any, output: Tensor) -> None:
                here = self.get_current_layer()
                for n, layer in enumerate(self.corrupt_layer):
                    if layer == here:
                        dims = (self.corrupt_dim2[n], self.corrupt_dim3[n])
                        deep = [i for i in dims if i is not None]
                        place = (self.corrupt_batch[n], self.corrupt_dim1[n], *deep)
                        flip_word(output, place, self.bits[n])
                self.updateLayer()

        _quiet_root()
        begun = time.perf_counter()
        self._inputs = inputs
        self._tool = Flips(
            network, len(inputs), list(inputs.shape[1:]), layer_types=_KINDS
        )
        self._golden = network(inputs)
        self.setup_s = time.perf_counter() - begun

    @torch.no_grad()
    def run(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        """Declare as many faults at once as there are inputs."""
        size = len(self._inputs)
        parts = [faults[i : i + size] for i in range(0, len(faults), size)]
        return [codes for part in parts for codes in self._batch(part)]

    def _batch(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        places = [_padded(fault.index)[:3] for fault in faults]
        self._tool.bits = [fault.bit for fault in faults]
        corrupted = self._tool.declare_neuron_fi(
            function=self._tool.flip,
            batch=[fault.input for fault in faults],
            layer_num=[fault.layer.run for fault in faults],
            dim1=[place[0] for place in places],
            dim2=[place[1] for place in places],
            dim3=[place[2] for place in places],
        )
        return one_by_one(judge(self._golden, corrupted(self._inputs)), faults)


def _mrfi(network: nn.Module, layers: Sequence[Layer], kind: str) -> Any:
    """Return MRFI on a copy, with one disabled injector for each layer."""
    import mrfi

    mrfi.mrfi.add_function("FlipBits", _flip_bits)
    injector = {
        "type": kind,
        "enabled": False,
        "selector": {"method": "FixPositions", "positions": []},
        "error_mode": {"method": "FlipBits", "bits": []},
        "module_fullname": [layer.path for layer in layers],
    }
    return mrfi.MRFI(
        copy.deepcopy(network), mrfi.EasyConfig({"faultinject": [injector]})
    )


def _flip_bits(values: Tensor, bits: Sequence[int]) -> Tensor:
    flipped = values.clone()
    for place, bit in enumerate(bits):
        flip_word(flipped, (place,), bit)
    return flipped


class MrfiWeights:
    """MRFI's weight injection: one injector per layer, switched on for its faults.

    A disabled injector leaves the weight corrupted; an enabled one restores it before
    it injects. So the last layer hit stays enabled, with nothing selected, for one more
    run: cheaper than to keep all layers enabled, of which each then copies its weight.
    """

    name = "MRFI"

    def __init__(
        self, network: nn.Module, inputs: Tensor, layers: Sequence[Layer]
    ) -> None:
        begun = time.perf_counter()
        self._inputs = inputs
        self._tool = _mrfi(network, layers, "weight")
        self._configs = {
            layer.path: self._tool.get_configs("weights.0", module_fullname=layer.path)[
                0
            ]
            for layer in layers
        }
        self._golden = self._tool(inputs)
        self._last: Any = None
        self.setup_s = time.perf_counter() - begun

    def run(self, faults: Sequence[WeightFault]) -> list[Codes]:
        """Point the injector of a layer at each fault and run."""
        return [self._one(fault) for fault in faults]

    def _one(self, fault: WeightFault) -> Codes:
        config = self._configs[fault.layer.path]
        cleaned = self._last if self._last is not config else None
        if cleaned is not None:
            _aim(cleaned, [], [])
        config["enabled"] = True
        _aim(config, [fault.element], [fault.bit])
        codes = judge(self._golden, self._tool(self._inputs))
        if cleaned is not None:
            cleaned["enabled"] = False
        self._last = config
        return codes


def _aim(config: Any, positions: list[int], bits: list[int]) -> None:
    config.selector.args["positions"] = positions
    config.error_mode.args["bits"] = bits


class MrfiActivations:
    """MRFI's activation injection: all faults of a batch in one forward."""

    name = "MRFI"

    def __init__(
        self, network: nn.Module, inputs: Tensor, layers: Sequence[Layer]
    ) -> None:
        begun = time.perf_counter()
        self._inputs = inputs
        self._tool = _mrfi(network, layers, "activation_out")
        self._configs = {
            layer.path: self._tool.get_configs(
                "activation_out.0", module_fullname=layer.path
            )[0]
            for layer in layers
        }
        self._golden = self._tool(inputs)
        self.setup_s = time.perf_counter() - begun

    def run(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        """Run as many faults at once as there are inputs."""
        size = len(self._inputs)
        parts = [faults[i : i + size] for i in range(0, len(faults), size)]
        return [codes for part in parts for codes in self._batch(part)]

    def _batch(self, faults: Sequence[ActivationFault]) -> list[Codes]:
        for path, config in self._configs.items():
            own = [fault for fault in faults if fault.layer.path == path]
            config["enabled"] = bool(own)
            _aim(config, [_flat(fault) for fault in own], [f.bit for f in own])
        return one_by_one(judge(self._golden, self._tool(self._inputs)), faults)


def _flat(fault: ActivationFault) -> int:
    size = 1
    for length in fault.layer.output:
        size *= length
    return fault.input * size + fault.element
