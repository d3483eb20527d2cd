"""Heat maps laid over pictures: red spoke for the answer, blue against it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["heat_colours", "overlay"]

# From what spoke against the answer most, over nothing, to what spoke for it most.
_AGAINST, _NOTHING, _FOR = (0.10, 0.25, 0.80), (1.0, 1.0, 1.0), (0.85, 0.08, 0.10)
_GREY = (0.299, 0.587, 0.114)


def heat_colours(strength: Tensor) -> Tensor:
    """Return colours of numbers between -1 and 1: blue, white, red.

    Args:
        strength: Of any shape, [...].

    Returns:
        Of shape (..., 3), between 0 and 1.
    """
    against, nothing, towards = (
        strength.new_tensor(colour) for colour in (_AGAINST, _NOTHING, _FOR)
    )
    size = strength.clamp(-1, 1).abs()[..., None]
    end = torch.where(strength[..., None] < 0, against, towards)
    return nothing + size * (end - nothing)


def overlay(pictures: Tensor, heat: Tensor, *, veil: float = 0.75) -> Tensor:
    """Lay heat maps over pictures.

    Each map is relative to its own largest number, of either sign. Pictures lose their
    colours, so that those of the heat are seen, and are covered where heat is strong.

    Args:
        pictures: Between 0 and 1, [pictures, channels, height, width], of one or three
            channels.
        heat: Of each picture, [pictures, height, width]; of any size, and then made to
            fit.
        veil: How much the strongest heat covers, of 0 to 1.

    Returns:
        Of shape (pictures, 3, height, width), between 0 and 1.

    Raises:
        ValueError: There is not one map for each picture, or it is not finite.
    """
    if heat.dim() != 3 or len(heat) != len(pictures):
        raise ValueError(
            f"heat must be one map for each of {len(pictures)} pictures, "
            f"got shape {tuple(heat.shape)}"
        )
    if not bool(heat.isfinite().all()):
        raise ValueError("heat must be finite, got NaN or infinity")
    size = pictures.shape[-2:]
    fitted = functional.interpolate(heat[:, None].to(pictures), size, mode="bilinear")
    largest = fitted.abs().amax((1, 2, 3), keepdim=True)
    strength = torch.where(largest > 0, fitted / largest, 0.0)
    colours = heat_colours(strength[:, 0]).movedim(-1, 1)
    cover = veil * strength.abs().sqrt()
    return (_grey(pictures) * (1 - cover) + colours * cover).clamp(0, 1)


def _grey(pictures: Tensor) -> Tensor:
    """Return pictures without colour, in three channels."""
    if pictures.shape[1] == 3:
        weights = pictures.new_tensor(_GREY).reshape(1, 3, 1, 1)
        pictures = (pictures * weights).sum(1, keepdim=True)
    return pictures.expand(-1, 3, -1, -1)
