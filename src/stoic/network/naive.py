"""The oracle: every trial by a full run, with nothing left out and nothing reused."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stoic.faults.space import Fault
from stoic.network.captured import CapturedSubject
from stoic.network.general import GeneralBench, held, with_faults
from stoic.network.golden import Golden
from stoic.network.inject import corrupted, words_of
from stoic.network.patch import whole
from stoic.network.prepare import attention_by_parts
from stoic.network.sites import LeftOut, Site
from stoic.network.subject import (
    Answer,
    Bench,
    Group,
    Inputs,
    Subject,
    Trials,
    one_by_one,
    only_rows,
    same_leaves,
)
from stoic.network.untouched import untouched

__all__ = ["NaiveSubject"]


@dataclass(frozen=True)
class NaiveSubject:
    """A network of which a copy is changed and run for each trial.

    Args:
        network: Never touched.
        subject: Whose sites are meant.
    """

    network: nn.Module
    subject: Subject

    @property
    def sites(self) -> tuple[Site, ...]:
        """Those of the subject."""
        return self.subject.sites

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Those of the subject."""
        return self.subject.left_out

    @property
    def reason(self) -> str | None:
        """That of the subject."""
        return self.subject.reason

    @property
    def bounded(self) -> bool:
        """Whether memory is limited: a copy of the network needs what it needs."""
        return False

    def bench(self, inputs: Inputs) -> Bench:
        """Run one batch without a fault."""
        if isinstance(self.subject, CapturedSubject):
            return NaiveBench(self.network, self.subject, inputs)
        return GeneralBench(_copied(self.network), inputs)


class NaiveBench:
    """A batch, a copy of the network, and the program for values inside of it."""

    def __init__(
        self, network: nn.Module, subject: CapturedSubject, inputs: Inputs
    ) -> None:
        self._network = _copied(network)
        self._inputs = inputs
        self._subject = subject
        self._golden = Golden(subject.program, inputs.leaves, subject.rows)
        self.golden = self._forward(inputs)

    def _forward(self, inputs: Inputs) -> Any:
        by_parts = self._subject.fused_attention
        attending = attention_by_parts() if by_parts else nullcontext()
        with untouched(self._network), attending:
            return self._network(*inputs.args, **inputs.kwargs)

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        return words_of(fault, self._golden(fault.site.value))

    @property
    def inputs(self) -> int:
        """Number of inputs in the batch."""
        return self._inputs.count

    @property
    def nbytes(self) -> int:
        """Bytes of the golden values that it holds."""
        return self._golden.held_bytes

    def groups(self, trials: Trials, *, fast: bool) -> Iterator[Group]:
        """Yield every trial by itself."""
        return one_by_one(self, trials, range(len(trials)), fast=fast)

    def run(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Change the words of one trial and run everything."""
        inside = [fault for fault in faults if fault.site.kind == "activation"]
        given = [fault for fault in faults if fault.site.kind == "input"]
        stored = [f for f in faults if f.site.kind in ("parameter", "buffer")]
        inputs = with_faults(self._inputs, given, self._subject.program.inputs.index)
        with held(self._network, stored):
            output = self._through(inputs, inside) if inside else self._forward(inputs)
        if same_leaves(output, self.golden):
            return Answer(None, True)
        return Answer(output, True, only_rows([faults], self.inputs))

    def _through(self, inputs: Inputs, faults: list[Fault]) -> Any:
        """Run the whole program on the copy's words, step by step."""
        program = self._subject.program
        tensors: dict[str, Any] = {}
        tensors |= self._network.named_parameters(remove_duplicate=False)
        tensors |= self._network.named_buffers(remove_duplicate=False)
        values = program.given(inputs.leaves)
        values |= {v: tensors[names[0]] for v, names in program.origins.items()}
        for step in program.steps:
            value = step(values.__getitem__)
            own = [fault for fault in faults if fault.site.value == step.name]
            values[step.name] = whole(corrupted(own, value), value) if own else value
        return program.answer(values.__getitem__)


def _copied(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose parameters want gradients as its own do.

    Products choose their kernel by it; copies made in inference mode never do.
    """
    with torch.inference_mode(False):
        return copy.deepcopy(network)
