"""Slopes: how much a change of each word matters, to first order.

A *lead* says how far an input is from another verdict. The slope of a word is the
change of the lead per change of the word, relative to the lead: where both together
make 1, a network that were a straight line would change its verdict. Slopes decide
where a campaign looks first; nothing is ever estimated from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stoic.network.captured import CapturedSubject
from stoic.network.program import Program, Values
from stoic.network.smooth import aliased, floats, smoothed
from stoic.network.subject import Inputs, Subject

__all__ = [
    "Lead",
    "NoSlopesError",
    "activation_slopes",
    "input_slopes",
    "parameter_slopes",
    "program_of",
    "word_slopes",
]

# Closer leads count as so close: the inverse leaves float32 room for what it scales.
_CLOSEST = 1e-18

Lead: TypeAlias = Callable[[Any], Tensor]
"""From the output of a batch to a number per input, with a gradient."""


class NoSlopesError(ValueError):
    """There are no gradients to be had; the message says why in one line."""


def program_of(subject: Subject) -> Program:
    """Return the program of a captured network.

    Raises:
        NoSlopesError: The network takes the slow path, which has no graph.
    """
    if isinstance(subject, CapturedSubject):
        return subject.program
    raise NoSlopesError(f"network must be captured for slopes, got {subject.reason}")


def parameter_slopes(
    program: Program,
    inputs: Inputs,
    lead: Lead,
    names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Return the slope of each word of the stored tensors, over all inputs.

    It is the squared mean of the roots of the slopes on single inputs, so that one
    input with hardly any lead does not drown the others. Each input is run alone.

    Args:
        program: Its tensors, the network's own, stay as they are.
        inputs: One or more.
        lead: Of an output.
        names: Of stored values; all by default. What is not floating is left out.

    Returns:
        Of each value, a float32 tensor of its shape: 0 where no lead depends on a word,
        infinite where a gradient is not finite.

    Raises:
        NoSlopesError: An operator has no gradient, none reaches a value, or the lead
            is not one number per input.
        ValueError: A name is not that of a stored value.
    """
    roots = dict[str, Tensor]()
    for found in input_slopes(program, inputs, lead, names):
        for name, slope in found.items():
            root = slope.sqrt_()
            roots[name] = roots[name].add_(root) if name in roots else root
    return {name: root.div_(inputs.count).square_() for name, root in roots.items()}


def input_slopes(
    program: Program,
    inputs: Inputs,
    lead: Lead,
    names: Sequence[str] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield the slope of each word of the stored tensors, input by input.

    Arguments, results and errors are those of `parameter_slopes`.
    """
    wanted = _known(program.stored if names is None else names, program.stored)
    with _gradients():
        smooth = smoothed(program, wanted)
    for row in range(inputs.count):
        with _gradients():
            found = _slopes(smooth, inputs.rows(row, row + 1), wanted, lead)
        # Outside the block: it would hold for whoever asks for the next one, too.
        yield found


def activation_slopes(
    program: Program, inputs: Inputs, lead: Lead, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return the slope of each word of computed values and inputs.

    Args:
        program: Of a network whose inputs do not depend on each other.
        inputs: One batch, run at once.
        lead: Of an output.
        names: Of values with a row per input. What is not floating is left out.

    Returns:
        Of each value, a float32 tensor of its shape: of each word, the slope on the
        input that it belongs to, wherever the rows lie. It is 0 where the lead does not
        depend on the word, infinite where a gradient is not finite.

    Raises:
        NoSlopesError: An operator has no gradient, none reaches a value, or the lead
            is not one number per input.
        ValueError: A name is not that of an input or a computed value.
    """
    wanted = _known(names, {*program.inputs, *program.by_name})
    with _gradients():
        return _slopes(smoothed(program), inputs, wanted, lead)


def word_slopes(tensor: Tensor) -> Tensor:
    """Return slopes by the words alone, for a network without gradients.

    A change times its slope is the change relative to the root mean square of the
    tensor's finite words, or the change itself where these are all 0.

    Returns:
        A float32 tensor of the same shape, with one number throughout.
    """
    sizes = tensor.detach().double().abs()
    finite = sizes[sizes.isfinite()]
    largest = finite.max().item() if finite.numel() else 0.0
    if not largest:
        return torch.ones_like(sizes, dtype=torch.float32)
    # Relative to the largest: squares of large numbers are infinite.
    usual = largest * finite.div_(largest).square_().mean().sqrt().item()
    return torch.full_like(sizes, 1 / usual).float()


def _known(names: Collection[str], values: Collection[str]) -> frozenset[str]:
    if unknown := sorted({*names} - {*values}):
        raise ValueError(f"names must be among {sorted(values)}, got {unknown}")
    return frozenset(names)


def _slopes(
    program: Program, inputs: Inputs, wanted: frozenset[str], lead: Lead
) -> dict[str, Tensor]:
    """Return the slopes of a batch of any size."""
    with _refusals_told():
        values = _run(program, inputs.leaves, wanted)
        output = program.answer(values.__getitem__)
    leads = _leads(lead, output, inputs.count)
    sought = {name: values[name] for name in sorted(wanted) if floats(values[name])}
    if not leads.requires_grad:
        raise NoSlopesError("network must have gradients, got a lead without any")
    # Scaled on the way in: wherever the rows lie, each word gets its input's scale.
    scales = leads.detach().abs().clamp(min=_CLOSEST).reciprocal()
    with _refusals_told():
        found = torch.autograd.grad(
            leads, [*sought.values()], scales, materialize_grads=True
        )
    pairs = zip(sought, found, strict=True)
    return {name: _size(gradient) for name, gradient in pairs}


def _run(program: Program, leaves: Sequence[Any], wanted: frozenset[str]) -> Values:
    """Return all values of a run, with gradients of the wanted ones to be asked for."""
    values = program.given(map(aliased, leaves))
    for name in wanted.intersection(program.inputs):
        values[name] = _apart(values[name])
    for step in program.steps:
        value = step(values.__getitem__)
        values[step.name] = _apart(value) if step.name in wanted else value
    return values


def _apart(value: Any) -> Any:
    """Return a value whose gradient is its own.

    An operator may hand its input on as its result: as one tensor, both would have the
    gradients of all their readers.
    """
    if not floats(value):
        return value
    if value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def _leads(lead: Lead, output: Any, count: int) -> Tensor:
    leads = lead(output)
    if leads.shape != (count,):
        raise NoSlopesError(
            f"lead must be one number for each of {count} inputs, "
            f"got shape {tuple(leads.shape)}"
        )
    return leads


def _size(gradient: Tensor) -> Tensor:
    return gradient.to_dense().float().abs().nan_to_num_(math.inf, math.inf)


@contextmanager
def _gradients() -> Iterator[None]:
    """Let gradients be had, also where the caller has turned them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Say in one line that the network raised, on the way there or back."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NoSlopesError(
            f"network must have gradients, got {type(error).__name__}: {first[:200]}"
        ) from error
