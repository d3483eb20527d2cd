"""Fingerprints: which network and which inputs a run is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "code_fingerprint",
    "data_fingerprint",
    "joined_fingerprint",
    "network_fingerprint",
]


def network_fingerprint(network: nn.Module) -> str:
    """Return the SHA-256 of a network's structure and of every stored word."""
    digest = hashlib.sha256()
    for path, module in network.named_modules():
        digest.update(
            f"{path}={type(module).__qualname__}({module.extra_repr()})\n".encode()
        )
    named = (*network.named_parameters(), *network.named_buffers())
    _add(digest, named)
    return digest.hexdigest()


def data_fingerprint(
    leaves: Iterable[Any], labels: Tensor | None, clusters: Tensor | None = None
) -> str:
    """Return the SHA-256 of all inputs, labels and sources of inputs."""
    digest = hashlib.sha256()
    _add(digest, ((str(number), leaf) for number, leaf in enumerate(leaves)))
    _add(digest, [("labels", labels), ("clusters", clusters)])
    return digest.hexdigest()


def code_fingerprint(function: Any) -> str | None:
    """Return the SHA-256 of what a function of the user's does; nothing for none.

    Of its instructions and constants: values that it closes over are not seen.
    """
    if function is None:
        return None
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    digest = hashlib.sha256(getattr(function, "__qualname__", "").encode())
    waiting = [getattr(function, "__code__", None)]
    while waiting:
        code = waiting.pop()
        if isinstance(code, CodeType):
            digest.update(code.co_code + repr(code.co_names).encode())
            plain = [c for c in code.co_consts if not isinstance(c, CodeType)]
            digest.update(repr(plain).encode())
            waiting += [c for c in code.co_consts if isinstance(c, CodeType)]
    return digest.hexdigest()


def joined_fingerprint(fingerprints: Iterable[str]) -> str:
    """Return one fingerprint of several."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def _add(digest: Any, named: Iterable[tuple[str, Any]]) -> None:
    for name, value in named:
        if not isinstance(value, Tensor):
            digest.update(f"{name}={value!r}\n".encode())
            continue
        digest.update(f"{name}:{value.dtype}{tuple(value.shape)}\n".encode())
        words = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(words.numpy())
