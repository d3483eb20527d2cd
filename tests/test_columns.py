"""Numbers of tensors that stand beside predictions, from bounds and from a monitor."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import stoic
from sensitivity_networks import MADE
from stoic.cli import main
from stoic.columns import monitor_column, norm_columns
from stoic.monitoring import fit
from stoic.predicting import PredictSettings, predict
from stoic.report.predicted import write_predicted_report
from stoic.sensitivity.reach import NotKnownError


@torch.inference_mode()
def test_bounds_give_every_weight_of_a_layer_a_number() -> None:
    case = stoic.load("digits", 8)
    head, read = case.network.get_submodule("head"), list[Tensor]()
    hook = head.register_forward_hook(lambda _, given, __: read.append(given[0]))
    scores = case.network(case.inputs).double()
    hook.remove()

    found = norm_columns(case.network, case.inputs)

    names = {name for name, _ in case.network.named_parameters()}
    assert set(found["amplifies"]) == set(found["wrong words"]) == names
    weight, bias, x = (each.double() for each in (*head.parameters(), *read))
    steepest = torch.linalg.matrix_norm(weight, 2) * x.norm(dim=1)
    wrong = (x.abs() @ weight.abs().t() + bias.abs()).norm(dim=1)
    for name, most in (("amplifies", steepest), ("wrong words", wrong)):
        exact = (most / scores.norm(dim=1)).median().item()
        assert found[name]["head.weight"] == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("name", ["tokens", "recurrent"])
def test_wrong_words_are_bounded_by_tensor_where_steps_are_of_parts(name: str) -> None:
    make, shape = MADE[name]
    torch.manual_seed(3)
    network, x = make().eval(), torch.randn(3, *shape)
    size = network(x).detach().norm(dim=1)

    found = norm_columns(network, x)

    for own, words in network.named_parameters():

        def scores(words: Tensor, own: str = own) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):
                given = torch.func.functional_call(network, {own: words}, (x,))
            assert isinstance(given, Tensor)
            return given

        slopes = torch.autograd.functional.jacobian(scores, words.detach())
        most = (slopes.abs() * words.detach().abs()).flatten(2).sum(2).norm(dim=1)
        assert found["wrong words"][own] >= (most / size).median() * 0.999, own
    joint = predict(network, x, columns=found, settings=_FEW).joint
    assert not any(map(math.isnan, joint.columns["Hessian trace"]))


_FEW = PredictSettings(bits="30", words=2, rivals=1, probes=1)


class Twice(nn.Module):
    """Two outputs, of which bounds know no scores."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(9, 4, mode="sum")

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bag(ids)
        return y, y * 2


def test_what_predictions_cannot_have_is_said_with_what_to_do() -> None:
    network, ids = Twice().eval(), torch.randint(0, 9, (4, 5))

    with pytest.raises(NotKnownError, match="got 2; leave bounds out: --no-norms"):
        norm_columns(network, ids)
    with pytest.raises(ValueError, match="second derivatives.*out: --probes 0"):
        predict(network, ids)
    assert predict(network, ids, settings=PredictSettings(probes=0)).inputs == 4
    with pytest.raises(ValueError, match="must be captured.*: 'stoic pvf'"):
        predict(Branched().eval(), torch.randn(4, 3))


class Branched(nn.Module):
    """A branch on a value, which no graph follows."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(x)
        return y if y.sum().item() > 0 else -y


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


def test_the_page_has_the_joint_table_and_escapes_names(tmp_path: Path) -> None:
    record = {
        "inputs": 4,
        "passes": 2.5,
        "cells": [
            {"site": "<b>", "bit": 30, "predicted": 0.5}
            | {"measured": 0.25, "low": 0.2, "high": 0.3, "trials": 9},
            {"site": "x", "bit": 1, "predicted": 0.0}
            | {"measured": None, "low": None, "high": None, "trials": 0},
        ],
        "layers": ["<b>", "x"],
        "columns": {"predicted PVF": [0.5, 0.25], "monitor": [None, 0.125]},
        "agreements": [
            {"first": "a", "second": "b", "spearman": 0.5, "low": 0.1, "high": 0.9}
            | {"kendall": 0.25, "layers": 2}
        ],
        "calibration": [
            {"predicted": 0.7, "measured": 0.5, "low": 0.4, "high": 0.6, "count": 8}
        ],
    }

    text = write_predicted_report(record, "case", tmp_path / "p.html").read_text()

    assert "<b></b>" not in text
    assert '<th scope="row"><b>' not in text
    # 0.5 and 0.25 on four decades.
    assert f'cx="{round(100 * (math.log10(0.5) + 4) / 4, 2)}%"' in text
    assert f'cy="{round(100 - 100 * (math.log10(0.25) + 4) / 4, 2)}%"' in text
    assert text.count('class="dot"') == 2
    assert 'cx="70.0%" cy="50.0%"' in text
    assert "50.00%" in text
    assert "25.00% [20.00%, 30.00%]" in text
    assert "width: 50.0%" in text
    assert "0.50 [0.10, 0.90]" in text


def test_the_command_writes_a_page_or_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "digits", "--inputs", "4", "--bits", "30", "--probes", "0"]
    for name, start in (("p.html", "<!DOCTYPE html>"), ("p.json", "{")):
        assert main([*words, "--no-norms", "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().lstrip().startswith(start)
    capsys.readouterr()
