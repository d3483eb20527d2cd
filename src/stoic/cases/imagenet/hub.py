"""Networks of torchvision as sources of features, where a user has their weights.

They are looked for in torch's own cache (``TORCH_HOME``), where torchvision keeps what
it downloads; nothing is downloaded from here.

References:
    Simonyan and Zisserman, 2015 (VGG-16). Szegedy et al., 2016 (Inception-V3). He et
    al., 2016 (ResNet-50). Dosovitskiy et al., 2021 (ViT-B/16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.causes.extractors.backbones import Backbone, Body

__all__ = ["KNOWN", "Known", "found"]

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Known:
    """A network of torchvision.

    Args:
        name: What tables call it.
        model: What torchvision calls it.
        stem: What the file of its weights begins with.
        size: Height and width of the pictures that it is shown.
        parted: Part it before its last stage.
        tunable: Whether the maps before that are few enough to be held and learnt from.
    """

    name: str
    model: str
    stem: str
    size: int
    parted: Callable[[Any], tuple[Iterable[nn.Module], Iterable[nn.Module]]]
    tunable: bool = True

    @property
    def file(self) -> Path | None:
        """Its weights; the last by name if there are several, nothing without any."""
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        files = sorted(folder.glob(f"{self.stem}-{'[0-9a-f]' * 8}.pth"))
        return files[-1] if files else None

    @property
    def missing(self) -> str:
        """What it lacks, and how to get that; nothing if it can be used."""
        if find_spec("torchvision") is None:
            return "needs torchvision, which is not installed; get it: " + (
                "pip install 'stoic[vision]'"
            )
        if self.file is None:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            return (
                f"needs weights {self.stem}-*.pth in {folder}, got none; get them: "
                'python -c "import torchvision; '
                f"torchvision.models.get_model('{self.model}', weights='DEFAULT')\""
            )
        return ""

    def backbone(self, file: Path) -> Backbone:
        """Return it with the weights of a file."""
        told = file.stat()
        weights = f"{file.name} {told.st_size} {told.st_mtime_ns}"
        return Backbone(self.name, weights, self.size, partial(self.body, file))

    def body(self, file: Path) -> Body:
        """Load it.

        Raises:
            CaseError: The file holds other weights, or cannot be read.
        """
        from torchvision.models import get_model

        # Without memory, as all that is used comes from the file.
        with torch.device("meta"):
            network = get_model(self.model, weights=None, **_plain(self.model))
        first, last = (nn.Sequential(*part) for part in self.parted(network))
        try:
            stored = torch.load(file, map_location="cpu", weights_only=True)
            network.load_state_dict(_held(stored, network), strict=False, assign=True)
        # A damaged file may make unpickling raise anything, with any message or none.
        except Exception as error:
            said = next(iter(str(error).splitlines()), "no message")
            raise CaseError(
                f"{file} must hold torchvision's weights of {self.model}, got "
                f"{type(error).__name__}: {said}; fetch it again"
            ) from error
        for name, own in (*first.state_dict().items(), *last.state_dict().items()):
            if own.is_meta:
                raise CaseError(
                    f"{file} must hold all weights of {self.model}, got none for "
                    f"{name}; fetch it again"
                )
        both = (part.eval().requires_grad_(False) for part in (first, last))
        return Body(*both)


def found() -> tuple[tuple[Known, Backbone], ...]:
    """Return the networks that can be used here."""
    able = (known for known in KNOWN if not known.missing)
    return tuple(
        (known, known.backbone(file)) for known in able if (file := known.file)
    )


def _plain(model: str) -> dict[str, Any]:
    return {"init_weights": False} if model == "inception_v3" else {}


def _held(stored: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights in one piece, but for those of heads."""
    own = network.state_dict()
    return {name: each.contiguous() for name, each in stored.items() if name in own}


class _Shown(nn.Module):
    """Turns pictures between 0 and 1 into what a network was trained on."""

    def __init__(self, mean: tuple[float, ...], spread: tuple[float, ...]) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread

    def forward(self, pictures: Tensor) -> Tensor:
        mean, spread = (
            pictures.new_tensor(each).view(3, 1, 1) for each in (self.mean, self.spread)
        )
        return (pictures - mean) / spread


class _Tokens(nn.Module):
    """Turns pictures into tokens: what the first layer of a transformer reads."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.network._process_input(pictures)
        first = self.network.class_token.expand(len(patches), -1, -1)
        positions: Tensor = self.network.encoder.pos_embedding
        return torch.cat([first, patches], 1) + positions


class _ClassToken(nn.Module):
    """Returns the first token as maps of one place."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0, :, None, None]


def _resnet(network: Any) -> tuple[Iterable[nn.Module], Iterable[nn.Module]]:
    names = "conv1 bn1 relu maxpool layer1 layer2 layer3".split()
    first = [getattr(network, name) for name in names]
    return (_Shown(_MEAN, _SPREAD), *first), (network.layer4,)


def _vgg(network: Any) -> tuple[Iterable[nn.Module], Iterable[nn.Module]]:
    # The last block: three convolutions and their pooling.
    return (_Shown(_MEAN, _SPREAD), *network.features[:24]), network.features[24:]


def _inception(network: Any) -> tuple[Iterable[nn.Module], Iterable[nn.Module]]:
    names = (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 "
        "Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c "
        "Mixed_6d Mixed_6e"
    ).split()
    first = [getattr(network, name) for name in names]
    last = [network.Mixed_7a, network.Mixed_7b, network.Mixed_7c]
    return (_Shown((0.5,) * 3, (0.5,) * 3), *first), last


def _vit(network: Any) -> tuple[Iterable[nn.Module], Iterable[nn.Module]]:
    layers = [*network.encoder.layers]
    first = (_Shown(_MEAN, _SPREAD), _Tokens(network), *layers[:-2])
    return first, (*layers[-2:], network.encoder.ln, _ClassToken())


KNOWN = (
    Known("ResNet-50", "resnet50", "resnet50", 112, _resnet),
    Known("VGG-16 of torchvision", "vgg16", "vgg16", 96, _vgg),
    Known("Inception-V3", "inception_v3", "inception_v3_google", 128, _inception),
    # Tokens of a thousand pictures would take more than half a gigabyte.
    Known("ViT-B/16", "vit_b_16", "vit_b_16", 224, _vit, tunable=False),
)
"""Three convolutional networks and a transformer."""
