"""All that the benchmarks know of Stoic's inside, in one place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from benchmarks.faultlist import ActivationFault, WeightFault
from benchmarks.verdicts import CRASHED, FAILED, NONFINITE, Codes
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.campaign.facts import Judge
from stoic.campaign.running import Ran, run_trials
from stoic.campaign.trials import Bay, Trial
from stoic.criteria import Criterion, Top1Changed
from stoic.faults.models import BitFlip
from stoic.faults.space import Block, Fault
from stoic.network.captured import CapturedSubject, Switches
from stoic.network.certified.rounding import is_plain
from stoic.network.memory import kept_memory
from stoic.network.naive import NaiveSubject
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.subject import Answer, Bench, Inputs, Subject
from stoic.study import as_inputs

__all__ = [
    "Facts",
    "Mode",
    "Output",
    "Prepared",
    "StoicTool",
    "codes_of",
    "facts_of",
    "flip",
    "keeping_memory",
    "naive",
    "operator_of",
    "outputs",
    "prepared",
    "run",
    "switch_names",
    "with_switches",
]

Mode = Literal["exact", "fast"]


@dataclass(frozen=True)
class Prepared:
    """A network that Stoic has captured, and one batch on its bench.

    Args:
        subject: The network.
        inputs: One batch.
        bench: Their golden run.
        seconds: That capture and golden run took.
    """

    subject: Subject
    inputs: Inputs
    bench: Bench
    seconds: float

    def bay(self, mode: Mode, criterion: Criterion | None = None) -> Bay:
        """Return what trials run on."""
        judge = Judge(criterion or Top1Changed())
        count = self.inputs.count
        fast = mode == "fast" and is_plain(self.inputs.device)
        return Bay(self.subject, self.inputs, None, count, judge, fast)

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Sites by name and alias."""
        return {n: s for s in self.subject.sites for n in (s.name, *s.aliases)}

    def fault(self, fault: WeightFault | ActivationFault) -> Fault:
        """Translate a fault of a benchmark's list."""
        if isinstance(fault, WeightFault):
            site = self.sites[f"{fault.layer.path}.weight"]
            return flip(site, fault.element, fault.bit)
        site = self.sites[f"{fault.layer.path}:out"]
        return flip(site, fault.element, fault.bit, fault.input)


def flip(site: Site, element: int, bit: int, input: int | None = None) -> Fault:
    """Return one flipped bit."""
    return replace(Block(site, (bit,), BitFlip(), 0).fault(element), input=input)


@torch.inference_mode()
def prepared(network: nn.Module, inputs: Any) -> Prepared:
    """Capture a network and make the golden run of one batch."""
    given = as_inputs(inputs)
    begun = time.perf_counter()
    subject = prepare(network, given)
    bench = subject.bench(given)
    return Prepared(subject, given, bench, time.perf_counter() - begun)


@torch.inference_mode()
def naive(network: nn.Module, ready: Prepared) -> Prepared:
    """Return Stoic's own oracle for the same sites."""
    subject = NaiveSubject(network, ready.subject)
    return Prepared(subject, ready.inputs, subject.bench(ready.inputs), 0.0)


def run(
    ready: Prepared,
    faults: Sequence[Fault],
    mode: Mode,
    criterion: Criterion | None = None,
) -> Ran:
    """Run faults as a campaign does, with facts and verdicts, on the bench at hand."""
    trials = [Trial(number, 0, (fault,)) for number, fault in enumerate(faults)]
    return run_trials(ready.bay(mode, criterion), trials, bench=lambda _: ready.bench)


