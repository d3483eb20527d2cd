"""Trials of every kind of network and site have the words of a naive run."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from networks import ZOO, Builder, resnet, subject_of, vgg, views
from stoic.campaign.scores import scores_of
from stoic.criteria import Top1Changed
from stoic.faults.models import SetValue
from stoic.faults.space import Fault, fault_space
from stoic.network import stacks
from stoic.network.exact import ExactStepper
from stoic.network.fast import TooLargeError
from stoic.network.naive import NaiveSubject
from stoic.network.patch import same_words
from stoic.network.prepare import prepare
from stoic.network.replay import Replay, Replayed
from stoic.network.sites import Kind, Site
from stoic.network.stacks import Stacks
from stoic.network.subject import Answer, Bench, Inputs, Rows

# A deep copy parts a weight from the view of it, so it is no oracle for `views`.
BUILDERS = tuple(build for build in ZOO if build is not views)


@pytest.fixture(autouse=True)
def raised(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What replays raised: a bench goes on to another way, and would hide it."""
    found: list[Exception] = []
    replay = Replay.__call__

    def watched(self: Replay, *args: Any, **kwargs: Any) -> Replayed:
        try:
            return replay(self, *args, **kwargs)
        except TooLargeError:
            raise
        except Exception as error:
            found.append(error)
            raise

    monkeypatch.setattr(Replay, "__call__", watched)
    return found


KINDS: tuple[Kind, ...] = ("parameter", "buffer", "activation", "input")
PER_KIND = 12


def some_faults(sites: Sequence[Site], inputs: int) -> list[Fault]:
    """Faults in sites of every kind, half of them in the sign or exponent."""
    chance = random.Random(0)
    faults = []
    for kind in KINDS:
        own = [site for site in sites if site.kind == kind]
        for number in range(PER_KIND if own else 0):
            site = chance.choice(own)
            scope = chance.choice(("input", "batch"))
            high = "sign,exponent" if site.dtype.is_floating_point else "all"
            bits = high if number % 2 else "all"
            space = fault_space([site], bits=bits, inputs=inputs, scope=scope)  # type: ignore[arg-type]
            faults.append(space.fault(chance.randrange(space.size)))
    return faults


def tensors(output: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def whole_output(answer: Answer, bench: Bench) -> list[Tensor]:
    """The output of the batch, with an answer's rows in their places."""
    golden = tensors(bench.golden)
    if answer.output is None:
        return golden
    found = tensors(answer.output)
    return [_placed(answer.rows, *pair) for pair in zip(found, golden, strict=True)]


def _placed(rows: Rows | None, found: Tensor, golden: Tensor) -> Tensor:
    if rows is None or not found.dim() or len(found) != len(rows.input):
        return found
    mine, full = rows.trial >= 0, golden.clone()
    full[rows.input[mine]] = found[torch.from_numpy(mine)]
    return full


def outcome(bench: Bench, fault: Fault, *, fast: bool) -> list[Tensor] | str:
    """What a trial gives: its tensors, or the kind of error that it raised."""
    try:
        answer = bench.run([fault], fast=fast, deadline=None)
    except (RuntimeError, IndexError, ValueError) as error:
        return type(error).__name__
    return whole_output(answer, bench)


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_an_exact_trial_has_the_words_of_a_naive_run(
    build: Builder, raised: list[Exception]
) -> None:
    specimen, subject = build(), subject_of(build)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)
        faults = some_faults(subject.sites, specimen.inputs.count)

        for fault in faults:
            ours, theirs = (outcome(b, fault, fast=False) for b in (bench, naive))

            assert type(ours) is type(theirs), fault
            if not isinstance(ours, str):
                assert all(map(same_words, ours, theirs)), fault
                assert not raised, fault
            raised.clear()


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_a_fast_trial_has_the_verdict_of_a_naive_run_where_it_is_sure(
    build: Builder, raised: list[Exception]
) -> None:
    specimen, subject = build(), subject_of(build)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)
        golden = scores_of(bench.golden)
        if golden.dim() != 2 or not golden.is_floating_point():
            pytest.skip("the output is no scores of classes")

        for fault in some_faults(subject.sites, specimen.inputs.count):
            ours, theirs = (
                outcome(bench, fault, fast=True),
                outcome(naive, fault, fast=False),
            )
            if isinstance(ours, str) or isinstance(theirs, str):
                assert ours == theirs, fault
                raised.clear()
                continue
            assert not raised, fault
            assert_same_verdict(golden, ours[0], theirs[0])


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
@pytest.mark.parametrize("build", [resnet, vgg], ids=lambda build: build.__name__)
def test_short_steps_are_run_whole_with_the_words_of_a_naive_run(
    build: Builder, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrowed: list[Any] = []
    specimen = build()
    subject = prepare(specimen.network, specimen.inputs)
    monkeypatch.setattr(ExactStepper, "narrowed", lambda *step: narrowed.append(step))
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)

        for fault in some_faults(subject.sites, specimen.inputs.count):
            if fault.site.kind == "parameter":
                ours, theirs = (
                    outcome(bench, fault, fast=fast),
                    outcome(naive, fault, fast=False),
                )
                assert all(map(same_words, ours, theirs)), fault
    assert not narrowed


