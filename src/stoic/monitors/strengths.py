"""Strengths of corruptions, so that a chosen share of all inputs fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from stoic.monitors.collecting import Spoilt, Watched
from stoic.monitors.corruptions import BY_NAME, Corruption, Pixels
from stoic.network.subject import Inputs

__all__ = ["SHARES", "spoilt_of", "strengths"]

SHARES = (0.1, 0.5, 0.9)
_STEPS = 10


def strengths(
    watched: Watched,
    inputs: Inputs,
    corruptions: Sequence[Corruption],
    pixels: Pixels,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
) -> tuple[Spoilt, ...]:
    """Return corruptions at the strengths at which such shares of inputs fail.

    Found by halving on these inputs, which should serve for nothing else. Where even
    the largest strength fails fewer, it is that one, once. What is told of each is the
    share that failed at it, not the one that was asked for.

    Args:
        watched: The network.
        inputs: To find out by.
        corruptions: Kinds.
        pixels: Range of the inputs.
        seed: Of noise.
        shares: Of inputs to fail.
    """
    found: dict[tuple[str, float], Spoilt] = {}
    golden = watched.scores(watched.bench(inputs).golden)

    @cache
    def failing(corruption: Corruption, strength: float) -> float:
        spoilt = pixels.on(inputs, corruption, strength, seed)
        scores = watched.scores(watched.bench(spoilt).golden)
        return float(watched.criterion.failed(golden, scores, None).double().mean())

    for corruption in corruptions:
        for wanted in shares:
            strength = _halved(partial(failing, corruption), wanted, corruption)
            share = failing(corruption, strength)
            found.setdefault(
                (corruption.name, strength), Spoilt(corruption, strength, share)
            )
    return tuple(found.values())


def spoilt_of(about: dict[str, Any]) -> tuple[Spoilt, ...]:
    """Return the corruptions that a monitor was fitted and is to be tried with."""
    return tuple(
        Spoilt(BY_NAME[name], strength, share)
        for name, strength, share in about.get("corruptions", [])
    )


def _halved(
    failing: Callable[[float], float], share: float, corruption: Corruption
) -> float:
    """Return the strength at which a share of inputs fails, to within a part of it."""
    low, high = 0.0, corruption.most
    if failing(high) < share:
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if failing(middle) >= share else (middle, high)
    return high
