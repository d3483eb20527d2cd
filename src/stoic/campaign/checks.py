"""What is checked before a campaign starts: each rule refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.campaign.benches import Benches
from stoic.campaign.facts import Judge
from stoic.campaign.fingerprint import data_fingerprint, joined_fingerprint
from stoic.campaign.scores import scores_of
from stoic.campaign.trials import Bay
from stoic.criteria import Criterion, Top1Changed, Top1Wrong, TopKLost
from stoic.network.captured import CapturedSubject
from stoic.network.memory import now
from stoic.network.prepare import attention_by_parts
from stoic.network.subject import Inputs, same_leaves
from stoic.network.untouched import untouched
from stoic.records.raised import reason

__all__ = [
    "check_clusters",
    "check_count",
    "check_golden",
    "check_inputs",
    "check_name",
    "check_network",
    "check_processor",
    "check_runs",
    "class_labels",
    "Sound",
]

_BEST = 5


def check_count(name: str, value: int | None, least: int = 1, advice: str = "") -> None:
    """Refuse what is no whole number, or too small; nothing is a choice of its own.

    Raises:
        ValueError: Naming the setting.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        told = f"; {advice}" if advice else ""
        raise ValueError(f"{name} must be at least {least}, got {value!r}{told}")


def check_name(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a name that is none of the choices.

    Raises:
        ValueError: Naming the setting and the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_network(network: nn.Module) -> None:
    """Refuse a network that is training or has tensors without words of their own.

    Raises:
        ValueError: Naming the module or tensor.
    """
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"network must be a torch module, got {type(network).__name__}"
        )
    training = [
        path or "the network itself"
        for path, m in network.named_modules()
        if m.training
    ]
    if training:
        raise ValueError(
            f"network must be in evaluation mode, got {training[0]} in training mode; "
            "call network.eval() first"
        )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"{name} must hold values, got a lazy tensor; "
                "run the network once first"
            )
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


def check_processor(network: nn.Module, inputs: Inputs) -> None:
    """Refuse what lies on an accelerator: bounds are of the processor's rounding.

    Raises:
        ValueError: Naming the device.
    """
    words = (*network.parameters(), *network.buffers())
    for device in (inputs.device, *(tensor.device for tensor in words)):
        if device.type != "cpu":
            raise ValueError(
                f"network and inputs must be on the processor, got {device}; "
                "call .cpu() on both"
            )


def check_inputs(
    inputs: Inputs, labels: Tensor | None, criterion: Criterion | None = None
) -> None:
    """Refuse inputs and labels of different length, or inputs without values.

    Labels are classes, or rows of another kind unless the criterion is about classes.

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
    if isinstance(labels, Tensor) and labels.dim() > 1 and _takes_rows(criterion):
        if len(labels) != inputs.count:
            raise ValueError(
                f"labels must be a row per input, got {tuple(labels.shape)} "
                f"for {inputs.count} inputs"
            )
    elif labels is not None:
        _check_column("labels", labels, inputs.count)


def _takes_rows(criterion: Criterion | None) -> bool:
    """Say whether labels may be other than classes."""
    return criterion is not None and not isinstance(
        criterion, Top1Changed | Top1Wrong | TopKLost
    )


def class_labels(labels: Tensor | None) -> Tensor | None:
    """Return labels that are classes; none if there are none or of another kind."""
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return None
    return labels


def check_clusters(clusters: Tensor | None, inputs: Inputs) -> None:
    """Refuse clusters that are not one whole number per input.

    Raises:
        ValueError: Saying what they are.
    """
    if clusters is not None:
        _check_column("clusters", clusters, inputs.count)


def _check_column(name: str, column: Any, count: int) -> None:
    if not isinstance(column, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(column).__name__}")
    if column.shape != (count,):
        raise ValueError(
            f"{name} must be one per input, got {tuple(column.shape)} "
            f"for {count} inputs"
        )
    if column.is_floating_point() or column.is_complex():
        raise ValueError(f"{name} must be whole numbers, got {column.dtype}")


@torch.inference_mode()
def check_runs(network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network that raises on its inputs.

    Raises:
        ValueError: With the reason.
    """
    _run(network, inputs.rows(0, 2))


