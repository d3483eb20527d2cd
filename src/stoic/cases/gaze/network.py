"""The network that sees where an eye looks, and its weights."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from stoic.cases.gaze.scenes import DIRECTIONS

__all__ = ["WEIGHTS", "build_network", "load_network"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""What ``python -m stoic.cases.gaze.train`` has learned."""

_CHANNELS = (3, 16, 32, 64, 96)
_CELLS = 3


def build_network() -> nn.Sequential:
    """Build four stages of convolution, BatchNorm and pooling, and a linear layer.

    The last layer sees where features are, in 3×3 cells: an average over the picture
    would not say where an iris is.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(_CHANNELS), start=1):
        parts[f"stage{number}"] = _stage(inputs, outputs)
    parts["flatten"] = nn.Flatten()
    parts["head"] = nn.Linear(_CHANNELS[-1] * _CELLS**2, len(DIRECTIONS))
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