def assert_same_verdict(golden: Tensor, fast: Tensor, exact: Tensor) -> None:
    """Where a fast run is sure of its verdict, an exact run has the same."""
    criterion = Top1Changed()
    room = 256 * torch.finfo(fast.dtype).eps * fast.double().abs().amax(1)
    sure = criterion.clearance(golden, fast, None) > room
    sure &= fast.isfinite().all(1)
    verdicts = [criterion.failed(golden, out, None) for out in (fast, exact)]
    assert torch.equal(verdicts[0][sure], verdicts[1][sure])
    assert_close(golden, fast, exact)


def assert_close(golden: Tensor, fast: Tensor, exact: Tensor) -> None:
    """Finite rows differ by roundings of the largest score around."""
    finite = fast.isfinite().all(1) & exact.isfinite().all(1)
    near, right = fast[finite].double(), exact[finite].double()
    size = torch.cat([golden.double(), near]).abs().max()
    room = 256 * torch.finfo(fast.dtype).eps * size
    assert bool(((near - right).abs() <= room).all())


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_faults_stacked_into_one_batch_have_the_verdicts_of_naive_runs(
    build: Builder, raised: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stacks, "_pays", lambda *_: True)
    faults = faults_of_rows(subject_of(build).sites)
    assert_groups_have_the_verdicts_of_naive_runs(build, faults)
    assert not raised


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_faults_in_one_input_gathered_in_a_batch_have_the_verdicts_of_naive_runs(
    build: Builder, raised: list[Exception]
) -> None:
    specimen, subject = build(), subject_of(build)
    drawn = some_faults(subject.sites, specimen.inputs.count)
    faults = [fault for fault in drawn if fault.input is not None]
    assert_groups_have_the_verdicts_of_naive_runs(build, faults)
    assert not raised


def assert_groups_have_the_verdicts_of_naive_runs(
    build: Builder, faults: list[Fault]
) -> None:
    specimen, subject = build(), subject_of(build)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)
        golden = scores_of(bench.golden)
        if golden.dim() != 2 or not golden.is_floating_point():
            pytest.skip("the output is no scores of classes")
        right = {fault: outcome(naive, fault, fast=False) for fault in faults}
        # One that raises is told apart by a run alone.
        calm = [fault for fault in faults if not isinstance(right[fault], str)]
        for group in bench.groups([[fault] for fault in calm], fast=True):
            answer = group.run(None)
            if answer.rows is None or answer.output is None:
                continue
            for place in set(range(len(group.places))) - set(answer.left):
                mine = answer.rows.trial == place
                at = answer.rows.input[mine]
                ours = scores_of(answer.output)[torch.from_numpy(mine)]
                theirs = right[calm[group.places[place]]][0]
                assert isinstance(theirs, Tensor)
                assert_same_verdict(golden[at], ours, theirs[at])


