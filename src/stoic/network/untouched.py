"""Giving a network back as it was, also where a forward run updates its buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from stoic.network.patch import same_words

__all__ = ["untouched"]


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Put every buffer back after the block: the same tensor with the same words."""
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for module, name, buffer, before in kept:
            module._buffers[name] = buffer
            if not same_words(buffer, before):
                buffer.copy_(before)
