"""Transfer features: what a network that was trained on photos makes of an image.

References:
    Attaoui, Fahmy, Pastore and Briand, Black-box safety analysis and retraining of DNNs
    based on feature extraction and clustering, 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import Features

__all__ = ["Backbone", "Body", "Pretrained", "Tuned"]

_BATCH = 32


class Body(NamedTuple):
    """A trained network without its head, in evaluation mode.

    Args:
        first: From pictures between 0 and 1 to feature maps.
        last: From these to the maps that features are the means of.
    """

    first: nn.Module
    last: nn.Module


@dataclass(frozen=True)
class Backbone:
    """A network trained on photos.

    Args:
        name: What tables call it.
        weights: What tells its weights from others, such as a version.
        size: Height and width of the pictures that it is shown.
        load: Makes it anew.
    """

    name: str
    weights: str
    size: int
    load: Callable[[], Body] = field(repr=False, compare=False)

    def shown(self, pictures: Tensor) -> Tensor:
        """Return pictures in colour and of its size.

        Raises:
            ValueError: They have neither one nor three channels.
        """
        channels = pictures.shape[1]
        if channels not in (1, 3):
            raise ValueError(
                f"images must have 1 or 3 channels for {self.name}, got {channels}; "
                "choose features of the network itself"
            )
        coloured = pictures.float().expand(-1, 3, -1, -1)
        size = (self.size, self.size)
        if coloured.shape[2:] == size:
            return coloured
        return functional.interpolate(
            coloured, size, mode="bilinear", align_corners=False, antialias=True
        )


@dataclass(frozen=True)
class Pretrained:
    """A backbone as it is: the mean of each of its last maps."""

    backbone: Backbone

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.backbone.name

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return one feature per channel of the last maps."""
        first, last = self.backbone.load()

        def means(part: Tensor) -> Tensor:
            maps: Tensor = last(first(self.backbone.shown(part)))
            return maps.mean((2, 3))

        images = inquiry.pictures(inquiry.failures.images)
        return np.asarray(_each(means, images).numpy(), np.float32)


@dataclass(frozen=True)
class Tuned:
    """A backbone whose last part has learnt to tell the classes of the case apart.

    Its first part stays as it is: edges and textures are those of photos, and the maps
    it makes are computed once.

    Args:
        backbone: To begin with.
        epochs: Times that the examples are seen.
        rate: Of learning, of the last part; its new head learns ten times as fast.
        examples: Used at most.
    """

    backbone: Backbone
    epochs: int = 4
    rate: float = 1e-4
    examples: int = 1000

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.backbone.name} tuned"

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        """Return one feature per channel of the last maps, after tuning."""
        first, last = self.backbone.load()
        tuned = self._tuned(inquiry, first, last, seed)
        images = inquiry.pictures(inquiry.failures.images)
        maps = _each(lambda part: first(self.backbone.shown(part)), images)
        return _features(maps, tuned)

    def _tuned(
        self, inquiry: Inquiry, first: nn.Module, last: nn.Module, seed: int
    ) -> nn.Module:
        chance = torch.Generator().manual_seed(seed)
        examples = inquiry.examples
        picked = torch.randperm(len(examples), generator=chance)[: self.examples]
        pictures = inquiry.pictures(examples.images[picked])
        maps = _each(lambda part: first(self.backbone.shown(part)), pictures)
        names, labels = np.unique(examples.labels[picked.numpy()], return_inverse=True)
        body = deepcopy(last).requires_grad_(True)
        head = nn.Linear(_width(maps, last), len(names))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self._learn(maps, torch.from_numpy(labels.reshape(-1)), body, head, chance)
        return body.requires_grad_(False)

    def _learn(
        self,
        maps: Tensor,
        labels: Tensor,
        body: nn.Module,
        head: nn.Module,
        chance: torch.Generator,
    ) -> None:
        parts = [
            {"params": list(body.parameters()), "lr": self.rate},
            {"params": list(head.parameters()), "lr": 10 * self.rate},
        ]
        steps = torch.optim.Adam(parts)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(maps), generator=chance).split(_BATCH):
                scores = head(body(maps[batch]).mean((2, 3)))
                loss = functional.cross_entropy(scores, labels[batch])
                steps.zero_grad()
                loss.backward()
                steps.step()


def _width(maps: Tensor, last: nn.Module) -> int:
    with torch.no_grad():
        return int(last(maps[:1]).shape[1])


@torch.no_grad()
def _each(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what all images become, some at a time."""
    return torch.cat([run(part) for part in images.split(_BATCH)])


def _features(maps: Tensor, last: nn.Module) -> Features:
    means = _each(lambda part: last(part).mean((2, 3)), maps)
    return np.asarray(means.numpy(), np.float32)