@pytest.mark.parametrize("slower", ["stack", "alone"])
def test_faults_are_stacked_where_that_is_quicker(
    slower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Trials alone are timed one by one, and then the stack of all ten.
    times = iter([9.0] * 3 + [1.0] if slower == "alone" else [0.01] * 3 + [1.0])
    monkeypatch.setattr(stacks, "second_time", lambda _: next(times))
    specimen = vgg()
    subject = prepare(specimen.network, specimen.inputs)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        site = next(site for site in subject.sites if site.kind == "parameter")
        space = fault_space([site], bits="0-9", inputs=1)
        faults = [[space.fault(number)] for number in range(10)]

        groups = list(bench.groups(faults, fast=True))

    assert sorted(len(group.places) for group in groups) == (
        [10] if slower == "alone" else [1] * 10
    )


class _Scaled(nn.Module):
    """Its largest value, or its mean, is that of the whole batch."""

    def __init__(self, over: str) -> None:
        super().__init__()
        self.over = over
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        h = h / h.abs().max() if self.over == "max" else h - h.mean(0)
        out: Tensor = self.head(h)
        return out


@pytest.mark.parametrize("over", ["max", "mean"])
@pytest.mark.parametrize("largest", [0, 1, 2])
def test_rows_that_feel_each_other_are_run_alone(over: str, largest: int) -> None:
    torch.manual_seed(0)
    network, x = _Scaled(over).eval(), torch.randn(4, 4)
    x[largest] *= 3
    inputs = Inputs((x,), {})
    with torch.inference_mode():
        bench = prepare(network, inputs).bench(inputs)
        sites = prepare(network, inputs).sites
        faults = [[fault] for fault in some_faults(sites, 4)]

        for fast in (False, True):
            groups = list(bench.groups(faults, fast=fast))
            assert all(len(group.places) == 1 for group in groups)


def test_several_faults_in_a_convolution_and_its_norm_agree_with_a_naive_run(
    raised: list[Exception],
) -> None:
    specimen, subject = resnet(), subject_of(resnet)
    chance = random.Random(1)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        naive = NaiveSubject(specimen.network, subject).bench(specimen.inputs)
        golden = scores_of(bench.golden)
        own = [site for site in subject.sites if site.kind == "parameter"]
        for _ in range(40):
            spaces = [
                fault_space([site], bits="sign,20-26", inputs=1)
                for site in chance.sample(own, 4)
            ]
            faults = [s.fault(chance.randrange(s.size)) for s in spaces]
            answer = bench.run(faults, fast=True, deadline=None)
            theirs = naive.run(faults, fast=False, deadline=None)
            assert_same_verdict(
                golden, whole_output(answer, bench)[0], whole_output(theirs, naive)[0]
            )


def faults_of_rows(sites: Sequence[Site]) -> list[Fault]:
    """Some faults in the first rows of each parameter."""
    chance = random.Random(0)
    faults = []
    for site in sites:
        if site.kind == "parameter":
            inner = site.elements // (site.shape[0] if site.shape else 1)
            space = fault_space([site], bits="sign,exponent", inputs=1)
            least = min(2 * inner, site.elements) * space.size // site.elements
            faults += [space.fault(chance.randrange(least)) for _ in range(8)]
    return faults


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_trials_packed_into_one_batch_are_those_of_runs_alone(build: Builder) -> None:
    specimen, subject = build(), subject_of(build)
    with torch.inference_mode():
        bench = subject.bench(specimen.inputs)
        faults = [
            fault
            for fault in some_faults(subject.sites, specimen.inputs.count)
            if fault.input is not None
        ]
        groups = list(bench.groups([[fault] for fault in faults], fast=False))

        assert sorted(place for group in groups for place in group.places) == list(
            range(len(faults))
        )
        for group in groups:
            try:
                packed = whole_output(group.run(None), bench)
            except (RuntimeError, IndexError, ValueError):
                continue
            for fault in [faults[place] for place in group.places]:
                alone = whole_output(
                    bench.run([fault], fast=False, deadline=None), bench
                )
                for a, b in zip(packed, alone, strict=True):
                    row = fault.input
                    assert row is not None
                    if a.shape[0] == specimen.inputs.count:
                        assert same_words(a[row], b[row]), fault


class _Squashed(nn.Module):
    """Large values inside of it never reach the output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(self.body(x)) * 1e18
        out: Tensor = self.head(h / (1 + h.abs()))
        return out


@pytest.mark.parametrize("value", [1e19, 1e10])
def test_what_comes_close_to_an_overflow_inside_is_run_exactly(value: float) -> None:
    torch.manual_seed(0)
    network, inputs = _Squashed().eval(), Inputs((torch.randn(4, 4),), {})
    with torch.inference_mode():
        subject = prepare(network, inputs)
        own = [site for site in subject.sites if site.kind == "parameter"]
        for site in own[:2]:
            space = fault_space([site], model=SetValue(value), inputs=4)
            faults = [[space.fault(position)] for position in range(space.size)]

            answers = [
                group.run(None)
                for group in subject.bench(inputs).groups(faults, fast=True)
            ]

            quick = {answer.exact for answer in answers} != {True}
            assert quick == (value == 1e10)
