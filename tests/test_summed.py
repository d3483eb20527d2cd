"""Checksums as a monitor: fitted, saved, loaded, and inside of the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import networks
from monitor_support import captured, many_rows
from stoic.monitoring import fit_checksums, seen_by
from stoic.monitors.checksum import checksums_of
from stoic.monitors.exported import export_onnx
from stoic.monitors.guarded import guard, guard_with_file
from stoic.monitors.monitor import Monitor
from stoic.monitors.rules import Leaf
from stoic.monitors.scorecard import scorecard
from stoic.monitors.verdict import Verdict
from stoic.network.subject import Inputs

LAYER = "4.conv1:out"


def images(count: int, seed: int = 1) -> Tensor:
    leaf = many_rows(networks.resnet().inputs, count, seed).leaves[0]
    assert isinstance(leaf, Tensor)
    return leaf


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    return fit_checksums(networks.resnet().network, images(80), rate=0.1)


def test_verdicts_in_the_network_are_those_of_the_saved_monitor(
    monitor: Monitor, tmp_path: Path
) -> None:
    specimen, path = networks.resnet(), tmp_path / "sums.json"
    monitor.save(path)
    loaded = Monitor.load(path)
    guarded = guard_with_file(specimen.network, path, specimen.inputs)
    inputs = images(30, seed=2)
    weight = specimen.network.get_parameter(LAYER.replace(":out", ".weight"))
    kept = weight.data.clone()
    for change in (0.0, 0.05, float("nan")):
        weight.data.view(-1)[0] += change
        try:
            with torch.no_grad():
                output, verdict = guarded(inputs)
                own = specimen.network(inputs)
                found = features_by_golden(loaded, inputs, kept)
        finally:
            weight.data.copy_(kept)
        assert torch.equal(output.nan_to_num(), own.nan_to_num())
        wanted = loaded.verdicts(found)
        for name in Verdict._fields:
            np.testing.assert_array_equal(getattr(verdict, name), getattr(wanted, name))
        assert (verdict.label > 0).all() == (change != 0)
    assert loaded.checksums == monitor.checksums


def features_by_golden(monitor: Monitor, inputs: Tensor, kept: Tensor) -> np.ndarray:
    """Return features of a spoilt network by the sums of the golden weights."""
    subject = captured(networks.resnet)
    values = subject.program.run([inputs])
    weight = networks.resnet().network.get_parameter(LAYER.replace(":out", ".weight"))
    spoilt = weight.data.clone()
    weight.data.copy_(kept)
    sums = checksums_of(subject).only(monitor.checksums)
    weight.data.copy_(spoilt)
    return sums.excess(values).numpy()


def test_a_spoilt_layer_is_named_by_the_rule(monitor: Monitor) -> None:
    specimen = networks.resnet()
    guarded = guard(specimen.network, monitor, specimen.inputs)
    names = list(monitor.checksums)
    weight = specimen.network.get_parameter(LAYER.replace(":out", ".weight"))
    kept = weight.data.clone()
    weight.data.view(-1)[0] += 1
    try:
        with torch.no_grad():
            _, verdict = guarded(images(5))
    finally:
        weight.data.copy_(kept)

    assert {monitor.classes[label] for label in verdict.label.tolist()} == {"memory"}
    (leaf,) = set(verdict.rule.tolist())
    # The first leaf is for no layer; those of later layers come before.
    assert names[len(names) - leaf] == LAYER


def test_it_runs_compiled_as_one_graph(monitor: Monitor) -> None:
    specimen, inputs = networks.resnet(), images(8)
    guarded = guard(specimen.network, monitor, specimen.inputs)
    compiled = torch.compile(guarded, fullgraph=True, backend="aot_eager")

    with torch.no_grad():
        for a, b in zip(compiled(inputs)[1], guarded(inputs)[1], strict=True):
            assert torch.equal(a, b)


def test_it_can_be_evaluated_on_other_inputs(monitor: Monitor) -> None:
    specimen = networks.resnet()
    traces = seen_by(monitor, specimen.network, images(40, seed=9), first=80)

    card = scorecard(monitor, traces, draws=20)

    memory = card.levels["together"][0].classes[0]
    assert memory.name == "memory"
    assert memory.recall is not None and memory.recall.value > 0.5
    assert card.rules.clean is not None and card.rules.clean.value == 0


def test_some_layers_can_be_chosen() -> None:
    network = networks.resnet().network
    found = fit_checksums(network, images(60), values=(LAYER,), rate=0.2)

    assert list(found.checksums) == [LAYER]
    assert isinstance(found.rules.leaves[0], Leaf)


def test_a_layer_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="values must be named once each, got '.*out'"):
        fit_checksums(networks.resnet().network, images(60), values=(LAYER, LAYER))


@pytest.mark.parametrize("name", ["nowhere:out", "2:out"])
def test_a_layer_without_a_checksum_is_refused_in_one_line(name: str) -> None:
    network = networks.resnet().network
    with pytest.raises(ValueError, match="checksums must be of conv") as caught:
        fit_checksums(network, images(60), values=(name,), rate=0.2)

    assert "\n" not in str(caught.value)


def test_an_onnx_file_of_checksums_is_refused_in_one_line(
    monitor: Monitor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    specimen = networks.resnet()
    guarded = guard(specimen.network, monitor, specimen.inputs)
    with pytest.raises(ValueError, match="double precision") as caught:
        export_onnx(guarded, specimen.inputs, tmp_path / "x.onnx")

    assert "\n" not in str(caught.value)


def test_a_file_for_other_layers_is_refused(monitor: Monitor) -> None:
    specimen = networks.resnet()
    other = {f"x{name}": t for name, t in monitor.checksums.items()}
    names = tuple(f"checksum excess of {name}" for name in other)
    rules = replace(monitor.rules, features=names)
    points = replace(monitor.points, features=names)
    with pytest.raises(ValueError, match="checksums must be of conv"):
        guard(
            specimen.network,
            replace(monitor, checksums=other, rules=rules, points=points),
            Inputs((images(4),), {}),
        )
