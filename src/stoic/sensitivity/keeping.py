"""Which decisions are kept, on average: leads against the noise of rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stoic.sensitivity.noise import Noise, Shift

__all__ = ["kept_chance", "kept_share", "least_width", "likely_width", "losses"]


def kept_share(noise: Noise, shift: Shift) -> Tensor:
    """Return the share of all decisions that are kept, as the normal law has it.

    Args:
        noise: Leads and probes.
        shift: Of leads.

    Returns:
        A number for each of the first dimensions of the shift.
    """
    return _kept(noise, shift).mean(-1)


def kept_chance(noise: Noise, shift: Shift, keep: float) -> Tensor:
    """Return the chance that at least a share of these decisions is kept.

    Decisions are taken to have nothing to do with each other.

    Args:
        noise: Leads and probes.
        shift: Of leads.
        keep: The share.
    """
    kept = _kept(noise, shift)
    allowed = math.floor(len(noise.leads) * (1 - keep) + 1e-9)
    # How likely so many have changed among the inputs so far; more is enough.
    counts = torch.zeros(*kept.shape[:-1], allowed + 1, dtype=kept.dtype)
    counts[..., 0] = 1
    for stays in kept.unbind(-1):
        more = torch.nn.functional.pad(counts[..., :-1], (1, 0))
        counts = counts * stays[..., None] + more * (1 - stays[..., None])
    return counts.sum(-1)


def losses(noise: Noise, variance: Tensor, parts: Tensor) -> Tensor:
    """Return how many decisions each part of a variance costs, to first order.

    Args:
        noise: Leads and probes.
        variance: Of a shift of which nothing is known, by probe and rival: where the
            curve is followed.
        parts: Variances in the same two last dimensions, such as those of layers.
    """
    whole = _spread(noise, variance).requires_grad_()
    with torch.enable_grad():
        lost = (1 - _chances(noise.leads, whole)).sum()
        (slope,) = torch.autograd.grad(lost, whole)
    spread = torch.stack([_spread(noise, p) for p in parts.flatten(0, -3)])
    return (spread * slope).sum((-1, -2)).reshape(parts.shape[:-2])


def least_width(
    widths: Sequence[int], shares: Sequence[float], keep: float
) -> int | None:
    """Return the least width from which on all keep such a share; None if none does."""
    least = None
    for width, share in sorted(zip(widths, shares, strict=True), reverse=True):
        if share < keep:
            break
        least = width
    return least


def likely_width(widths: Sequence[int], chances: Sequence[float]) -> int | None:
    """Return the least width from which on all are likelier than not to keep enough.

    Args:
        widths: Whose roundings have nothing to do with each other.
        chances: That each keeps enough.
    """
    least, together = None, 1.0
    for width, chance in sorted(zip(widths, chances, strict=True), reverse=True):
        together *= chance
        if together < 0.5:
            break
        least = width
    return least


def _kept(noise: Noise, shift: Shift) -> Tensor:
    """Return the chance of each decision to stay.

    What is known of a probe's lead is only so much noise to the inputs it stands for.
    """
    known = torch.zeros_like(shift.known[..., :1, :]).repeat_interleave(
        len(noise.leads), -2
    )
    known[..., noise.probes, :] = shift.known
    variance = _spread(noise, shift.known.square() + shift.variance).clone()
    variance[..., noise.probes, :] = shift.variance
    return _chances(noise.leads + known, variance)


def _spread(noise: Noise, variance: Tensor) -> Tensor:
    """Return variances for every input: its own, or the mean of probes drawn by lot."""
    inputs = len(noise.leads)
    if len(noise.probes) == inputs:
        return variance[..., noise.probes.argsort(), :]
    drawn = variance[..., len(noise.probes) // 2 :, :].mean(-2, keepdim=True)
    spread = drawn.expand(*variance.shape[:-2], inputs, variance.shape[-1]).clone()
    spread[..., noise.probes, :] = variance
    return spread


def _chances(leads: Tensor, variance: Tensor) -> Tensor:
    """Return the chance of each decision to lead all of its rivals still."""
    sizes = (variance + 1e-300).sqrt()
    ahead = 0.5 * torch.erfc(-(leads / sizes) / math.sqrt(2))
    # Without noise a lead stays, even one of 0; with noise that is for a coin to say.
    return ahead.where(variance > 0, (leads >= 0).to(ahead)).prod(-1)
