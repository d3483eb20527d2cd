"""Networks of the benchmarks: torchvision's, with seeded weights that carry signals.

The speed of a fault does not hang on what a network has learned. What matters is that
values are neither all zero nor huge, and that decisions differ between inputs, so that
a wrong outcome would be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NAMES", "Setup", "build", "calibrate", "centred", "pictures", "revive"]

NAMES = ("resnet18", "resnet50", "mobilenet_v2", "vgg19", "alexnet", "vit_b_16")

_CALIBRATION_RUNS = 3
_CALIBRATION_BATCH = 16


@dataclass(frozen=True)
class Setup:
    """A network in evaluation mode and one batch for it.

    Args:
        name: Of the network.
        network: To be hit.
        inputs: One batch of pictures.
        classes: How many different classes the golden run gives.
    """

    name: str
    network: nn.Module
    inputs: Tensor
    classes: int

    def on(self, device: str) -> Setup:
        """Return the same on a device; the network itself is moved."""
        return replace(
            self, network=self.network.to(device), inputs=self.inputs.to(device)
        )


@torch.no_grad()
def build(name: str, *, batch: int, image: int, seed: int = 0) -> Setup:
    """Return a network with random weights and pictures that it tells apart."""
    torch.manual_seed(seed)
    network = _torchvision(name, image)
    revive(network)
    calibrate(network, image, seed)
    inputs = pictures(batch, image, seed)
    classes = centred(network, inputs)
    return Setup(name, network, inputs, classes)


def pictures(count: int, image: int, seed: int) -> Tensor:
    """Return smooth coloured blobs with a little noise, in about -2..2."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 7, 7, generator=chance)
    smooth = functional.interpolate(coarse, (image, image), mode="bilinear")
    return smooth + 0.1 * torch.randn(smooth.shape, generator=chance)


@torch.no_grad()
def centred(network: nn.Module, inputs: Tensor) -> int:
    """Take each class's mean score out of the last bias; return how many classes win.

    A network with random weights gives every input the same class otherwise.
    """
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.bias.sub_(network(inputs).mean(0))
    return len(network(inputs).argmax(-1).unique())


def _torchvision(name: str, image: int) -> nn.Module:
    from torchvision import models

    if name not in NAMES:
        raise ValueError(f"network must be one of {', '.join(NAMES)}, got {name!r}")
    options = {"image_size": image} if name.startswith("vit") else {}
    network: nn.Module = getattr(models, name)(weights=None, **options)
    return network.eval()


def revive(network: nn.Module) -> None:
    """Draw weights anew where the usual ones would let the signal die away."""
    modules = list(network.modules())
    normed = any(isinstance(m, nn.BatchNorm2d | nn.LayerNorm) for m in modules)
    for module in modules:
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if not normed:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)


@torch.no_grad()
def calibrate(network: nn.Module, image: int, seed: int) -> None:
    """Set the statistics of BatchNorm by a few runs."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for run in range(_CALIBRATION_RUNS):
        network(pictures(_CALIBRATION_BATCH, image, seed + 1 + run))
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()
