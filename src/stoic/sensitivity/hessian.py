"""Curvature: the trace of the Hessian of the loss, tensor by tensor.

References:
    Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stoic.campaign.scores import scores_of
from stoic.network.program import Program
from stoic.network.slopes import NoSlopesError
from stoic.network.smooth import aliased, floats, smoothed
from stoic.network.subject import Inputs

__all__ = ["Trace", "hessian_traces"]


@dataclass(frozen=True)
class Trace:
    """The trace of a tensor's own block of the Hessian, estimated.

    Args:
        value: Mean over probes.
        error: Its standard error; nothing from a single probe.
        elements: Words of the tensor.
        probes: Products with the Hessian.
    """

    value: float
    error: float | None
    elements: int
    probes: int


def hessian_traces(
    program: Program,
    inputs: Inputs,
    labels: Tensor | None,
    names: Sequence[str],
    probes: int = 8,
    seed: int = 0,
) -> dict[str, Trace]:
    """Return the traces of the Hessian of the mean cross-entropy.

    A probe is a product with the Hessian of all tensors at once: what other tensors add
    to a tensor's trace is 0 on average. It costs about four forward passes.

    Args:
        program: Of a network whose output holds scores of classes.
        inputs: One batch, run at once.
        labels: Right class of each input; by default the golden one.
        names: Of floating stored values.
        probes: 1 or more.
        seed: Of the probes' signs.

    Raises:
        NoSlopesError: The network has no second derivatives.
        ValueError: There are no probes.
    """
    if probes < 1:
        raise ValueError(
            f"probes must be at least 1, got {probes}; choose one such as 8"
        )
    chance = torch.Generator().manual_seed(seed)
    # Fused attention has a way back, but none through that.
    math = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(False), torch.enable_grad(), math:
        tensors, loss = _loss(program, inputs, labels, names)
        try:
            slopes = torch.autograd.grad(
                loss, tensors, create_graph=True, materialize_grads=True
            )
            found = [_probe(tensors, slopes, chance) for _ in range(probes)]
        except RuntimeError as error:
            first = str(error).splitlines()[0][:200].rstrip(".")
            raise NoSlopesError(
                f"network must have second derivatives, got {first}; leave the "
                "Hessian's trace out: --probes 0"
            ) from error
    return {
        name: _trace(tensor, torch.tensor(each, dtype=torch.float64))
        for name, tensor, each in zip(
            names, tensors, zip(*found, strict=True), strict=True
        )
    }


def _loss(
    program: Program, inputs: Inputs, labels: Tensor | None, names: Sequence[str]
) -> tuple[list[Tensor], Tensor]:
    smooth = smoothed(program, names)
    tensors = [smooth.stored[name] for name in names]
    if wrong := [n for n, t in zip(names, tensors, strict=True) if not floats(t)]:
        raise NoSlopesError(f"names must be of floating values, got {wrong}")
    values = smooth.run(map(aliased, inputs.leaves))
    scores = scores_of(smooth.answer(values.__getitem__))
    if scores.dim() != 2 or scores.shape[1] < 2:
        raise NoSlopesError(
            f"output must be scores of 2 or more classes, got {tuple(scores.shape)}"
        )
    right = scores.detach().argmax(-1) if labels is None else labels[: len(scores)]
    return tensors, F.cross_entropy(scores, right)


def _probe(
    tensors: Sequence[Tensor], slopes: Sequence[Tensor], chance: torch.Generator
) -> list[float]:
    """Return each tensor's part of one random quadratic form."""
    signs = [
        (torch.randint(0, 2, t.shape, generator=chance) * 2 - 1).to(t) for t in tensors
    ]
    moving = [(g, s) for g, s in zip(slopes, signs, strict=True) if g.requires_grad]
    products = torch.autograd.grad(
        [g for g, _ in moving],
        tensors,
        [s for _, s in moving],
        retain_graph=True,
        materialize_grads=True,
    )
    pairs = zip(signs, products, strict=True)
    return [float((s.double() * p.double()).sum()) for s, p in pairs]


def _trace(tensor: Tensor, each: Tensor) -> Trace:
    error = float(each.std() / len(each) ** 0.5) if len(each) > 1 else None
    return Trace(float(each.mean()), error, tensor.numel(), len(each))
