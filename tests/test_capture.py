"""Capture: the program is the network, and the network is left as it was."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from networks import CAPTURED, FALLING_BACK, ZOO, Builder, Specimen, subject_of
from stoic.network.capture import CaptureError, capture
from stoic.network.captured import CapturedSubject
from stoic.network.general import GeneralSubject
from stoic.network.golden import Golden
from stoic.network.patch import same_words
from stoic.network.prepare import attention_by_parts, prepare
from stoic.network.subject import Inputs, same_leaves


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Kernels this small spend their time on waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def specimen_of(build: Builder) -> Specimen:
    if build.__name__ in ("bert", "gpt2"):
        pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    return build()


def captured(build: Builder) -> CapturedSubject:
    subject = subject_of(build)
    assert isinstance(subject, CapturedSubject), subject.reason
    return subject


def picked(inputs: Inputs, rows: list[int]) -> Inputs:
    """Return some inputs by number, some of them twice."""
    args, kwargs = pytree.tree_map(
        lambda leaf: leaf[rows] if isinstance(leaf, Tensor) and leaf.dim() else leaf,
        (inputs.args, dict(inputs.kwargs)),
    )
    return Inputs(args, kwargs)


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 0, 1, 2], [1]], ids=len)
@pytest.mark.parametrize("build", CAPTURED, ids=lambda build: build.__name__)
def test_the_program_gives_every_word_of_the_network(
    build: Builder, rows: list[int]
) -> None:
    specimen = specimen_of(build)
    subject = captured(build)
    inputs = picked(specimen.inputs, rows)
    # In a copy: one of the zoo counts its calls. A copy made in inference mode would
    # take other kernels.
    network = copy.deepcopy(specimen.network)

    with torch.inference_mode():
        golden = Golden(subject.program, inputs.leaves, subject.rows).answer
        own = output(network, inputs, by_parts=subject.fused_attention)

    assert same_leaves(golden, own)
    assert pytree.tree_structure(golden) == pytree.tree_structure(own)


def output(network: nn.Module, inputs: Inputs, *, by_parts: bool) -> Any:
    if by_parts:
        with attention_by_parts():
            return network(*inputs.args, **inputs.kwargs)
    return network(*inputs.args, **inputs.kwargs)


@torch.inference_mode()
def test_the_fused_fast_path_of_attention_is_told_and_put_back() -> None:
    from networks import encoder

    specimen, subject = encoder(), captured(encoder)
    golden = subject.bench(specimen.inputs).golden

    # Its last bits are why the flag exists; it is on again for everyone else.
    assert subject.fused_attention
    assert torch.backends.mha.get_fastpath_enabled()
    assert not same_leaves(
        golden, output(specimen.network, specimen.inputs, by_parts=False)
    )


@pytest.mark.parametrize("build", FALLING_BACK, ids=lambda build: build.__name__)
def test_a_network_that_cannot_be_captured_says_why_in_one_line(build: Builder) -> None:
    subject = subject_of(build)

    assert isinstance(subject, GeneralSubject)
    assert subject.reason
    assert "\n" not in subject.reason


def test_the_reason_names_what_stands_in_the_way() -> None:
    from networks import branching, fixed, views

    reasons = [subject_of(build).reason or "" for build in (branching, fixed, views)]

    assert "data-dependent" in reasons[0]
    assert reasons[1] == "the captured graph holds for one number of inputs only"
    assert {"decode.weight", "encode.weight"} <= set(reasons[2].split())


def test_capture_can_be_left_out() -> None:
    from networks import twice

    specimen = twice()

    subject = prepare(specimen.network, specimen.inputs, captured=False)

    assert isinstance(subject, GeneralSubject)
    assert subject.reason == "asked for"


class _OnSize(nn.Module):
    """Takes another branch for many inputs than for few."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x)
        return y if x.shape[0] > 2 else 2 * y


