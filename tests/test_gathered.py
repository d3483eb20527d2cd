"""Trials on batches of their own that share a run are those of naive runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from networks import CAPTURED, Builder, mobilenet, resnet, subject_of, views
from stoic.campaign import running
from stoic.campaign.scores import scores_of
from stoic.campaign.together import run_together
from stoic.faults.space import Fault
from stoic.network import captured, gathered
from stoic.network.captured import CapturedBench, gathering
from stoic.network.gathered import LARGE, MASKED, Start
from stoic.network.naive import NaiveSubject
from stoic.network.patch import same_words
from stoic.network.prepare import prepare
from stoic.network.subject import Bench, Inputs, Subject
from stoic.study import Measured, pvf
from test_trials import assert_same_verdict, outcome, some_faults

BUILDERS = tuple(build for build in CAPTURED if build is not views)


def benches_of(subject: Subject, build: Builder, each: int) -> list[Bench]:
    inputs = build().inputs
    starts = range(0, inputs.count - each + 1, each)
    return [subject.bench(inputs.rows(start, start + each)) for start in starts]


def faults_on(benches: Sequence[Bench], subject: Subject) -> list[tuple[int, Fault]]:
    """Faults of every kind, each on one of the batches and in a row of it."""
    each = benches[0].inputs
    drawn = some_faults(subject.sites, each)
    return [(number % len(benches), fault) for number, fault in enumerate(drawn)]


@pytest.mark.parametrize("follows", [True, False], ids=["followed", "at once"])
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_trials_gathered_from_batches_have_the_verdicts_of_naive_runs(
    build: Builder, follows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "_SCREENING_S", 0.0 if follows else 1e9)
    specimen, subject = build(), subject_of(build)
    each = 2 if specimen.inputs.count >= 4 and not follows else 1
    with torch.inference_mode():
        benches = benches_of(subject, build, each)
        golden = [scores_of(bench.golden) for bench in benches]
        found = gathering(benches)
        if found is None or golden[0].dim() != 2 or not golden[0].is_floating_point():
            pytest.skip("trials cannot share a run, or the output is no scores")
        naive = [
            NaiveSubject(specimen.network, subject).bench(
                specimen.inputs.rows(number * each, (number + 1) * each)
            )
            for number in range(len(benches))
        ]

        trials, starts, right = [], [], []
        for number, fault in faults_on(benches, subject):
            bench = benches[number]
            assert isinstance(bench, CapturedBench)
            start = bench.start([fault])
            theirs = outcome(naive[number], fault, fast=False)
            if start is MASKED:
                assert same_words(theirs[0], golden[number]), fault
            if start is None or start in (LARGE, MASKED) or isinstance(theirs, str):
                continue
            trials.append((number, fault))
            starts.append((number, start))
            right.append(theirs[0])

        seen = []
        for group in found.groups(starts):
            answer = group.run(None)
            assert answer.rows is not None
            for place, member in enumerate(group.places):
                mine = answer.rows.trial == place
                number = trials[member][0]
                at = answer.rows.input[mine] - number * each
                assert at.tolist() == list(range(each))
                ours = scores_of(answer.output)[torch.from_numpy(mine)]
                assert_same_verdict(golden[number], ours, right[member])
                seen.append(member)
    assert sorted(seen) == list(range(len(trials)))


def measured(**changes: Any) -> Measured:
    specimen = mobilenet()
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(6, *specimen.inputs.args[0].shape[1:], generator=chance)
    given = {"half_width": 0.05, "mode": "fast", "seed": 3, "shard": 128}
    return pvf(specimen.network, x, **{**given, **changes})


def verdicts(run: Measured) -> list[tuple[Any, ...]]:
    with run.run.connection() as connection:
        return connection.execute(
            "SELECT trial, input, failed FROM outcomes WHERE failed ORDER BY ALL"
        ).fetchall()


def test_a_campaign_of_gathered_trials_is_that_of_trials_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled: list[int] = []

    def watched(*args: Any) -> Any:
        found = run_together(*args)
        settled.append(len(found[0]))
        return found

    monkeypatch.setattr(running, "run_together", watched)
    together = measured(verify=60)
    monkeypatch.setattr(running, "_may_wait", lambda *_: False)
    alone = measured()

    assert sum(settled) > together.pvf.n / 2
    assert verdicts(together) == verdicts(alone)
    assert together.pvf == alone.pvf


def test_a_group_that_fails_is_left_to_runs_of_each_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError

    right = measured()
    monkeypatch.setattr(gathered.Gathering, "_run", fails)
    assert verdicts(measured()) == verdicts(right)


def test_deviations_far_from_golden_are_kept_apart() -> None:
    subject = subject_of(resnet)
    with torch.inference_mode():
        found = gathering(benches_of(subject, resnet, 1))
        assert found is not None
        value = found.steps.golden.program.steps[3].name
        starts = [(0, Start(value, order=3, wild=wild)) for wild in (True, False) * 3]

        groups = [set(group.places) for group in found.groups(starts)]

    assert {0, 2, 4} in groups
    assert {1, 3, 5} in groups


class _Centred(nn.Module):
    """Every input is compared with the mean of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = self.body(x)
        return h - h.mean(0)


def test_networks_that_mix_their_inputs_are_not_gathered() -> None:
    torch.manual_seed(0)
    inputs = Inputs((torch.randn(4, 3),), {})
    with torch.inference_mode():
        subject = prepare(_Centred().eval(), inputs)
        benches = [subject.bench(inputs.rows(i, i + 2)) for i in (0, 2)]

        assert gathering(benches) is None
