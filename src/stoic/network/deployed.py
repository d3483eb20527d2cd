"""The network as it is deployed: batch norms folded into the weights before them."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stoic.network.capture import CaptureError, capture
from stoic.network.folds import only_norm
from stoic.network.prepare import example_pair
from stoic.network.program import Program, Step
from stoic.network.subject import Inputs

__all__ = ["as_deployed"]


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def as_deployed(network: nn.Module, inputs: Inputs) -> nn.Module:
    """Return a copy of a network with every batch norm folded that can be.

    A norm is folded if it alone reads a convolution, and both are modules called once;
    in its place stands an identity, so that names stay as they were.

    Args:
        network: In evaluation mode; not changed.
        inputs: To run it on.

    Raises:
        ValueError: The network cannot be captured, or there is nothing to fold.
    """
    example = example_pair(inputs)
    try:
        program = capture(network, example.args, example.kwargs)
    except CaptureError as error:
        raise ValueError(
            f"network must be captured to be folded, got {error}; fold it yourself"
        ) from error
    pairs = _pairs(network, program)
    if not pairs:
        raise ValueError(
            "network must have a batch norm after a convolution to be folded, got none"
        )
    deployed = copy.deepcopy(network)
    for convolution, norm in pairs:
        first, second = map(deployed.get_submodule, (convolution, norm))
        assert isinstance(first, _CONVOLUTIONS) and isinstance(second, _NORMS)
        deployed.set_submodule(convolution, fuse_conv_bn_eval(first, second))
        deployed.set_submodule(norm, nn.Identity())
    return deployed.eval()


def _pairs(network: nn.Module, program: Program) -> list[tuple[str, str]]:
    """Return the paths of convolutions and of the norms that alone read them."""
    modules = dict(network.named_modules())
    calls = Counter(step.path.partition("@")[0] for step in program.steps)
    found = []
    for step in program.steps:
        norm = only_norm(program, step)
        if norm is not None and _is_pair(modules, calls, step, norm):
            found.append((step.path, norm.path))
    return found


def _is_pair(
    modules: dict[str, nn.Module], calls: Counter[str], step: Step, norm: Step
) -> bool:
    first, second = modules.get(step.path), modules.get(norm.path)
    once = calls[step.path] == 1 and calls[norm.path] == 1
    return once and isinstance(first, _CONVOLUTIONS) and isinstance(second, _NORMS)
