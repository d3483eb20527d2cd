"""Steps that may write their result over what they read, as modules often do.

Capture makes every operator return a tensor of its own. Where nobody else sees the
tensor that an operator reads, its in-place form gives the same words without the
traffic of one more tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from stoic.network.captured import CapturedSubject
from stoic.network.program import First, Program, Ref, Step, refs

__all__ = ["overwriting"]

_ATEN = torch.ops.aten
_ADD = _ATEN.add.Tensor
# The result has the shape and type of what is read.
_IN_PLACE: Mapping[Any, Callable[..., Any]] = {
    _ATEN.relu.default: _ATEN.relu_.default,
    _ATEN.hardtanh.default: _ATEN.hardtanh_.default,
    _ATEN.leaky_relu.default: _ATEN.leaky_relu_.default,
    _ATEN.hardswish.default: _ATEN.hardswish_.default,
    _ATEN.silu.default: _ATEN.silu_.default,
    _ADD: _ATEN.add_.Tensor,
}
_CONVOLVED = frozenset(
    {
        _ATEN.conv1d.default,
        _ATEN.conv2d.default,
        _ATEN.conv3d.default,
        _ATEN._native_batch_norm_legit_no_training.default,
    }
)
# What these return is nobody else's, and no gradient asks for it.
_FRESH = _CONVOLVED | {_ATEN.linear.default, _ATEN.addmm.default, _ADD}
_KEEPING = frozenset({*_IN_PLACE, _ATEN.max_pool2d.default})


def overwriting(
    subject: CapturedSubject, held: Collection[str]
) -> dict[str, Callable[..., Any]]:
    """Return the in-place operator of each step that may write over what it reads.

    Args:
        subject: The captured network.
        held: Values that others than its steps read or change.
    """
    program = subject.program
    addable = _addable(subject)
    return {
        step.name: _IN_PLACE[step.op]
        for step in program.steps
        if step.op in _IN_PLACE
        and _alone(program, step, held)
        and (step.op is not _ADD or step.name in addable)
    }


def _alone(program: Program, step: Step, held: Collection[str]) -> bool:
    """Say whether a step is the only one to see a tensor that was made for it."""
    name = step.args[0].name if isinstance(step.args[0], Ref) else ""
    if name not in program.by_name or name in held or name in program.output_names:
        return False
    once = list(refs((step.args, dict(step.kwargs)))).count(name) == 1
    alone = program.readers[name] == (step,)
    return once and alone and _operator(program.by_name[name]) in _FRESH


def _addable(subject: CapturedSubject) -> set[str]:
    """Return sums of values of one shape that have one type even under autocast.

    A sum of other values may be of a wider type than the first of them.
    """
    made = {
        site.value: (site.shape, site.dtype, site.rows)
        for site in subject.sites
        if site.kind == "activation"
    }
    convolved: set[str] = set()
    found: set[str] = set()
    for step in subject.program.steps:
        operator, inputs = _operator(step), step.inputs
        keeps = operator in _KEEPING and inputs and convolved.issuperset(inputs)
        if operator not in _CONVOLVED and not keeps:
            continue
        convolved.add(step.name)
        alike = {made.get(name) for name in (step.name, *inputs)}
        if step.op is _ADD and len(alike) == 1 and None not in alike:
            found.add(step.name)
    return found


def _operator(step: Step) -> Callable[..., Any]:
    return step.op.op if isinstance(step.op, First) else step.op