def codes_of(ran: Ran, inputs: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the code of every fault and input."""
    codes = np.zeros((len(ran.outcomes), inputs), np.uint8)
    for block in ran.blocks:
        failed = block.columns["failed"].astype(np.uint8) * FAILED
        broken = (block.columns["nonfinite"] > 0).astype(np.uint8) * NONFINITE
        codes[block.trial, block.input] = failed + broken
    crashed = [outcome.status != "done" for outcome in ran.outcomes]
    codes[crashed] = CRASHED
    return codes


class StoicTool:
    """Stoic in a race."""

    def __init__(self, ready: Prepared, mode: Mode, name: str | None = None) -> None:
        self.name = name or f"stoic {mode}"
        self.setup_s = ready.seconds
        self._ready = ready
        self._mode = mode

    def run(self, faults: Sequence[WeightFault | ActivationFault]) -> list[Codes]:
        """Run faults as a campaign does.

        A fault in an activation of one input has the code of that input only.
        """
        ran = run(self._ready, [self._ready.fault(f) for f in faults], self._mode)
        codes = codes_of(ran, self._ready.inputs.count)
        return [_reached(row, fault) for row, fault in zip(codes, faults, strict=True)]


def _reached(codes: Codes, fault: WeightFault | ActivationFault) -> Codes:
    if isinstance(fault, ActivationFault):
        return codes[fault.input : fault.input + 1]
    return codes


@dataclass(frozen=True)
class Facts:
    """What a campaign records of one trial.

    Args:
        status: ``done``, ``crash`` or ``unknown``.
        rows: Facts by name, for each input that is not masked.
    """

    status: str
    rows: dict[int, dict[str, float]]


def facts_of(ran: Ran) -> list[Facts]:
    """Return the facts of every trial."""
    found = [Facts(outcome.status, {}) for outcome in ran.outcomes]
    for block in ran.blocks:
        names = [name for name in block.columns if name != "differs"]
        for row, (trial, input) in enumerate(
            zip(block.trial, block.input, strict=True)
        ):
            if found[trial].status == "done":
                facts = {name: float(block.columns[name][row]) for name in names}
                found[int(trial)].rows[int(input)] = facts
    return found


@dataclass(frozen=True)
class Output:
    """What a bench answers for one trial.

    Args:
        trial: Its place.
        leaves: Tensors of the output; nothing if every word is golden.
        inputs: Row of the batch that each row of the leaves is about; nothing where
            they are the batch's.
        raised: Type of the exception, if it raised.
    """

    trial: int
    leaves: list[Tensor] | None
    inputs: np.ndarray[Any, Any] | None = None
    raised: str | None = None


@torch.inference_mode()
def outputs(ready: Prepared, faults: Sequence[Fault], mode: Mode) -> Iterator[Output]:
    """Run faults and yield the bare outputs, grouped as a campaign groups them.

    A group that raises, and trials that a group leaves over, run alone and exactly.
    """
    trials = [(fault,) for fault in faults]
    fast = mode == "fast"
    for group in ready.bench.groups(trials, fast=fast):
        try:
            answer = group.run(None)
        except Exception:
            left: Sequence[int] = range(len(group.places))
        else:
            left = answer.left
            yield from _outputs(answer, group.places)
        for place in left:
            trial = group.places[place]
            yield _alone(ready.bench, trials[trial], trial)


def _alone(bench: Bench, faults: Sequence[Fault], trial: int) -> Output:
    try:
        answer = bench.run(faults, fast=False, deadline=None)
    except Exception as error:
        return Output(trial, None, raised=type(error).__name__)
    return next(_outputs(answer, [trial]))


def _outputs(answer: Answer, group: Sequence[int]) -> Iterator[Output]:
    """Take an answer apart: one output for each trial that is not left over."""
    rows = answer.rows
    for place, trial in enumerate(group):
        if place in answer.left:
            continue
        if answer.output is None:
            yield Output(trial, None)
            continue
        leaves = [t for t in pytree.tree_leaves(answer.output) if isinstance(t, Tensor)]
        if rows is None:
            yield Output(trial, leaves)
            continue
        mine = np.flatnonzero(rows.trial == place)
        picked = [leaf[torch.from_numpy(mine)] for leaf in leaves]
        yield Output(trial, picked, rows.input[mine])


def operator_of(ready: Prepared, site: Site) -> str:
    """Return the operator that makes a site's value, or that first reads it."""
    program = getattr(ready.subject, "program", None)
    if program is None:
        return "module" if site.kind == "activation" else "any"
    step = program.by_name.get(site.value)
    if step is None:
        step = program.readers[site.value][0]
    return str(step.operator)


def keeping_memory() -> AbstractContextManager[None]:
    """Keep freed memory in the process, as a campaign of Stoic's does all along."""
    return kept_memory()


def switch_names() -> tuple[str, ...]:
    """Return the optimisations that can be turned off."""
    plain = Switches()
    return tuple(
        f.name for f in fields(Switches) if isinstance(getattr(plain, f.name), bool)
    )


@torch.inference_mode()
def with_switches(ready: Prepared, on: Sequence[str]) -> Prepared:
    """Return the same network with these optimisations on and all others off."""
    assert isinstance(ready.subject, CapturedSubject), ready.subject.reason
    chosen: dict[str, Any] = {name: name in on for name in switch_names()}
    switches = replace(Switches(), **chosen)
    subject = replace(ready.subject, switches=switches, learnt={})
    begun = time.perf_counter()
    bench = subject.bench(ready.inputs)
    return Prepared(subject, ready.inputs, bench, time.perf_counter() - begun)
