"""Images of a folder: read whole, or named and left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["Read", "read_images"]

# Pillow refuses pictures of absurd sizes by an exception of its own.
_TooLarge = Image.DecompressionBombError
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True, eq=False)
class Read:
    """Pictures that could be read.

    Args:
        pictures: Between 0 and 1, of shape (images, channels, height, width).
        names: Of their files, below the folder.
        labels: Names of the folders they lie in; empty words for the folder itself.
        skipped: Names of files that could not be read, and why.
    """

    pictures: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def read_images(
    folder: Path, channels: int, size: tuple[int, int], *, strict: bool = False
) -> Read:
    """Read all images below a folder, in the order of their names.

    Args:
        folder: With images, or with one folder of images for each class.
        channels: 1 for grey, 3 for colour.
        size: Height and width that they are brought to.
        strict: Refuse a file that cannot be read, instead of leaving it out.

    Raises:
        ValueError: There is no image, or one that cannot be read while ``strict``.
    """
    if not folder.is_dir():
        raise ValueError(f"images must be a folder, got {str(folder)!r}")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _ENDINGS)
    found: list[tuple[str, str, Tensor]] = []
    skipped: list[tuple[str, str]] = []
    for file in files:
        name = file.relative_to(folder)
        label = name.parts[0] if len(name.parts) > 1 else ""
        try:
            found.append((str(name), label, _picture(file, channels, size)))
        except (OSError, SyntaxError, ValueError, _TooLarge) as error:
            skipped.append((str(name), str(error).splitlines()[0]))
    if strict and skipped:
        first, why = skipped[0]
        raise ValueError(
            f"every image below {folder} must be readable, got {first} ({why}); "
            "mend or remove it, or leave --strict out to skip it"
        )
    if not found:
        raise ValueError(
            f"{folder} must hold images that can be read, got {len(files)} files "
            f"that end in one of {' '.join(sorted(_ENDINGS))}, none of them whole"
        )
    names, labels, pictures = zip(*found, strict=True)
    return Read(torch.stack(pictures), names, labels, tuple(skipped))


def _picture(file: Path, channels: int, size: tuple[int, int]) -> Tensor:
    """Read one file.

    Raises:
        OSError: It is truncated, or no image.
    """
    with Image.open(file) as image:
        coloured = image.convert("L" if channels == 1 else "RGB")
    if coloured.size != size[::-1]:
        coloured = coloured.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(coloured)).float() / 255
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
