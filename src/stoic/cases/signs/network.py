"""The network that reads the signs, and its weights."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from stoic.cases.signs.art import SIGNS

__all__ = ["WEIGHTS", "build_network", "load_network"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""What ``python -m stoic.cases.signs.train`` has learned."""

_CHANNELS = (3, 32, 64, 128, 160)


def build_network() -> nn.Sequential:
    """Build four stages of convolution, BatchNorm and pooling, and a linear layer.

    They take pictures in 0..1, of any size from 16 pixels, and score the signs.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(_CHANNELS), start=1):
        parts[f"stage{number}"] = _stage(inputs, outputs)
    parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["head"] = nn.Linear(_CHANNELS[-1], len(SIGNS))
    return nn.Sequential(parts)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(outputs),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
    )
    return nn.Sequential(parts)


def load_network() -> nn.Sequential:
    """Return the trained network, ready for inference."""
    network = build_network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()
