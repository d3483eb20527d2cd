"""Inputs that a monitor can be fitted to and tried on: numbers, or masks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stoic.network.captured import CapturedSubject
from stoic.network.subject import Inputs

__all__ = ["check_inputs_finite", "check_masked_finite"]


def check_inputs_finite(inputs: Inputs, first: int = 0) -> None:
    """Refuse inputs with NaN or infinity in them, but for what may be masks.

    Attention is kept from looking by adding -inf: a tensor without any number above 0
    may have some. Images and other data have such numbers.

    Args:
        inputs: That `stoic.campaign.checks.check_inputs` accepts.
        first: Number of the first of them.

    Raises:
        ValueError: Naming the first such input, and how many there are.
    """
    lost = torch.zeros(inputs.count, dtype=torch.bool)
    for leaf in inputs.leaves:
        if _is_floats(leaf):
            wrong = leaf.isnan() if _is_mask(leaf) else ~leaf.isfinite()
            lost |= wrong.reshape(len(leaf), -1).any(1).cpu()
    if bool(lost.any()):
        raise ValueError(
            "inputs must be finite, got NaN or infinity in input "
            f"{first + int(lost.nonzero()[0])}, the first of {int(lost.sum())} such "
            f"of {inputs.count} (counted from 0); leave them out, or mend them"
        )


@torch.inference_mode()
def check_masked_finite(
    subject: CapturedSubject,
    scores: Callable[[Any], Tensor],
    inputs: Inputs,
    *,
    batch: int,
    first: int = 0,
) -> None:
    """Refuse masks that hide so much that the fault-free output is no number.

    Args:
        subject: The network.
        scores: From its output to what is judged.
        inputs: That `check_inputs_finite` accepts.
        batch: Inputs per run.
        first: Number of the first of them.

    Raises:
        ValueError: Naming the first such input.
    """
    masked = torch.zeros(inputs.count, dtype=torch.bool)
    for leaf in inputs.leaves:
        if _is_floats(leaf):
            masked |= leaf.reshape(len(leaf), -1).isinf().any(1).cpu()
    places = masked.nonzero().flatten()
    for rows in places.split(batch) if len(places) else ():
        golden = scores(subject.bench(inputs.picked(rows)).golden)
        lost = ~golden.reshape(len(rows), -1).isfinite().all(1).cpu()
        if bool(lost.any()):
            raise ValueError(
                "masks must leave outputs finite, got NaN or infinity by the -inf in "
                f"input {first + int(rows[lost][0])} (counted from 0); hide less of "
                "it, or leave it out"
            )


def _is_floats(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.is_floating_point()


def _is_mask(leaf: Tensor) -> bool:
    """Say whether numbers may be what is added to hide something."""
    return bool(leaf.isneginf().any()) and not bool((leaf > 0).any())
