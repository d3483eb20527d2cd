"""Numbers of tensors that stand beside predictions, from bounds and from a monitor."""

from __future__ import annotations

from pathlib import Path

import pytest

import stoic
from stoic.cli import main
from stoic.columns import monitor_column, norm_columns
from stoic.monitoring import fit
from stoic.predicting import predict


def test_bounds_give_every_weight_of_a_layer_a_number() -> None:
    case = stoic.load("digits", 8)

    found = norm_columns(case.network, case.inputs)

    names = {name for name, _ in case.network.named_parameters()}
    assert set(found["amplifies"]) == set(found["wrong words"]) == names
    assert found["amplifies"]["head.weight"] > 1
    assert 0 < found["wrong words"]["head.weight"] < 1e3


def test_the_points_of_a_monitor_are_shared_out_among_layers(tmp_path: Path) -> None:
    case = stoic.load("digits", 420)
    monitor = fit(case.network, case.inputs, rate=0.05).monitor
    monitor.save(tmp_path / "digits.monitor.json")

    found = monitor_column(tmp_path / "digits.monitor.json", case.network)

    weights = [share for name, share in found.items() if name.endswith(".weight")]
    assert sum(weights) == pytest.approx(1.0)
    watched = {watch.value.partition(":")[0] for watch in monitor.watches}
    assert {name.rpartition(".")[0] for name in found} <= watched
    other = stoic.load("signs", 2).network
    with pytest.raises(ValueError, match="fit it again"):
        monitor_column(tmp_path / "digits.monitor.json", other)
    columns = {"monitor": found}
    few = stoic.load("digits", 4)
    joint = predict(few.network, few.inputs, columns=columns).joint
    assert "monitor" in joint.columns


def test_the_command_puts_bounds_beside_predictions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["predict", "digits", "--inputs", "4", "--bits", "30", "--probes", "0"]

    assert main(words) == 0
    told = capsys.readouterr().out
    assert "amplifies" in told
    assert main([*words, "--no-norms"]) == 0
    assert "amplifies" not in capsys.readouterr().out
