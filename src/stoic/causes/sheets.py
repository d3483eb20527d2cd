"""Sheets: pictures of failures as a page can hold them, heat maps over them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.causes.failures import Inquiry
from stoic.causes.relevance.composite import EPSILON_PLUS, Composite
from stoic.causes.relevance.overlay import overlay
from stoic.causes.relevance.propagation import Propagation
from stoic.causes.sources import traced, versions
from stoic.causes.store import Entry, Store, content, digest

__all__ = ["heated", "kept_heat", "pictured", "source"]

_BATCH = 64


def pictured(inquiry: Inquiry, places: NDArray[np.int64]) -> Tensor:
    """Return failures as they are seen, between 0 and 1, in one or three channels."""
    pictures = inquiry.pictures(inquiry.failures.images[places])
    channels = pictures.shape[1]
    return pictures.mean(1, keepdim=True) if channels == 2 else pictures[:, :3]


def heated(
    inquiry: Inquiry, places: NDArray[np.int64], composite: Composite = EPSILON_PLUS
) -> Tensor:
    """Return failures with what spoke for the class that was read laid over them.

    Relevance is that of the second layer, where it is smooth, or of the image where
    that has no map.

    Args:
        inquiry: The network and its failures.
        places: Of those that are shown.
        composite: The rules of relevance.

    Raises:
        ValueError: The network cannot be captured, an operator has no rule, or
            relevance is not finite.
    """
    images = inquiry.failures.images[places]
    classes = torch.from_numpy(inquiry.failures.predicted[places])
    made = Propagation.of(inquiry.network, images, composite)
    parts = [
        _map(made, *own)
        for own in zip(images.split(_BATCH), classes.split(_BATCH), strict=True)
    ]
    return overlay(pictured(inquiry, places), torch.cat(parts))


def kept_heat(store: Store, inquiry: Inquiry, places: NDArray[np.int64]) -> Tensor:
    """Return the same as `heated`, kept by all that decides what it is.

    Raises:
        ValueError: As `heated`.
    """
    code = traced(frozenset({__name__})), versions()
    key = digest("heat", content(inquiry), places, *code)
    entry = store.read(key)
    if entry is None or "heat" not in entry.arrays:
        entry = Entry({"heat": heated(inquiry, places).numpy()}, {})
        store.write(key, entry)
    return torch.from_numpy(entry.arrays["heat"])


def _map(made: Propagation, images: Tensor, classes: Tensor) -> Tensor:
    second = made.layers[1] if len(made.layers) > 1 else None
    keep = [made.image, *([second.value] if second else [])]
    found = made(images, classes=classes, keep=keep).at
    if second is not None:
        heat = second.map(found[second.value])
        if heat.dim() == 3 and min(heat.shape[1:]) > 1:
            return heat
    return found[made.image].sum(1)


def source(picture: Tensor) -> str:
    """Return a picture as a PNG that a page can hold."""
    from PIL import Image

    pixels = (255 * picture).round().byte().permute(1, 2, 0).numpy()
    image: Any = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
