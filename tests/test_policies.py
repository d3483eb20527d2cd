"""What is done about alarms, and how verdicts are counted."""

import math
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import networks
from monitor_support import captured, many_rows, monitor_of
from stoic.monitors.clamping import clamp_to, golden_ranges
from stoic.monitors.counters import Counters
from stoic.monitors.guarded import Guarded, guard
from stoic.monitors.policies import (
    Alarmed,
    AlarmError,
    CallBack,
    Policy,
    Raise,
    ReRun,
    Warn,
    mixed,
)
from stoic.monitors.protected import Protected
from stoic.monitors.verdict import Verdict
from stoic.network.subject import Inputs, same_leaves


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    specimen = networks.resnet()
    return guard(specimen.network, monitor_of(networks.resnet), specimen.inputs)


@pytest.fixture(scope="module")
def images() -> Tensor:
    images: Tensor = many_rows(networks.resnet().inputs, 12).leaves[0]
    return images


class Passing:
    """Runs a network; the first runs have something added to the output.

    Args:
        runs: How many of them.
        rows: Of which rows the first runs are alarming.
    """

    def __init__(self, guarded: Guarded, runs: int, rows: list[int]) -> None:
        self.guarded, self.left, self.rows = guarded, runs, rows

    def __call__(self, *args: Tensor) -> tuple[Any, Verdict]:
        output, verdict = self.guarded(*args)
        label = torch.zeros_like(verdict.label)
        rule = torch.zeros_like(verdict.rule)
        if self.left:
            self.left -= 1
            label[self.rows] = 1
            output = output + 100
        return output, verdict._replace(label=label, rule=rule)


def outcome(
    guarded: Guarded, policy: Policy, images: Tensor, runs: int = 1
) -> tuple[Tensor, Tensor]:
    """Return what a policy makes of alarms in rows 2 and 5, and the golden output."""
    with torch.no_grad():
        golden = guarded(images)[0]
        found = Protected(guarded, policy, run=Passing(guarded, runs, [2, 5]))(images)
    return found, golden


def test_without_an_alarm_nothing_is_done(guarded: Guarded, images: Tensor) -> None:
    found, golden = outcome(guarded, Raise(), images, runs=0)

    assert torch.equal(found, golden)


def test_a_warning_names_class_and_rule_in_one_line(
    guarded: Guarded, images: Tensor
) -> None:
    with pytest.warns(RuntimeWarning, match="row 2 is memory .*rule 0, ") as caught:
        found, golden = outcome(guarded, Warn(), images)

    assert torch.equal(found, golden + 100)
    line = str(caught[0].message)
    assert "\n" not in line
    assert line.endswith("; and 1 more")
    fork = guarded.plan.monitor.rules.forks[0]
    assert f"{guarded.plan.monitor.rules.features[fork.feature]} is " in line


def test_an_exception_holds_the_verdict(guarded: Guarded, images: Tensor) -> None:
    with pytest.raises(AlarmError, match="row 2 is memory") as caught:
        outcome(guarded, Raise(), images)

    assert caught.value.verdict.label.nonzero().flatten().tolist() == [2, 5]


def test_a_second_run_heals_what_does_not_last(
    guarded: Guarded, images: Tensor
) -> None:
    found, golden = outcome(guarded, ReRun(otherwise=Raise()), images)

    wanted = golden + 100
    wanted[[2, 5]] = golden[[2, 5]]
    assert torch.equal(found, wanted)


def test_what_lasts_goes_to_the_next_policy(guarded: Guarded, images: Tensor) -> None:
    seen: list[Alarmed] = []
    policy = ReRun(otherwise=CallBack(seen.append))

    outcome(guarded, policy, images, runs=2)

    assert [alarmed.rows.nonzero().flatten().tolist() for alarmed in seen] == [[2, 5]]
    found, golden = outcome(guarded, ReRun(ReRun(Raise())), images, runs=2)
    assert torch.equal(found[2], golden[2])


def test_somebody_is_called_and_the_output_kept(
    guarded: Guarded, images: Tensor
) -> None:
    seen: list[Alarmed] = []

    found, golden = outcome(guarded, CallBack(seen.append), images)

    assert torch.equal(found, golden + 100)
    assert len(seen) == 1
    assert len(list(seen[0].lines())) == 2


def test_the_calibrated_alarm_counts_where_it_is_asked_to(
    guarded: Guarded, images: Tensor
) -> None:
    verdict = guarded(images)[1]._replace(
        label=torch.zeros(12, dtype=torch.int64), unlike=torch.arange(12) == 3
    )

    def run(images: Tensor) -> tuple[Any, Verdict]:
        return images, verdict

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Protected(guarded, Warn(), run=run)(images)
    with pytest.warns(RuntimeWarning, match="row 3 .* unlike fault-free inputs"):
        Protected(guarded, Warn(), unlike=True, run=run)(images)


