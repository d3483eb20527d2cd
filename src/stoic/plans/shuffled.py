"""Whole numbers by chance, the same from a seed on every machine and version."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["below", "sample", "shuffled"]


def sample(size: int, trials: int, key: str, replacement: bool) -> Iterator[int]:
    """Return numbers of ``range(size)``, drawn uniformly; a text is the seed.

    Raises:
        ValueError: More numbers than there are, without replacement.
    """
    # Raw bits: how Python makes other things of them may change between versions.
    bits = random.Random(key).getrandbits
    if replacement:
        return (below(size, bits) for _ in range(trials))
    if trials > size:
        raise ValueError(
            f"trials must be at most the {size} faults there are, got {trials}; "
            "draw fewer, or with replacement"
        )
    return shuffled(size, trials, bits)


def below(bound: int, bits: Callable[[int], int]) -> int:
    """Return a number of ``range(bound)`` made of raw bits."""
    width = bound.bit_length()
    while (value := bits(width)) >= bound:
        pass
    return value


def shuffled(size: int, trials: int, bits: Callable[[int], int]) -> Iterator[int]:
    """Yield the first numbers of a shuffled ``range(size)``."""
    # The first steps of a Fisher-Yates shuffle of range(size), of which only the
    # places that moved are kept.
    moved: dict[int, int] = {}
    for step in range(trials):
        chosen = step + below(size - step, bits)
        head = moved.pop(step, step)
        if chosen == step:
            yield head
        else:
            yield moved.get(chosen, chosen)
            moved[chosen] = head
