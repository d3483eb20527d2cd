"""Random numbers that are a pure function of a seed and a name.

A generator hands out its numbers in the order of the calls, so that one more call
changes all later numbers. Here every number has an address instead: the seed of an
image, the name of what is drawn, and a position. Images are the same alone and in a
batch, and a new parameter leaves the old ones as they were. Integer arithmetic makes
them the same on every machine.

References:
    Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014.
"""

import math
import zlib

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

__all__ = ["bell", "between", "seeds", "uniform"]

Words = npt.NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def seeds(count: int, *, seed: int) -> Int64[Tensor, " scene"]:
    """Draw the seeds of images 0 to ``count - 1`` of the series ``seed``."""
    series = torch.tensor([seed])
    # One bit less, as the seeds are kept as signed numbers.
    words = _words(series, "seeds", count)[0] >> np.uint64(1)
    return torch.from_numpy(words.astype(np.int64))


def uniform(
    seeds: Int64[Tensor, " scene"], name: str, *shape: int
) -> Float64[Tensor, "scene ..."]:
    """Draw numbers in [0, 1), ``shape`` of them for each seed."""
    words = _words(seeds, name, math.prod(shape)) >> np.uint64(11)
    return torch.from_numpy(words * 2.0**-53).view(-1, *shape)


def between(
    seeds: Int64[Tensor, " scene"], name: str, low: float, high: float
) -> Float64[Tensor, " scene"]:
    """Draw one number between ``low`` and ``high`` for each seed."""
    return low + (high - low) * uniform(seeds, name)


def bell(
    seeds: Int64[Tensor, " scene"], name: str, *shape: int
) -> Float64[Tensor, "scene ..."]:
    """Draw bell-shaped numbers of mean 0 and variance 1.

    Each is a sum of four uniform numbers: close to normal, never beyond 3.5, and free
    of logarithms and cosines, whose last bits differ between machines.
    """
    words = _words(seeds, name, math.prod(shape))
    quarters = words.view(np.uint16).reshape(len(words), -1, 4)
    sums = quarters.sum(axis=2, dtype=np.float64) + 2.0
    return torch.from_numpy((sums * 2.0**-16 - 2.0) * 3.0**0.5).view(-1, *shape)


def _words(seeds: Int64[Tensor, " scene"], name: str, count: int) -> Words:
    keys = _mixed(seeds.numpy().view(np.uint64) ^ np.uint64(zlib.crc32(name.encode())))
    steps = np.arange(1, count + 1, dtype=np.uint64) * _STEP
    return _mixed(keys[:, None] + steps)


def _mixed(words: Words) -> Words:
    """Scramble every word (the output function of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
