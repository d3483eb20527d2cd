"""Tensors as words: equal words are equal numbers, NaN and -0.0 included."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_words"]

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_words(tensor: Tensor) -> Tensor:
    """Return a tensor's bits as whole numbers of its width; complex ones in parts."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(_WHOLE[tensor.element_size()])
