"""What to keep of a golden run under a memory limit; the rest is computed again."""

from __future__ import annotations

import math
from collections import defaultdict

from torch import Tensor

from stoic.network.golden import Golden

__all__ = ["Budget"]

# What a step reads and writes, and the copies that carry a fault.
_AT_ONCE = 4
# Of the limit: golden values, values computed again; the rest is for trials.
_KEPT, _AGAIN = 0.5, 0.2


class Budget:
    """The sizes of a program's values, by what shares storage.

    Args:
        example: A golden run of a few inputs that holds all of its values.
        limit_bytes: What a bench may add to the memory of the process.
    """

    def __init__(self, example: Golden, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._inputs = example.inputs
        self._names: dict[int, list[str]] = defaultdict(list)
        self._bytes: dict[int, int] = {}
        given = {
            _address(example(name))
            for name in (*example.program.stored, *example.program.inputs)
        }
        for step in example.program.steps:
            value = example(step.name)
            if isinstance(value, Tensor) and _address(value) not in given:
                self._names[_address(value)].append(step.name)
                self._bytes[_address(value)] = value.untyped_storage().nbytes()

    def kept(self, inputs: int) -> frozenset[str] | None:
        """Return the values to hold for a batch; nothing where all of them fit.

        Small values first: they are the late ones, which most replays read.

        Raises:
            ValueError: The limit is too low to run a single step.
        """
        scale = inputs / self._inputs
        sizes = {place: size * scale for place, size in self._bytes.items()}
        least = _AT_ONCE * max(sizes.values(), default=0)
        if least > self.limit_bytes:
            raise ValueError(
                f"memory must be at least {math.ceil(least / 1e6)}M to run "
                f"{inputs} inputs at once, got {self.limit_bytes} bytes; "
                "allow more, or use a smaller batch"
            )
        room = self.limit_bytes * _KEPT
        if sum(sizes.values()) <= room:
            return None
        kept: list[str] = []
        for place in sorted(sizes, key=lambda place: sizes[place]):
            room -= sizes[place]
            if room < 0:
                break
            kept += self._names[place]
        return frozenset(kept)

    @property
    def again_bytes(self) -> int:
        """How many bytes of values computed again may be held."""
        return int(self.limit_bytes * _AGAIN)


def _address(value: object) -> int:
    return int(value.untyped_storage().data_ptr()) if isinstance(value, Tensor) else 0
