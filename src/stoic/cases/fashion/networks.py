"""Three networks that tell clothes apart, and their weights.

A LeNet, a small VGG with BatchNorm, and one built like AlexNet: five convolutions and
three linear layers without BatchNorm. All take pictures in 0..1 and score ten classes.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from stoic.cases.fashion.data import CLASSES

__all__ = ["NETWORKS", "Design", "load_network"]

Parts = OrderedDict[str, nn.Module]


@dataclass(frozen=True)
class Design:
    """One of the networks.

    Args:
        build: Make it, untrained.
        epochs: How often it learns from each picture.
        weights: What ``python -m stoic.cases.fashion.train`` has learned.
    """

    build: Callable[[], nn.Sequential]
    epochs: int
    weights: Path


def _lenet() -> nn.Sequential:
    """Build two convolutions of 5×5 pixels and three linear layers."""
    parts: Parts = OrderedDict(
        conv1=nn.Conv2d(1, 10, 5, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(10, 20, 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
    )
    return nn.Sequential(parts | _dense(500, 200, 84))


def _vgg() -> nn.Sequential:
    """Build three stages of two convolutions with BatchNorm, and two linear layers."""
    parts: Parts = OrderedDict()
    for stage, (inputs, outputs) in enumerate(pairwise((1, 16, 32, 64)), start=1):
        for number, own in enumerate((inputs, outputs), start=1):
            place = f"{stage}_{number}"
            parts[f"conv{place}"] = nn.Conv2d(own, outputs, 3, padding=1, bias=False)
            parts[f"norm{place}"] = nn.BatchNorm2d(outputs)
            parts[f"relu{place}"] = nn.ReLU()
        parts[f"pool{stage}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    return nn.Sequential(parts | _dense(64 * 3 * 3, 128))


def _alexnet() -> nn.Sequential:
    """Build five convolutions, pooled three times, and three linear layers."""
    parts: Parts = OrderedDict()
    pooled = (1, 2, 5)
    for number, (inputs, outputs) in enumerate(
        pairwise((1, 24, 48, 64, 64, 48)), start=1
    ):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        parts[f"relu{number}"] = nn.ReLU()
        if number in pooled:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    return nn.Sequential(parts | _dense(48 * 3 * 3, 320, 160))


def _dense(*sizes: int) -> Parts:
    """Build linear layers of such sizes with ReLU, and one that scores the classes."""
    parts: Parts = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        parts[f"hidden{number}"] = nn.Linear(inputs, outputs)
        parts[f"hidden_relu{number}"] = nn.ReLU()
    parts["head"] = nn.Linear(sizes[-1], len(CLASSES))
    return parts


def _design(name: str, build: Callable[[], nn.Sequential], epochs: int) -> Design:
    return Design(build, epochs, Path(__file__).with_name(f"{name}.safetensors"))


NETWORKS = {
    "fashion": _design("lenet", _lenet, 4),
    "fashion-vgg": _design("vgg", _vgg, 4),
    "fashion-alexnet": _design("alexnet", _alexnet, 4),
}
"""By the name of the case."""


def load_network(case: str) -> nn.Sequential:
    """Return a trained network, ready for inference."""
    network = NETWORKS[case].build()
    network.load_state_dict(load_file(NETWORKS[case].weights))
    return network.eval()
