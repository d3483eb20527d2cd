"""The network that finds the signs, and its weights: one stage, no anchors.

For each cell of a grid it scores that a sign is there, says which, and how far from the
middle of the cell the sign's four sides are. `detect` makes detections of that.

References:
    Tian et al., FCOS: fully convolutional one-stage object detection, 2019.
"""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from stoic.cases.signs.art import SIGNS

__all__ = ["CELL", "WEIGHTS", "build_network", "load_network"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""What ``python -m stoic.cases.scenes.train`` has learned."""

CELL = 8
"""Width and height of a cell of the grid, in pixels."""

_CHANNELS = (3, 16, 32, 32, 64, 96, 128, 128)
_STRIDES = (2, 2, 1, 2, 1, 1, 1)
_BOX_AND_THERE = 5


def build_network() -> nn.Sequential:
    """Build seven stages of convolution, BatchNorm and ReLU, and a 1×1 convolution.

    They take pictures in 0..1 and return, for each cell, channels: that a sign is
    there (a logit), the logarithms of the distances to its left, top, right and bottom
    in cells, and the logits of the signs.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    stages = zip(pairwise(_CHANNELS), _STRIDES, strict=True)
    for number, ((inputs, outputs), stride) in enumerate(stages, start=1):
        parts[f"stage{number}"] = _stage(inputs, outputs, stride)
    parts["head"] = nn.Conv2d(_CHANNELS[-1], _BOX_AND_THERE + len(SIGNS), 1)
    return nn.Sequential(parts)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        norm=nn.BatchNorm2d(outputs),
        relu=nn.ReLU(),
    )
    return nn.Sequential(parts)


def load_network() -> nn.Sequential:
    """Return the trained network, ready for inference."""
    network = build_network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()
