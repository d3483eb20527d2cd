"""Scikit-learn's 8×8 digits, split once and for all."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

__all__ = ["HELD_OUT", "Digits", "held_out", "learned"]

HELD_OUT = 600
"""How many of the 1,797 digits the network never learns from."""

_SPLIT_SEED = 0


class Digits(NamedTuple):
    """Pictures in 0..1 and the digits they show."""

    pictures: Float32[Tensor, "digit 1 8 8"]
    labels: Int64[Tensor, " digit"]


def learned() -> Digits:
    """Return the digits that the network learns from."""
    pictures, labels = _shuffled()
    return Digits(pictures[HELD_OUT:], labels[HELD_OUT:])


def held_out() -> Digits:
    """Return the digits that the network has never seen, in random order."""
    pictures, labels = _shuffled()
    return Digits(pictures[:HELD_OUT], labels[:HELD_OUT])


def _shuffled() -> Digits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(digits.target))
    pictures = torch.from_numpy(digits.images[order]).float() / 16
    labels = torch.from_numpy(digits.target[order]).long()
    return Digits(pictures[:, None], labels)