def _run(network: nn.Module, inputs: Inputs) -> Any:
    try:
        with untouched(network):
            return network(*inputs.args, **inputs.kwargs)
    except Exception as error:
        raise ValueError(
            f"network must run on {inputs.count} of its inputs, got {reason(error)}"
        ) from error


@dataclass(frozen=True)
class Sound:
    """A golden run that can be judged.

    Args:
        seconds: That it took.
        judge: With as many best classes as there are.
        fingerprint: Of the output.
        tensors: How many the output has.
    """

    seconds: float
    judge: Judge
    fingerprint: str
    tensors: int


@torch.inference_mode()
def check_golden(network: nn.Module, bay: Bay) -> Sound:
    """Run every batch without a fault and see that it can be judged.

    Raises:
        ValueError: Golden runs differ, are not finite, or cannot be judged.
    """
    seconds, top_k, tensors, outputs = 0.0, 0, 1, []
    bench = Benches(bay)
    for start in bay.starts:
        own = _own_output(network, bay, start)
        begun = now()
        golden = bench(start).golden
        seconds += now() - begun
        if not same_leaves(golden, own):
            raise ValueError(
                "golden run must equal the network's own output bit for bit, got "
                f"another output {_where(bay, start)}; "
                "use another batch, or leave capturing out"
            )
        if not all(map(_is_finite, pytree.tree_leaves(golden))):
            raise ValueError(
                "golden run must be finite, got NaN or Inf in the network's output "
                f"{_where(bay, start)}; mend the network or the inputs first"
            )
        _check_verdict(golden, bay, start)
        if start == 0:
            top_k = _classes(golden, min(bay.batch, bay.inputs.count))
        tensors = sum(isinstance(t, Tensor) for t in pytree.tree_leaves(golden))
        outputs.append(data_fingerprint(pytree.tree_leaves(golden), None))
    judge = replace(bay.judge, top_k=top_k)
    return Sound(seconds, judge, joined_fingerprint(outputs), tensors)


def _where(bay: Bay, start: int) -> str:
    return f"for inputs {start} to {min(start + bay.batch, bay.inputs.count) - 1}"


def _own_output(network: nn.Module, bay: Bay, start: int) -> Any:
    inputs = bay.inputs.rows(start, start + bay.batch)
    if isinstance(bay.subject, CapturedSubject) and bay.subject.fused_attention:
        with attention_by_parts():
            return _run(network, inputs)
    return _run(network, inputs)


def _is_finite(leaf: Any) -> bool:
    floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return not floating or bool(leaf.isfinite().all())


def _check_verdict(golden: Any, bay: Bay, start: int) -> None:
    labels = bay.batch_labels(start)
    judged = _judged(golden, bay)
    failed, clearance = bay.judge.verdicts(judged, judged, labels, exact=False)
    expected = min(bay.batch, bay.inputs.count - start)
    if failed.shape != (expected,) or clearance.shape != (expected,):
        raise ValueError(
            f"criterion {_named(bay.judge.criterion)} must give a verdict "
            f"for each of the {expected} inputs, got shape {tuple(failed.shape)}"
        )
    if bool(failed.any()):
        raise ValueError(
            f"criterion {_named(bay.judge.criterion)} must pass each of "
            f"the {expected} fault-free inputs, got {int(failed.sum())} failed"
        )


def _named(criterion: Criterion) -> str:
    record = criterion.as_record()
    return str(record.get("function", record["name"]))


def _judged(golden: Any, bay: Bay) -> Any:
    try:
        return bay.judge.verdict_input(golden)
    except Exception as error:
        if bay.judge.tail is None:
            raise
        raise ValueError(
            f"tail must take the network's output, got {reason(error)}"
        ) from error


def _classes(golden: Any, inputs: int) -> int:
    try:
        scores = scores_of(golden)
    except ValueError:
        return 0
    if not scores.is_floating_point() or scores.dim() != 2 or len(scores) != inputs:
        return 0
    return min(_BEST, scores.shape[1]) if scores.shape[1] > 1 else 0
