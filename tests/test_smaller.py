"""Smaller batches give the words of the native one, or are not used."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import ZOO, Builder, resnet, subject_of, views
from stoic.faults.space import Fault, fault_space
from stoic.network import captured, smaller
from stoic.network.captured import CapturedSubject
from stoic.network.golden import Golden
from stoic.network.naive import NaiveSubject
from stoic.network.packs import Packing
from stoic.network.patch import same_words
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.smaller import Smaller
from stoic.network.subject import Bench, Inputs, Rows, Subject
from test_trials import tensors, whole_output

BUILDERS = tuple(build for build in ZOO if build is not views)


@pytest.fixture(autouse=True)
def of_one_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one input, whether they pay or not."""
    monkeypatch.setattr(Packing, "_size", 1)
    monkeypatch.setattr(captured, "_SCREENING_S", 1e9)
    monkeypatch.setattr(smaller, "_NATIVE_SHARE", 2)


def fresh(subject: Subject) -> Subject:
    """Forget what other tests have found out."""
    if isinstance(subject, CapturedSubject):
        return replace(subject, learnt={})
    return subject


def faults_in_one_input(sites: tuple[Site, ...], inputs: int) -> list[Fault]:
    chance = random.Random(0)
    own = [site for site in sites if site.per_input]
    spaces = [fault_space([site], bits="all", inputs=inputs) for site in own]
    chosen = [chance.choice(spaces) for _ in range(24)] if spaces else []
    return [space.fault(chance.randrange(space.size)) for space in chosen]


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_trials_in_smaller_batches_have_the_words_of_naive_runs(build: Builder) -> None:
    specimen, subject = build(), fresh(subject_of(build))
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)
        faults = faults_in_one_input(subject.sites, specimen.inputs.count)

        for group in bench.groups([[fault] for fault in faults], fast=False):
            for place in group.places:
                assert_same(bench, naive, faults[place], group.run)


def assert_same(bench: Bench, naive: Bench, fault: Fault, run: Any) -> None:
    try:
        theirs = naive.run([fault], fast=False, deadline=None)
    except Exception as error:
        with pytest.raises(type(error)):
            run(None)
        return
    ours = whole_output(run(None), bench)
    for a, b in zip(ours, whole_output(theirs, naive), strict=True):
        rows = len(a) == bench.inputs and a.dim()
        assert same_words(a[fault.input], b[fault.input]) if rows else same_words(a, b)


def test_a_network_of_convolutions_needs_no_native_batch() -> None:
    specimen, subject = resnet(), subject_of(resnet)
    assert isinstance(subject, CapturedSubject)
    with torch.inference_mode():
        golden = Golden(subject.program, specimen.inputs.leaves, subject.rows)

        found = Smaller.of(golden, 2)

    convolutions = [s.name for s in golden.program.steps if s.operator == "conv2d"]
    assert found.proved.issuperset(convolutions)


class _Sum(nn.Module):
    """Sums in an order that hangs on how many inputs there are."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu(x * 2 + 1)
        return out


def test_a_step_that_feels_the_size_of_the_batch_is_run_in_the_native_one() -> None:
    torch.manual_seed(0)
    network, inputs = _Sum(), Inputs((torch.randn(6, 40),), {})
    with torch.inference_mode():
        subject = prepare(network, inputs)
        assert isinstance(subject, CapturedSubject)
        (relu,) = (s for s in subject.program.steps if s.operator == "relu")

        def off(x: Tensor) -> Tensor:
            return torch.relu(x) * (1 + (len(x) < 6) * 2**-23)

        steps = [replace(s, op=off) if s is relu else s for s in subject.program.steps]
        subject = replace(subject, program=replace(subject.program, steps=tuple(steps)))
        bench = subject.bench(inputs)
        found = Smaller.of(bench._golden, 1)
        faults = faults_in_one_input(subject.sites, 6)
        groups = list(bench.groups([[fault] for fault in faults], fast=False))
        answers = [(g, group_rows(g.run(None))) for g in groups]

        assert relu.name not in found.proved
        for group, (rows, output) in answers:
            for place, number in enumerate(group.places):
                right = bench.run([faults[number]], fast=False, deadline=None)
                (row,) = (rows.trial == place).nonzero()[0].tolist()
                full = whole_output(right, bench)[0]
                assert same_words(output[row], full[faults[number].input])


def group_rows(answer: Any) -> tuple[Rows, Tensor]:
    return answer.rows, tensors(answer.output)[0]
