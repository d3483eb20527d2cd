"""Smaller batches give the words of the native one, or are not used."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import ZOO, Builder, resnet, subject_of, views
from stoic.criteria import Custom
from stoic.faults.models import SetValue
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
from stoic.study import pvf
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


class _Shifted(nn.Module):
    """A positive part of something."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu(x * 2 + 1)
        return out


def test_a_step_that_feels_the_size_of_the_batch_is_run_in_the_native_one() -> None:
    torch.manual_seed(0)
    network, inputs = _Shifted(), Inputs((torch.randn(6, 40),), {})
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


class _Network(nn.Module):
    """A function of the inputs, and of what a layer makes of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, 5)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.body(x), x)


def run_all(
    network: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch, size: int = 2
) -> Bench:
    """Compare trials in some values with naive ones, to the bit."""
    monkeypatch.setattr(Packing, "_size", size)
    inputs = Inputs((x,), {})
    with torch.inference_mode():
        subject = prepare(network.eval(), inputs)
        assert subject.reason is None
        bench = subject.bench(inputs)
        naive = NaiveSubject(network, subject).bench(inputs)
        faults = faults_in_one_input(subject.sites, inputs.count)
        for group in bench.groups([[fault] for fault in faults], fast=False):
            answer = group.run(None)
            for place in group.places:
                assert_same(bench, naive, faults[place], lambda _, a=answer: a)
    return bench


def test_the_last_inputs_of_a_batch_are_tried_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for columns in (4, 100):
        network = nn.Sequential(nn.Mish())
        run_all(network, torch.randn(50, columns), monkeypatch, size=8)


def test_proofs_hold_for_the_layout_that_inputs_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = torch.relu(x + 3).sum(-1)
            return out

    run_all(Turned(), torch.randn(32, 300, 5).transpose(1, 2), monkeypatch, size=8)


def test_a_flag_that_all_inputs_raise_together_keeps_them_together() -> None:
    def flagged(h: Tensor, x: Tensor) -> Tensor:
        limit = torch.where((h.abs() > 1e6).any(), 0.1, 1e6)
        return torch.minimum(h, limit)

    inputs = Inputs((torch.randn(6, 4),), {})
    with torch.inference_mode():
        subject = prepare(_Network(flagged).eval(), inputs)
        bench = subject.bench(inputs)
        faults = [[fault] for fault in faults_in_one_input(subject.sites, 6)]

        groups = list(bench.groups(faults, fast=False))

    assert all(len(group.places) == 1 for group in groups)


def test_an_output_without_rows_may_be_as_long_as_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kinds = nn.Parameter(torch.randn(6, 4))

        def forward(self, x: Tensor) -> Any:
            return x @ self.kinds.T, self.kinds * 2

    run_all(Prototypes(), torch.randn(6, 4), monkeypatch)


def test_a_criterion_of_the_users_sees_whole_batches(tmp_path: Path) -> None:
    network = _Network(lambda h, x: h * 2).eval()
    x = torch.randn(8, 4)
    right = network(x).detach()

    def moved(golden: Tensor, faulty: Tensor, labels: Any) -> Tensor:
        failed: Tensor = (faulty - right).abs().amax(1) > 0.1
        return failed

    for mode in ("exact", "fast"):
        measured = pvf(
            network,
            x,
            criterion=Custom(moved, name="moved"),
            kinds=("activation",),
            faults=60,
            mode=mode,
            verify=60,
            out=tmp_path / mode,
        )
        assert measured.table("network")[0].trials == 60


def test_a_trial_that_quick_steps_refuse_is_no_crash(tmp_path: Path) -> None:
    network = _Network(lambda h, x: h**3 / (1 + h.abs())).eval()

    measured = pvf(
        network,
        torch.randn(8, 4),
        sites="body:out",
        kinds=("activation",),
        model=SetValue(1e15),
        faults=1,
        mode="fast",
        verify=1,
        out=tmp_path / "run",
    )

    crashes = {row.label: row.estimate.value for row in measured.table("outcomes")}
    assert crashes["crash"] == 0
