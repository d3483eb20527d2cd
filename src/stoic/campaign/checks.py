"""What is checked before a campaign starts: each rule refused in one line."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.campaign.facts import Judge, scores_of
from stoic.campaign.trials import Bay
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import attention_by_parts
from stoic.network.subject import Inputs, same_leaves

__all__ = ["check_golden", "check_inputs", "check_network"]

_BEST = 5


def check_network(network: nn.Module) -> None:
    """Refuse a network that is training or has tensors without words of their own.

    Raises:
        ValueError: Naming the module or tensor.
    """
    training = [path or "itself" for path, m in network.named_modules() if m.training]
    if training:
        raise ValueError(
            f"network must be in evaluation mode, got {training[0]} in training mode; "
            "call network.eval() first"
        )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f"{name} must hold values, got a tensor on the meta device; "
                "load the weights first"
            )
        if 0 in tensor.stride() and tensor.numel() > 1 and max(tensor.shape) > 1:
            raise ValueError(
                f"{name} must have a word of its own for each element, got strides "
                f"{tensor.stride()}; call contiguous() on it"
            )


def check_inputs(inputs: Inputs, labels: Tensor | None) -> None:
    """Refuse inputs and labels of different length, or inputs without values.

    Raises:
        ValueError: Naming what differs.
    """
    tensors = [t for t in inputs.leaves if isinstance(t, Tensor) and t.dim()]
    if not tensors or not len(tensors[0]):
        raise ValueError("inputs must be at least 1 row of a tensor, got none")
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) > 1:
        raise ValueError(
            f"inputs must have as many rows each, got {sorted(lengths)}; "
            "dimension 0 of every tensor is the inputs"
        )
    if any(tensor.is_meta for tensor in tensors):
        raise ValueError("inputs must hold values, got a tensor on the meta device")
    if labels is not None and len(labels) != inputs.count:
        raise ValueError(
            f"labels must be one per input, got {len(labels)} for {inputs.count} inputs"
        )


@torch.inference_mode()
def check_golden(network: nn.Module, bay: Bay) -> tuple[float, Judge]:
    """Run the first batch without a fault and see that it can be judged.

    Returns:
        Seconds of a golden run, and the judge with as many best classes as there are.

    Raises:
        ValueError: Golden runs differ, are not finite, or cannot be judged.
    """
    begun = time.monotonic()
    golden = bay.bench(0).golden
    seconds = time.monotonic() - begun
    if not same_leaves(golden, _own_output(network, bay)):
        raise ValueError(
            "golden run must equal the network's own output bit for bit, got another "
            "output at this batch size; use another batch, or leave capturing out"
        )
    broken = [leaf for leaf in pytree.tree_leaves(golden) if not _is_finite(leaf)]
    if broken:
        raise ValueError(
            "golden run must be finite, got NaN or Inf in the network's output; "
            "mend the network or the inputs first"
        )
    _check_verdict(golden, bay)
    return seconds, replace(bay.judge, top_k=_classes(golden))


def _own_output(network: nn.Module, bay: Bay) -> Any:
    inputs = bay.inputs.rows(0, bay.batch)
    if isinstance(bay.subject, CapturedSubject) and bay.subject.fused_attention:
        with attention_by_parts():
            return network(*inputs.args, **inputs.kwargs)
    return network(*inputs.args, **inputs.kwargs)


def _is_finite(leaf: Any) -> bool:
    floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return not floating or bool(leaf.isfinite().all())


def _check_verdict(golden: Any, bay: Bay) -> None:
    judged = bay.judge.verdict_input(golden)
    failed = bay.judge.criterion.failed(judged, judged, bay.batch_labels(0))
    expected = min(bay.batch, bay.inputs.count)
    if len(failed) != expected or bool(failed.any()):
        raise ValueError(
            f"criterion {bay.judge.criterion.as_record()['name']} must pass each of "
            f"the {expected} fault-free inputs, got {len(failed)} verdicts with "
            f"{int(failed.sum())} failed"
        )


def _classes(golden: Any) -> int:
    try:
        scores = scores_of(golden)
    except ValueError:
        return 0
    floating = scores.is_floating_point() and scores.dim() == 2
    return min(_BEST, scores.shape[1]) if floating and scores.shape[1] > 1 else 0
