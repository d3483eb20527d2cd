"""An autoencoder: the few numbers from which an image can be drawn again.

References:
    Attaoui, Fahmy, Pastore and Briand, DNN explanation for safety analysis: an
    empirical evaluation of clustering-based approaches, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Features

__all__ = ["Autoencoder"]

_BATCH = 64
# Pictures are made so large: three halvings, to maps of 6 by 6.
_SIDE = 48
_CHANNELS = (24, 48, 96)


@dataclass(frozen=True)
class Autoencoder:
    """A convolutional autoencoder, trained on the case's own images without labels.

    Args:
        width: Numbers that an image is squeezed into.
        epochs: Times that all images are seen.
        rate: Of learning.
    """

    width: int = 64
    epochs: int = 12
    rate: float = 2e-3
    name: str = "autoencoder"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return what each failure is squeezed into."""
        failing = _shown(inquiry.pictures(inquiry.failures.images))
        fine = _shown(inquiry.pictures(inquiry.examples.images))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            squeeze = self._trained(torch.cat([failing, fine]))
        with torch.no_grad():
            found = torch.cat([squeeze(part) for part in failing.split(_BATCH)])
        return np.asarray(found.numpy(), np.float32)

    def _trained(self, images: Tensor) -> nn.Module:
        channels = images.shape[1]
        squeeze, draw = _encoder(channels, self.width), _decoder(channels, self.width)
        both = nn.Sequential(squeeze, draw)
        steps = torch.optim.Adam(both.parameters(), lr=self.rate)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(images)).split(_BATCH):
                loss = functional.mse_loss(both(images[batch]), images[batch])
                steps.zero_grad()
                loss.backward()
                steps.step()
        return squeeze.eval()


def _shown(pictures: Tensor) -> Tensor:
    if pictures.shape[2:] == (_SIDE, _SIDE):
        return pictures.float()
    return functional.interpolate(
        pictures.float(), (_SIDE, _SIDE), mode="bilinear", align_corners=False
    )


def _encoder(channels: int, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inside, outside in pairwise((channels, *_CHANNELS)):
        parts += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(_inner(), width))


def _decoder(channels: int, width: int) -> nn.Sequential:
    last = _CHANNELS[-1]
    side = _SIDE // 2 ** len(_CHANNELS)
    parts: list[nn.Module] = [nn.Linear(width, _inner()), nn.ReLU()]
    parts.append(nn.Unflatten(1, (last, side, side)))
    for inside, outside in pairwise((*_CHANNELS[::-1], channels)):
        parts += [nn.Upsample(scale_factor=2), nn.Conv2d(inside, outside, 3, padding=1)]
        parts.append(nn.ReLU())
    return nn.Sequential(*parts[:-1], nn.Sigmoid())


def _inner() -> int:
    return int(_CHANNELS[-1] * (_SIDE // 2 ** len(_CHANNELS)) ** 2)
