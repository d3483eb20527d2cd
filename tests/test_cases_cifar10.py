"""The case ``cifar10-vgg``: its weights are where they belong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cases_support import accuracy, assert_one_line, parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.cifar10 import __main__ as command
from stoic.cases.cifar10.network import WEIGHTS, CifarVGG, state_of
from stoic.cases.imagenet.files import FOOLBOX, path_of


@pytest.mark.slow
def test_the_network_is_as_good_as_it_says() -> None:
    for package in (WEIGHTS, FOOLBOX):
        if not path_of(package).is_file():
            pytest.skip(f"{package.filename} is not fetched; {WEIGHTS.command}")
    pytest.importorskip("h5py")

    case = cases.load("cifar10-vgg")

    assert accuracy(case) == 1.0 and len(case) == 20
    assert f"{parameters(case.network):,} parameters" in case.about


def test_every_weight_is_read_once_with_outputs_first() -> None:
    network = CifarVGG()
    asked = []

    def read(layer: str, name: str) -> object:
        asked.append(f"{layer}/{name}")
        ours = {
            "conv2d_2/kernel:0": (3, 3, 64, 128),
            "dense_1/kernel:0": (1024, 512),
            "batch_normalization_5/moving_mean:0": (64,),
        }
        shape = ours.get(asked[-1])
        if shape is None:
            return np.zeros((1,))
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    state = state_of(network, read)

    assert len(asked) == len({*asked}) == 6 * 6 + 3 * 2
    assert state.keys() == network.state_dict().keys()
    kernel = state["features.7.weight"]
    assert kernel.shape == network.features[7].weight.shape
    assert kernel[5, 6, 1, 2] == ((1 * 3 + 2) * 64 + 6) * 128 + 5
    assert state["classifier.2.weight"][3, 4] == 4 * 512 + 3
    assert state["features.19.running_mean"].shape == (64,)


def test_scores_may_be_below_zero() -> None:
    assert (CifarVGG().eval()(torch.randn(2, 3, 32, 32)) < 0).any()


def test_a_missing_package_is_answered_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOIC_CACHE", str(tmp_path))
    with pytest.raises(CaseError) as error:
        cases.load("cifar10-vgg")

    assert_one_line(error, WEIGHTS.filename, "python -m stoic.cases.cifar10 --fetch")
    assert command.main([]) == 0
    assert capsys.readouterr().out.count("lack") == 2
