"""Eight-bit weights by torchao: the real thing, to hold fake quantisation against."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stoic.estimates.estimate import Estimate
from stoic.sensitivity.golden import Scored
from stoic.sensitivity.quantised import IntegerFormat
from stoic.sensitivity.sweep import kept_by, narrow_scores

__all__ = ["Eight", "by_torchao", "linear_layers"]


@dataclass(frozen=True)
class Eight:
    """Decisions of a network whose linear layers have int8 weights.

    Args:
        layers: That have.
        left_out: Layers that torchao cannot run with such weights: convolutions.
        kept: Share of the decisions kept by torchao.
        ours: The same by fake quantisation of the same layers.
        same: Share of the decisions that are the same in both.
    """

    layers: tuple[str, ...]
    left_out: tuple[str, ...]
    kept: Estimate
    ours: Estimate
    same: float

    def lines(self) -> list[str]:
        """Return it in words."""
        return [
            f"int8 weights of {len(self.layers)} linear layers by torchao: "
            f"{self.kept.value:.2%} of the decisions kept; ours: "
            f"{self.ours.value:.2%}; the same in both: {self.same:.2%}"
            + (
                f"\nleft out: {len(self.left_out)} convolutions, which torchao cannot "
                "run with int8 weights"
                if self.left_out
                else ""
            )
        ]


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a network by name."""
    modules = network.named_modules()
    return {name: each for name, each in modules if type(each) is nn.Linear}


def by_torchao(
    network: nn.Module, scored: Scored, tail: Callable[[Any], Tensor]
) -> Eight:
    """Return the decisions of a copy of a network with int8 weights in linear layers.

    Args:
        network: Not changed.
        scored: The same network, captured.
        tail: From its output to the scores.

    Raises:
        ValueError: It has no linear layers, or torchao is missing.
    """
    linear = linear_layers(network)
    names = tuple(layer.name for layer in scored.layers if layer.name in linear)
    if not names:
        raise ValueError(
            "network must have a linear layer for torchao's int8 weights, got none; "
            "leave --torchao out"
        )
    narrow = _quantised(network, frozenset(names))
    with torch.inference_mode():
        theirs = torch.cat(
            [
                tail(narrow(*p.args, **p.kwargs))
                for p in scored.inputs.batches(scored.batch)
            ]
        )
    ours = narrow_scores(scored, dict.fromkeys(names, IntegerFormat(8)), "weights")
    return Eight(
        layers=names,
        left_out=tuple(each.name for each in scored.layers if each.name not in names),
        kept=kept_by(scored, theirs, None).share,
        ours=kept_by(scored, ours, None).share,
        same=float((theirs.argmax(1) == ours.argmax(1)).double().mean()),
    )


def _quantised(network: nn.Module, names: frozenset[str]) -> nn.Module:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ValueError(
            "torchao must be installed for int8 weights by torchao, got none; "
            "pip install 'stoic[quantise]'"
        ) from error
    narrow = copy.deepcopy(network)
    quantize_(narrow, Int8WeightOnlyConfig(), filter_fn=lambda _, name: name in names)
    return narrow