@torch.inference_mode()
def test_a_branch_on_the_number_of_inputs_is_not_captured_for_the_wrong_one() -> None:
    network, inputs = _OnSize().eval(), Inputs((torch.randn(5, 4),), {})

    subject = prepare(network, inputs)

    assert same_leaves(subject.bench(inputs).golden, network(*inputs.args))


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_a_network_that_gives_two_answers_is_refused(kind: type[nn.Dropout]) -> None:
    network = nn.Sequential(nn.Linear(4, 30), kind(0.5)).train()

    with pytest.raises(ValueError, match="network must be deterministic") as error:
        prepare(network, Inputs((torch.randn(3, 4),), {}))

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_nothing_of_the_network_or_its_inputs_is_changed(build: Builder) -> None:
    specimen = specimen_of(build)
    state = (
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        logging.root.manager.disable,
    )

    with torch.inference_mode():
        subject_of(build).bench(specimen.inputs)

    assert specimen.fingerprint() == specimen.born
    assert state == (True, True, logging.NOTSET)


def test_capture_shares_the_stored_tensors() -> None:
    from networks import resnet

    network, program = resnet().network, captured(resnet).program
    own = dict(network.named_parameters()) | dict(network.named_buffers())

    assert program.origins
    for value, names in program.origins.items():
        assert program.stored[value].data_ptr() == own[names[0]].data_ptr()


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
@torch.inference_mode()
def test_a_program_writes_to_none_of_its_values(build: Builder) -> None:
    specimen, subject = specimen_of(build), subject_of(build)
    if not isinstance(subject, CapturedSubject):
        pytest.skip("not captured: there is no program")
    program = subject.program
    values = program.given(specimen.inputs.leaves)
    copies: dict[str, Any] = {}

    for step in program.steps:
        values[step.name] = step(values.__getitem__)
        value = values[step.name]
        copies[step.name] = value.clone() if isinstance(value, Tensor) else value

    assert all(
        same_words(values[name], copy)
        for name, copy in copies.items()
        if isinstance(copy, Tensor)
    )


def test_export_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    from networks import branching, twice

    for build in (branching, twice):
        specimen = build()
        prepare(specimen.network, specimen.inputs)

    assert capfd.readouterr() == ("", "")


class _Checked(nn.Module):
    """Asserts something of its values, which a fault may well break."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        torch._assert_async((x.abs() < 100).all())
        torch._check(x.shape[0] < 1000)
        out: Tensor = self.head(x)
        return out


def test_checks_of_the_example_are_no_part_of_the_program() -> None:
    network, inputs = _Checked().eval(), Inputs((torch.randn(3, 4),), {})

    program = capture(network, inputs.args, inputs.kwargs)

    assert [step.operator for step in program.steps] == ["linear"]
    large = torch.full((3, 4), 1e6)
    assert torch.equal(program.run([large])["linear"], network.head(large))


def test_a_refusal_is_one_line_without_the_graph() -> None:
    from networks import branching

    specimen = branching()

    with pytest.raises(CaptureError) as error:
        capture(specimen.network, specimen.inputs.args, specimen.inputs.kwargs)

    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert error.value.__cause__ is not None


class _Parts(nn.Module):
    """Two parameters in one storage, side by side: no word is in both."""

    def __init__(self) -> None:
        super().__init__()
        both = torch.randn(8, 4)
        self.upper, self.lower = nn.Parameter(both[:4]), nn.Parameter(both[4:])

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.upper) @ self.lower


def test_neighbours_in_one_storage_are_two_sites() -> None:
    network, inputs = _Parts().eval(), Inputs((torch.randn(3, 4),), {})

    subject = prepare(network, inputs)

    assert subject.reason is None
    names = [site.name for site in subject.sites if site.kind == "parameter"]
    assert names == ["upper", "lower"]


def test_steps_come_after_what_they_read() -> None:
    from networks import dlrm, encoder, resnet

    for build in (resnet, encoder, dlrm):
        program = captured(build).program
        known = {*program.stored, *program.inputs}
        for step in program.steps:
            assert set(step.inputs) <= known
            known.add(step.name)
        orders = [step.order for step in program.steps]
        assert all(a < b for a, b in itertools.pairwise(orders))
        assert program.output_names <= known
