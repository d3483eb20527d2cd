"""The network that reads the digits, and its weights."""

from collections import OrderedDict
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

__all__ = ["WEIGHTS", "build_network", "load_network"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""What ``python -m stoic.cases.digits.train`` has learned."""


def build_network() -> nn.Sequential:
    """Build two convolutions and two linear layers: 3,658 parameters.

    They take pictures in 0..1 and score the ten digits.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(8, 16, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        hidden=nn.Linear(64, 32),
        relu3=nn.ReLU(),
        head=nn.Linear(32, 10),
    )
    return nn.Sequential(parts)


def load_network() -> nn.Sequential:
    """Return the trained network, ready for inference."""
    network = build_network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()