def test_the_output_keeps_its_structure() -> None:
    first = {"a": torch.zeros(3, 2), "b": (torch.zeros(4), None, 7)}
    second = {"a": torch.ones(3, 2), "b": (torch.ones(4), None, 8)}
    rows = torch.tensor([False, True, False])

    some, none = mixed(first, second, rows), mixed(first, second, rows & False)

    assert some["a"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert some["b"][0].tolist() == [1] * 4
    assert some["b"][1:] == (None, 8)
    assert same_leaves(none, first)


def broken(weight: nn.Parameter, bad: float) -> float:
    kept = weight.data.view(-1)[0].item()
    weight.data.view(-1)[0] = bad
    return kept


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_clamping_runs_again_with_values_in_the_golden_range(
    guarded: Guarded, images: Tensor, bad: float
) -> None:
    batches = [Inputs((images[:7],), {}), Inputs((images[7:],), {})]
    ranges = golden_ranges(guarded, batches)
    policy = clamp_to(guarded, ranges)
    weight = networks.resnet().network.get_parameter("0.weight")
    with torch.no_grad():
        golden = guarded(images)[0]
        kept = broken(weight, bad)
        try:
            found = Protected(guarded, policy, unlike=True)(images)
            verdict = guarded(images)[1]
        finally:
            broken(weight, kept)

    low, high = ranges[guarded.plan.sites[-1].name]
    alarming = (verdict.label != 0) | verdict.unlike
    assert alarming.any()
    assert found[alarming].isfinite().all()
    assert ((found[alarming] >= low) & (found[alarming] <= high)).all()
    with torch.no_grad():
        assert torch.equal(guarded(images)[0], golden)


def test_clamping_to_the_golden_range_changes_no_golden_output(
    guarded: Guarded, images: Tensor
) -> None:
    policy = clamp_to(guarded, golden_ranges(guarded, [Inputs((images,), {})]))

    assert torch.equal(policy.network(images)[0], guarded(images)[0])


def test_golden_ranges_are_the_extremes_of_the_values(
    guarded: Guarded, images: Tensor
) -> None:
    ranges = golden_ranges(guarded, [Inputs((images[:7],), {}), Inputs((images,), {})])

    values = captured(networks.resnet).program.run([images])
    for site in guarded.plan.sites:
        value = values[site.value]
        assert ranges[site.name] == (value.min().item(), value.max().item())


def test_golden_ranges_need_golden_values(guarded: Guarded, images: Tensor) -> None:
    with pytest.raises(ValueError, match="at least one fault-free input, got none"):
        golden_ranges(guarded, [])
    with pytest.raises(ValueError, match="must be finite on fault-free inputs"):
        golden_ranges(guarded, [Inputs((images * math.nan,), {})])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nowhere": (0.0, 1.0)}, "ranges must be given for"),
        ({"0:out": (1.0, 0.0)}, "range of 0:out must be finite and not empty"),
        ({"0:out": (0.0, math.nan)}, "range of 0:out must be finite and not empty"),
    ],
)
def test_ranges_that_cannot_be_are_refused(
    guarded: Guarded, change: dict[str, tuple[float, float]], words: str
) -> None:
    ranges = {site.name: (0.0, 1.0) for site in guarded.plan.sites} | change

    with pytest.raises(ValueError, match=words) as caught:
        clamp_to(guarded, ranges)

    assert "\n" not in str(caught.value)


def verdict_of(labels: list[int], unlike: list[bool]) -> Verdict:
    zeros = torch.zeros(len(labels))
    label, alarm = torch.tensor(labels), torch.tensor(unlike)
    return Verdict(label, zeros, zeros.long(), alarm)


def test_counters_give_the_text_format() -> None:
    counters = Counters(("regular", 'a "b"\\\n'), {"network": "signs"})

    counters.add(verdict_of([0, 0, 1], [False, True, True]))

    assert counters.text().splitlines() == [
        "# HELP stoic_verdicts_total Inferences by the class of the monitor's verdict.",
        "# TYPE stoic_verdicts_total counter",
        'stoic_verdicts_total{network="signs",class="regular"} 2',
        'stoic_verdicts_total{network="signs",class="a \\"b\\"\\\\\\n"} 1',
        "# HELP stoic_unlike_total "
        "Inferences that are unlike fault-free ones, by class.",
        "# TYPE stoic_unlike_total counter",
        'stoic_unlike_total{network="signs",class="regular"} 1',
        'stoic_unlike_total{network="signs",class="a \\"b\\"\\\\\\n"} 1',
    ]
    assert counters.text().endswith("\n")
    assert counters.count(0) == 2
    assert counters.count(0, unlike=False) == 1


def test_counters_lose_nothing_between_threads() -> None:
    counters = Counters(("regular", "memory"))
    verdict = verdict_of([0, 1, 1], [False, False, True])

    def add() -> None:
        for _ in range(500):
            counters.add(verdict)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counters.count(1) == 4000
    numbers = re.findall(r"} (\d+)", counters.text())
    assert np.sum([int(number) for number in numbers]) == 6000 + 2000


def test_a_network_counts_its_verdicts(
    guarded: Guarded, images: Tensor, tmp_path: Path
) -> None:
    counters = Counters(guarded.plan.monitor.classes)

    Protected(guarded, CallBack(id), counters=counters)(images)
    counters.write(tmp_path / "stoic.prom")

    assert (tmp_path / "stoic.prom").read_text() == counters.text()
    labels = guarded(images)[1].label.tolist()
    for label in range(4):
        assert counters.count(label) == labels.count(label)


@pytest.mark.parametrize("name", ["class", "with space", "__own", "ü", "1st"])
def test_labels_that_prometheus_refuses_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="labels must be named by") as caught:
        Counters(("regular",), {name: "x"})

    assert "\n" not in str(caught.value)
