"""The catalogue of the cases, and the case ``digits``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cases_support import accuracy, assert_one_line, parameters
from stoic import cases
from stoic.cases import Case, CaseError
from stoic.cases.digits import data, digits_case
from stoic.cases.digits import train as digits_train

CASES_FOLDER = Path(cases.__file__).parent


def test_listing_the_cases_needs_no_torch() -> None:
    code = (
        "import sys, stoic.cases as c; assert len(c.catalogue()) == 11; "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], env=with_source())

    assert done.returncode == 0


def with_source() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CASES_FOLDER.parents[1])}


def test_everything_public_can_be_had() -> None:
    for name in cases.__all__:
        assert getattr(cases, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'cage'"):
        _ = cases.cage


@pytest.mark.parametrize(
    "entry",
    [
        entry
        for entry in cases.catalogue()
        if entry.name in ("signs", "gaze", "blindspots", "digits")
    ],
    ids=lambda e: e.name,
)
def test_an_embedded_case_is_ready_to_be_assessed(entry: cases.Entry) -> None:
    case = cases.load(entry.name)

    assert entry.needs == ""
    assert case.name == entry.name
    assert len(case) == entry.inputs
    assert not case.network.training
    assert case.classes is not None
    assert case.labels is not None
    assert 0 <= int(case.labels.min())
    assert int(case.labels.max()) < len(case.classes)


def test_labels_may_be_rows_and_clusters_may_not() -> None:
    inputs, boxes = torch.zeros(4, 2), torch.zeros(4, 5, 5)

    case = Case("mine", torch.nn.Identity(), inputs, labels=boxes)

    assert case.first(3).labels is not None
    with pytest.raises(CaseError, match=r"one row for each of the 4 .* got shape \(3,"):
        Case("mine", torch.nn.Identity(), inputs, labels=boxes[:3])
    with pytest.raises(CaseError, match="clusters of mine must be one number for each"):
        Case("mine", torch.nn.Identity(), inputs, clusters=boxes)


def test_fewer_inputs_are_the_first_ones() -> None:
    few, many = digits_case(5), digits_case(600)

    assert isinstance(few.inputs, Tensor) and isinstance(many.inputs, Tensor)
    assert torch.equal(few.inputs, many.inputs[:5])


@pytest.mark.parametrize("inputs", [0, -1, 601])
def test_inputs_that_a_case_does_not_have_are_refused(inputs: int) -> None:
    with pytest.raises(CaseError) as error:
        cases.load("digits", inputs)

    assert_one_line(error, "1..600", f"got {inputs}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("digit", "did you mean digits?"), ("zebra", "signs, scenes, gaze")],
)
def test_an_unknown_case_is_answered_with_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(CaseError) as error:
        cases.load(name)

    assert_one_line(error, repr(name), hint)


def test_what_the_cases_commit_is_under_eight_megabytes() -> None:
    committed = [*CASES_FOLDER.rglob("*.png"), *CASES_FOLDER.rglob("*.safetensors")]

    assert len(committed) == 9
    assert sum(path.stat().st_size for path in committed) < 8e6


def test_the_digit_network_has_3658_parameters() -> None:
    assert parameters(digits_case().network) == 80 + 1168 + 2080 + 330 == 3658


def test_the_digit_case_is_as_good_as_it_says() -> None:
    case = digits_case(data.HELD_OUT)

    assert f"{100 * accuracy(case):.1f} %" in case.about
    assert accuracy(case) >= 0.97


def test_no_digit_is_both_learned_and_held_out() -> None:
    pictures = torch.cat([data.learned().pictures, data.held_out().pictures])

    assert len(pictures.unique(dim=0)) == len(pictures) == 1797


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Steps so small run faster on one thread, much faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_digit_network_can_be_trained_again() -> None:
    network = digits_train.train(data.learned())

    assert digits_train.accuracy(network, data.held_out()) >= 0.97
