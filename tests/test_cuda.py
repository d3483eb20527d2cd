"""On a GPU: what is said there is what is said on the processor."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import stoic
from stoic.monitoring import fit
from stoic.monitors.guarded import guard
from stoic.network.subject import Inputs

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"
)


def digits(device: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    case = stoic.load("digits", count)
    assert isinstance(case.inputs, Tensor)
    assert isinstance(case.labels, Tensor)
    network = copy.deepcopy(case.network).to(device)
    return network, case.inputs.to(device), case.labels.to(device)


@pytest.mark.parametrize("kind", ["parameter", "activation"])
def test_exact_and_fast_trials_come_out_as_runs_of_the_whole_network(kind: str) -> None:
    network, inputs, labels = digits("cuda", 64)
    before = copy.deepcopy(network.state_dict())

    def found(mode: str, verify: int = 0) -> list[float]:
        measured = stoic.pvf(
            network,
            inputs,
            labels,
            faults=400,
            seed=3,
            bits="exponent",
            kinds=(kind,),
            mode=mode,
            verify=verify,
        )
        return [row.estimate.value for row in measured.table("site")]

    exact = found("exact", verify=100)
    assert exact == found("fast")
    assert any(exact)
    after = network.state_dict()
    assert all(torch.equal(words, after[name]) for name, words in before.items())


def test_predictions_are_refused_where_rounding_is_not_known() -> None:
    network, inputs, _ = digits("cuda", 8)
    for asked in (stoic.condition, stoic.bits, stoic.predict):
        with pytest.raises(ValueError, match=r"on the processor, got cuda:0; call"):
            asked(network, inputs)


@pytest.mark.parametrize("fitted_on", ["cpu", "cuda"])
def test_a_monitor_says_what_it_says_on_the_processor(fitted_on: str) -> None:
    network, inputs, _ = digits(fitted_on, 420)
    monitor = fit(network, inputs, rate=0.05).monitor
    labels = []
    for device in ("cpu", "cuda"):
        network, inputs, _ = digits(device, 420)
        guarded = guard(network, monitor, Inputs((inputs[:4],), {}))
        with torch.inference_mode():
            output, verdict = guarded(inputs)
            assert torch.equal(output, network(inputs))
        labels.append(verdict.label.cpu())
    assert (labels[0] == labels[1]).float().mean() > 0.99
