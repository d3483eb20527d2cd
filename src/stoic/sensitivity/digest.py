"""Short names of tensors, for what need not be computed twice."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

__all__ = ["digest"]


def digest(tensor: Tensor) -> str:
    """Return a short name of a tensor's words, shape and format."""
    found = blake2b(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
    words = tensor.detach().contiguous().flatten().view(torch.uint8)
    found.update(words.numpy().data)
    return found.hexdigest()
