"""What running a network may move, and is given back: its state, states of chance."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoic.network.patch import same_words

__all__ = ["untouched"]


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Give a network and all states of chance back as they were.

    Running a network may count, cache and draw. Its buffers are copied, what else its
    modules hold is kept by name; parameters are left to those who write to them.
    """
    modules = [(vars(module), _kept(vars(module))) for module in network.modules()]
    tensors = [(tensor, tensor.clone()) for tensor in _loose(network)]
    chance = _chance()
    try:
        yield
    finally:
        _restore_chance(*chance)
        for own, kept in modules:
            _restore(own, kept)
        with torch.no_grad():
            for tensor, golden in tensors:
                if not same_words(tensor, golden):
                    tensor.copy_(golden)


def _loose(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a forward pass may write to."""
    yield from network.buffers()
    for module in network.modules():
        yield from (value for value in vars(module).values() if _is_tensor(value))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_meta


_Kept = dict[str, tuple[Any, Any]]


def _kept(own: dict[str, Any]) -> _Kept:
    """Return each value by name, with what is in it if it holds others."""
    return {name: (value, _content(value)) for name, value in own.items()}


def _content(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list | set) else None


def _restore(own: dict[str, Any], kept: _Kept) -> None:
    for name in own.keys() - kept.keys():
        del own[name]
    for name, (value, content) in kept.items():
        own[name] = value
        if isinstance(value, list):
            value[:] = content
        elif isinstance(value, dict | set):
            value.clear()
            value.update(content)


def _chance() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _restore_chance(plain: Any, numpy: Any, cpu: Tensor, cuda: Any) -> None:
    random.setstate(plain)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
