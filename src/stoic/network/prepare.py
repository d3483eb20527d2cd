"""From a network to one that is ready for trials, by the quickest way that is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.network.budget import Budget
from stoic.network.capture import CaptureError, capture
from stoic.network.captured import CapturedSubject, Switches
from stoic.network.general import GeneralSubject
from stoic.network.golden import Golden
from stoic.network.naming import find_sites
from stoic.network.program import Program
from stoic.network.rows import halves_test
from stoic.network.subject import Inputs, Subject, same_leaves
from stoic.network.untouched import untouched
from stoic.records.raised import reason

__all__ = ["attention_by_parts", "example_pair", "prepare"]


@torch.inference_mode()
def prepare(
    network: nn.Module,
    inputs: Inputs,
    *,
    switches: Switches | None = None,
    captured: bool = True,
    memory_bytes: int | None = None,
) -> Subject:
    """Return a network ready for trials, captured if it can be.

    Args:
        network: In evaluation mode; it is never changed.
        inputs: As the campaign will use them.
        switches: Optimisations of the replay.
        captured: Whether to try to capture it at all.
        memory_bytes: What a bench may add to the memory of the process.

    Raises:
        ValueError: The network raises, or two runs of it differ.
    """
    with untouched(network):
        return _prepared(
            network, inputs, switches or Switches(), captured, memory_bytes
        )


def _prepared(
    network: nn.Module,
    inputs: Inputs,
    switches: Switches,
    captured: bool,
    memory_bytes: int | None,
) -> Subject:
    example = example_pair(inputs)
    own = _first_run(network, example)
    again = network(*example.args, **example.kwargs)
    if not same_leaves(own, again):
        raise ValueError(
            "network must be deterministic, got other output words from a second run "
            "on the same inputs; turn dropout, sampling or atomics off"
        )
    if not captured:
        return GeneralSubject.of(network, example, "asked for")
    try:
        program = capture(network, example.args, example.kwargs)
        subject = _captured(network, program, example, own, switches)
    except CaptureError as error:
        return GeneralSubject.of(network, example, str(error))
    if memory_bytes is None:
        return subject
    golden = Golden(program, example.leaves, subject.rows)
    return replace(subject, budget=Budget(golden, memory_bytes))


def _first_run(network: nn.Module, example: Inputs) -> Any:
    try:
        return network(*example.args, **example.kwargs)
    except Exception as error:
        raise ValueError(
            f"network must run on {example.count} of its inputs, got {reason(error)}; "
            "mend it, or give it others"
        ) from error


def example_pair(inputs: Inputs) -> Inputs:
    """Return two inputs: an example of a single row would fix the batch size."""
    if inputs.count >= 2:
        return inputs.rows(0, 2)
    args, kwargs = pytree.tree_map(
        lambda leaf: (
            torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.dim() else leaf
        ),
        (inputs.args, dict(inputs.kwargs)),
    )
    return Inputs(args, kwargs)


def _captured(
    network: nn.Module, program: Program, example: Inputs, own: Any, switches: Switches
) -> CapturedSubject:
    rows = halves_test(program, example.leaves) if program.free_batch else None
    if rows is None:
        raise CaptureError("the captured graph holds for one number of inputs only")
    golden = Golden(program, example.leaves, rows)
    fused = _attends(network)
    if fused:
        with attention_by_parts():
            own = network(*example.args, **example.kwargs)
    if not same_leaves(golden.answer, own):
        raise CaptureError("the captured graph gives other words than the network")
    sites, left_out = find_sites(network, golden, example.names)
    return CapturedSubject(program, rows, sites, left_out, switches, fused)


def _attends(network: nn.Module) -> bool:
    """Say whether a network has layers with a fused path that the graph has not.

    Its words may differ at one batch size and not at another, so all of them count.
    """
    fused = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
    return any(isinstance(module, fused) for module in network.modules())


@contextmanager
def attention_by_parts() -> Iterator[None]:
    """Run attention layers as the graph does, without their fused fast path."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
