"""Slopes against autograd on the module itself, and against finite differences."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from networks import (
    FALLING_BACK,
    Builder,
    Specimen,
    another,
    answers,
    assorted,
    bert,
    bfloat16,
    choosing,
    constants,
    convnext,
    convolutions,
    dlrm,
    float16,
    gpt2,
    gru,
    lstm,
    quantised,
    resnet,
    resnet_channels_last,
    rows,
    subject_of,
    tied,
    twice,
    vit,
    weight_norm,
)
from stoic.campaign.leads import lead_of
from stoic.campaign.scores import scores_of
from stoic.criteria import Top1Changed
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program, Ref, Step
from stoic.network.rows import ODD, SAME
from stoic.network.slopes import (
    Lead,
    NoSlopesError,
    activation_slopes,
    input_slopes,
    parameter_slopes,
    program_of,
    word_slopes,
)
from stoic.network.smooth import smoothed
from stoic.network.subject import Inputs, same_leaves

HALVES: tuple[Builder, ...] = (bfloat16, float16)
KINDS = (
    resnet,
    resnet_channels_last,
    convolutions,
    convnext,
    vit,
    bert,
    gpt2,
    lstm,
    gru,
    dlrm,
    tied,
    twice,
    answers,
    weight_norm,
    quantised,
    constants,
    assorted,
    *HALVES,
)
STEP = 1e-6


def weighed(output: Any) -> Tensor:
    """A smooth lead of either sign on which every score has another weight."""
    scores = scores_of(output).double()
    scores = scores.reshape(len(scores), -1)
    return scores @ torch.linspace(-1, 2.1, scores.shape[1]).to(scores) + 0.1


def specimen_of(build: Builder) -> Specimen:
    if build in (bert, gpt2):
        pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    return build()


def captured(network: nn.Module, inputs: Inputs) -> CapturedSubject:
    subject = prepare(network, inputs)
    assert isinstance(subject, CapturedSubject), subject.reason
    return subject


def wide(tree: Any) -> Any:
    return pytree.tree_map(lambda x: x.double() if floats(x) else x, tree)


def floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def doubled(specimen: Specimen) -> tuple[nn.Module, Inputs]:
    """Return the same network and inputs in float64."""
    args, kwargs = wide((specimen.inputs.args, dict(specimen.inputs.kwargs)))
    return copy.deepcopy(specimen.network).double(), Inputs(args, kwargs)


@functools.cache
def doubled_subject(
    build: Callable[[], Specimen],
) -> tuple[nn.Module, Inputs, CapturedSubject]:
    """Prepared once for all tests, which leave the network as it is."""
    network, inputs = doubled(specimen_of(build))
    return network, inputs, captured(network, inputs)


def called(network: nn.Module, inputs: Inputs) -> Any:
    return network(*inputs.args, **inputs.kwargs)


def robust(slopes: Sequence[Tensor]) -> Tensor:
    """The definition: the mean over inputs of the roots, squared."""
    return torch.stack([slope.sqrt() for slope in slopes]).mean(0) ** 2


def assert_near(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    # A bias before a norm changes nothing, up to rounding.
    scale = max(wanted.max().item(), 1e-2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), wanted.double(), rtol=tolerance, atol=tolerance * scale
    )


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(network.named_buffers(remove_duplicate=False)),
        **dict(network.named_parameters(remove_duplicate=False)),
    }


# --- Parameters ----------------------------------------------------------------------


def by_autograd(network: nn.Module, inputs: Inputs, lead: Lead) -> dict[str, Tensor]:
    """One input after the other through the network itself."""
    parameters = dict(network.named_parameters())
    slopes: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for row in range(inputs.count):
        network.zero_grad()
        (own,) = lead(called(network, inputs.rows(row, row + 1)))
        own.backward()
        for name, parameter in parameters.items():
            found = parameter.grad
            slopes[name].append(
                torch.zeros(parameter.shape)
                if found is None
                else found.double().abs() / own.detach().abs()
            )
    return {name: robust(each) for name, each in slopes.items()}


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_parameter_slopes_are_those_of_the_module(build: Builder) -> None:
    specimen = specimen_of(build)
    program = program_of(subject_of(build))

    found = parameter_slopes(program, specimen.inputs, weighed)

    assert sorted(found) == sorted(n for n, x in program.stored.items() if floats(x))
    network, inputs = doubled(specimen)
    wanted = by_autograd(network, inputs, weighed)
    for value in found.keys() & program.origins.keys():
        name = program.origins[value][0]
        if name in wanted:
            assert_near(found[value], wanted[name], 0.1 if build in HALVES else 1e-3)


FINITE = (
    resnet,
    resnet_channels_last,
    rows,
    vit,
    gru,
    dlrm,
    tied,
    weight_norm,
    quantised,
    constants,
    choosing,
    assorted,
)


def by_differences(
    network: nn.Module, inputs: Inputs, tensor: Tensor, spots: Sequence[int]
) -> Tensor:
    """Move single words of a tensor in place and run the whole network."""
    with torch.inference_mode():
        leads = weighed(called(network, inputs))
        words, slopes = tensor.detach(), []
        for spot in spots:
            at = torch.unravel_index(torch.tensor(spot), words.shape)
            old, ends = words[at].clone(), []
            for step in (STEP, -STEP):
                words[at] = old + step
                ends.append(weighed(called(network, inputs)))
            words[at] = old
            change = (ends[0] - ends[1]) / (2 * STEP)
            slopes.append((change / leads).abs().sqrt().mean() ** 2)
    return torch.stack(slopes)


def some_of(count: int, sample: int) -> list[int]:
    return torch.randperm(count)[:sample].tolist()


@pytest.mark.parametrize("build", FINITE, ids=lambda build: build.__name__)
def test_parameter_slopes_are_finite_differences(build: Builder) -> None:
    network, inputs, subject = doubled_subject(build)
    program = subject.program

    found = parameter_slopes(program, inputs, weighed)

    tensors = tensors_of(network)
    for value, slopes in found.items():
        if value in program.origins:
            tensor = tensors[program.origins[value][0]]
            spots = some_of(tensor.numel(), 6)
            wanted = by_differences(network, inputs, tensor, spots)
            assert_near(slopes.flatten()[spots], wanted, 1e-4)


class Detached(nn.Module):
    """Detaches and hands values on as they are: the output hangs on them all."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
        self.register_buffer("level", torch.rand(5))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = y.detach() * self.level + nn.functional.dropout(y, training=False) * y
        with torch.no_grad():
            z = z.sin()
        out: Tensor = self.second(z)
        return out


def detached() -> Specimen:
    torch.manual_seed(0)
    return Specimen.of(Detached().eval(), Inputs((torch.randn(3, 4),), {}))


def test_what_a_network_detaches_counts() -> None:
    network, inputs, subject = doubled_subject(detached)
    program = subject.program

    found = parameter_slopes(program, inputs, weighed)

    assert len(found) == 5
    for value, slopes in found.items():
        tensor = tensors_of(network)[program.origins[value][0]]
        wanted = by_differences(network, inputs, tensor, range(tensor.numel()))
        assert_near(slopes.flatten(), wanted, 1e-4)


def test_two_parameters_on_one_storage_have_one_slope() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    network[2].weight = nn.Parameter(network.get_parameter("0.weight").data)
    inputs = Inputs((torch.randn(3, 4).double(),), {})
    program = captured(network.eval(), inputs).program

    found = parameter_slopes(program, inputs, weighed)

    shared = [v for v, names in program.origins.items() if names[0] == "0.weight"]
    weight = tensors_of(network)["0.weight"]
    wanted = by_differences(network, inputs, weight, range(16))
    assert shared
    for value in shared:
        assert_near(found[value].flatten(), wanted, 1e-4)


def test_a_lone_name_gives_the_same_slopes() -> None:
    specimen, program = resnet(), program_of(subject_of(resnet))
    every = parameter_slopes(program, specimen.inputs, weighed)

    for name in ("p_network_0_weight", "b_network_1_running_var"):
        (found,) = parameter_slopes(program, specimen.inputs, weighed, [name]).items()

        assert found[0] == name
        assert_near(found[1], every[name].double(), 1e-5)


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, nullcontext])
def test_slopes_come_input_by_input_and_leave_the_modes_alone(
    around: Callable[[], AbstractContextManager[None]],
) -> None:
    specimen, program = resnet(), program_of(subject_of(resnet))
    whole = parameter_slopes(program, specimen.inputs, weighed)

    with around():
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        each = []
        for slopes in input_slopes(program, specimen.inputs, weighed):
            now = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
            assert now == modes
            each.append(slopes)

    assert len(each) == specimen.inputs.count
    for name, together in whole.items():
        wanted = robust([found[name].double() for found in each])
        assert_near(together, wanted, 1e-5)
    for row, slopes in enumerate(each):
        one = specimen.inputs.rows(row, row + 1)
        alone = parameter_slopes(program, one, weighed)
        for name in alone:
            assert_near(slopes[name], alone[name].double(), 1e-5)


def test_what_no_lead_depends_on_has_slope_zero() -> None:
    program = program_of(subject_of(answers))

    found = parameter_slopes(program, answers().inputs, weighed)

    assert found["p_network_box_weight"].eq(0).all()
    assert found["p_network_left_weight"].gt(0).all()


def test_words_of_sparse_tables_that_are_not_read_have_slope_zero() -> None:
    network = nn.Sequential(nn.Embedding(6, 3, sparse=True), nn.Linear(3, 2)).eval()
    inputs = Inputs((torch.tensor([[1, 2], [2, 4]]),), {})
    program = captured(network, inputs).program

    found = parameter_slopes(program, inputs, weighed)["p_network_0_weight"]

    assert found.gt(0).all(1).tolist() == [False, True, True, False, True, False]
    assert found[[0, 3, 5]].eq(0).all()


@pytest.mark.parametrize("build", [resnet, vit, lstm, dlrm], ids=lambda b: b.__name__)
def test_slopes_are_the_same_words_each_time(build: Builder) -> None:
    program, inputs = program_of(subject_of(build)), build().inputs

    first, again = (parameter_slopes(program, inputs, weighed) for _ in range(2))

    assert same_leaves(first, again)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_change_of_one_by_its_slope_turns_the_verdict(classes: int) -> None:
    network = nn.Linear(3, classes).double().eval()
    inputs = Inputs((torch.randn(2, 3).double(),), {})
    program = captured(network, inputs).program

    with torch.no_grad():
        for row in range(2):
            one = inputs.rows(row, row + 1)
            slopes = parameter_slopes(program, one, lead_of(Top1Changed()))
            golden = called(network, one).argmax()
            for spot, slope in enumerate(slopes["p_network_weight"].flatten().tolist()):
                if slope:
                    assert golden != least_class_after(
                        network, one, spot, 1.001 / slope
                    )
                if slope and classes == 2:
                    assert golden == least_class_after(
                        network, one, spot, 0.999 / slope
                    )


def least_class_after(
    network: nn.Linear, one: Inputs, spot: int, change: float
) -> Tensor:
    """The class after a change of a weight, up or down; golden only if both are."""
    words = network.weight.view(-1)
    golden: Tensor = called(network, one).argmax()
    old, found = words[spot].clone(), golden
    for moved in (old + change, old - change):
        words[spot] = moved
        after = called(network, one).argmax()
        found = after if after != golden else found
    words[spot] = old
    return found


# --- Activations ---------------------------------------------------------------------


def leads_with(
    program: Program, inputs: Inputs, name: str, spot: int, step: float
) -> Tensor:
    """Run every step, with one word of one value moved."""

    def moved(value: Tensor) -> Tensor:
        change = torch.zeros_like(value).flatten()
        change[spot] = step
        return value + change.view(value.shape)

    values = program.given(inputs.leaves)
    if name in values:
        values[name] = moved(values[name])
    for each in program.steps:
        values[each.name] = each(values.__getitem__)
        if each.name == name:
            values[name] = moved(values[name])
    return weighed(program.answer(values.__getitem__))


def by_shifts(
    program: Program, inputs: Inputs, name: str, spots: list[int]
) -> tuple[Tensor, Tensor]:
    """Differences of the lead that a word moves, to the one side and to the other.

    They differ where a maximum is shared, as by the zeros after a ReLU.
    """
    leads, slopes = weighed(program.answer(program.run(inputs.leaves).__getitem__)), []
    for spot in spots:
        sides = [leads_with(program, inputs, name, spot, s) for s in (STEP, -STEP)]
        slopes.append(((torch.stack(sides) - leads) / STEP / leads).abs().sum(1))
    low, high = torch.stack(slopes).sort(1).values.unbind(1)
    return low, high


def with_rows(subject: CapturedSubject, inputs: Inputs) -> list[str]:
    """All floating values that hold the inputs apart, sites or not."""
    values, dims = subject.program.run(inputs.leaves), subject.rows or {}
    return [
        name
        for name in values
        if floats(values[name]) and dims[name] not in (SAME, ODD)
    ]


@pytest.mark.parametrize(
    "build",
    [resnet, vit, lstm, gru, dlrm, tied, choosing, assorted, detached],
    ids=lambda build: build.__name__,
)
def test_activation_slopes_are_finite_differences(
    build: Callable[[], Specimen],
) -> None:
    _, inputs, subject = doubled_subject(build)
    names = with_rows(subject, inputs)

    found = activation_slopes(subject.program, inputs, weighed, names)

    values = subject.program.run(inputs.leaves)
    assert found.keys() == {*names}
    with torch.inference_mode():
        for name, slopes in found.items():
            assert slopes.shape == values[name].shape
            spots = some_of(slopes.numel(), 4)
            low, high = by_shifts(subject.program, inputs, name, spots)
            own = slopes.flatten()[spots].double()
            assert_near(slopes.flatten()[spots], own.clamp(low, high), 1e-4)


def handing_on(value: Tensor) -> Tensor:
    return value


@pytest.mark.parametrize("names", [["a"], ["b"], ["a", "b"], ["args_0", "a", "b"]])
def test_what_is_handed_on_has_slopes_of_its_own(names: list[str]) -> None:
    """As one tensor it would have those of whoever reads it, under any name."""
    mul, x, a, b = torch.ops.aten.mul.Tensor, Ref("args_0"), Ref("a"), Ref("b")
    calls: list[tuple[str, Callable[..., Any], tuple[Ref, ...]]] = [
        ("a", handing_on, (x,)),
        ("b", handing_on, (a,)),
        ("c", mul, (a, b)),
        ("d", mul, (x, Ref("c"))),
    ]
    program = Program(
        steps=tuple(
            Step(name, op, args, {}, "", True, order)
            for order, (name, op, args) in enumerate(calls)
        ),
        stored={},
        origins={},
        inputs=("args_0",),
        outputs=(Ref("d"),),
        output_spec=pytree.tree_structure(torch.zeros(0)),
        free_batch=True,
    )
    inputs = Inputs((torch.rand(2, 3, dtype=torch.float64) + 1,), {})

    found = activation_slopes(program, inputs, weighed, names)

    for name, slopes in found.items():
        low, _ = by_shifts(program, inputs, name, [*range(6)])
        assert_near(slopes.flatten(), low, 1e-4)


@pytest.mark.parametrize(
    ("build", "path", "value", "rows"),
    [
        (resnet, "4.conv2", "conv2d_2", 0),
        (resnet_channels_last, "4.conv2", "conv2d_2", 0),
        (vit, "norm2", "layer_norm_1", 0),
        (gru, "rnn", "getitem", 1),
        (twice, "head", "linear_2", 0),
        (bfloat16, "0", "conv2d", 0),
        (float16, "0", "conv2d", 0),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_activation_slopes_are_those_of_the_module(
    build: Builder, path: str, value: str, rows: int
) -> None:
    specimen, program = build(), program_of(subject_of(build))
    network, inputs = doubled(specimen)
    seen: list[Tensor] = []
    network.get_submodule(path).register_forward_hook(
        lambda _, __, result: seen.append(pytree.tree_leaves(result)[0])
    )

    found = activation_slopes(program, specimen.inputs, weighed, [value])

    slopes = []
    for row in range(inputs.count):
        (own,) = weighed(called(network, inputs.rows(row, row + 1)))
        (gradient,) = torch.autograd.grad(own, seen[-1])
        slopes.append(gradient.abs() / own.detach().abs())
    tolerance = 0.1 if build in HALVES else 1e-3
    assert_near(found[value], torch.cat(slopes, rows), tolerance)


def test_slopes_of_an_input_are_those_of_autograd() -> None:
    specimen, program = answers(), program_of(subject_of(answers))

    found = activation_slopes(program, specimen.inputs, weighed, [*program.inputs])

    x, given = specimen.inputs.args[0], dict(specimen.inputs.kwargs)
    x, other = (each.clone().requires_grad_() for each in (x, given.pop("other")))
    leads = weighed(specimen.network(x, other=other, **given))
    wanted = torch.autograd.grad(leads.sum(), [x, other])
    names = program.inputs[:2]
    # The mask and the scale have no slope.
    assert found.keys() == {*names}
    for name, gradient in zip(names, wanted, strict=True):
        assert_near(found[name], gradient.abs() / leads.detach().abs()[:, None], 1e-4)


def test_whole_numbers_inside_have_no_slopes() -> None:
    program, inputs = program_of(subject_of(assorted)), assorted().inputs
    values = program.run(inputs.leaves)
    (place,) = (n for n, x in values.items() if getattr(x, "dtype", 0) == torch.int64)

    found = activation_slopes(program, inputs, weighed, [place, "args_0"])

    assert found.keys() == {"args_0"}


# --- Untouched -----------------------------------------------------------------------


def raising(output: Any) -> Tensor:
    raise ZeroDivisionError("no lead at all")


class Rounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError("no way back\nat all")


def one_way(output: Any) -> Tensor:
    found: Tensor = Rounding.apply(weighed(output))
    return found


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, nullcontext])
@pytest.mark.parametrize(
    "build",
    [resnet, vit, gru, dlrm, tied, weight_norm, float16, constants],
    ids=lambda build: build.__name__,
)
def test_the_network_is_untouched(
    build: Builder, around: Callable[[], AbstractContextManager[None]]
) -> None:
    specimen, program = build(), program_of(subject_of(build))
    names = [*program.inputs, *program.by_name]
    stored = dict(program.stored)

    with around():
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        parameter_slopes(program, specimen.inputs, weighed)
        activation_slopes(program, specimen.inputs, weighed, names)
        for lead, error in ((raising, ZeroDivisionError), (one_way, NoSlopesError)):
            with pytest.raises(error):
                parameter_slopes(program, specimen.inputs, lead)
            with pytest.raises(error):
                activation_slopes(program, specimen.inputs, lead, names)
        assert modes == (torch.is_inference_mode_enabled(), torch.is_grad_enabled())

    assert specimen.fingerprint() == specimen.born
    assert all(program.stored[name] is stored[name] for name in stored)


def test_the_words_of_a_smooth_program_are_the_same_storage() -> None:
    program = program_of(subject_of(resnet))

    smooth = smoothed(program, [*program.stored])

    for name, value in program.stored.items():
        assert smooth.stored[name].data_ptr() == value.data_ptr()
        assert smooth.stored[name] is not value


@pytest.mark.parametrize("build", [resnet, resnet_channels_last, rows, *HALVES])
def test_a_smooth_batch_norm_gives_the_same_values(build: Builder) -> None:
    program, leaves = program_of(subject_of(build)), build().inputs.leaves
    golden = program.answer(program.run(leaves).__getitem__)

    smooth = smoothed(program, [*program.stored])

    values = smooth.run(leaves)
    close = 0.05 if build in HALVES else 1e-4
    torch.testing.assert_close(
        smooth.answer(values.__getitem__), golden, rtol=close, atol=close
    )


def test_a_network_born_in_inference_mode_has_slopes() -> None:
    with torch.inference_mode():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten()).eval()
        inputs = Inputs((torch.randn(3, 2, 4, 4),), {})
        program = captured(network, inputs).program
        born = copy.deepcopy(network.state_dict())

        found = parameter_slopes(program, inputs, weighed)
        inside = activation_slopes(program, inputs, weighed, ["args_0", "conv2d"])

    plain, images = doubled(Specimen(network, inputs, {}))
    plain.requires_grad_()
    wanted = by_autograd(plain, images, weighed)
    assert_near(found["p_network_0_weight"], wanted["0.weight"], 1e-3)
    assert inside["conv2d"].shape == (3, 3, 2, 2)
    assert not any(
        slope.is_inference() for slope in (*found.values(), *inside.values())
    )
    assert same_leaves(network.state_dict(), born)


# --- No slopes -----------------------------------------------------------------------


@pytest.mark.parametrize("build", FALLING_BACK, ids=lambda build: build.__name__)
def test_a_network_on_the_slow_path_has_no_program(build: Builder) -> None:
    with pytest.raises(NoSlopesError, match="network must be captured for slopes"):
        program_of(subject_of(build))


def refused(program: Program, inputs: Inputs, lead: Lead, message: str) -> None:
    specimen_names = [*program.inputs, *program.by_name]
    for slopes in (
        functools.partial(parameter_slopes, program, inputs, lead),
        functools.partial(activation_slopes, program, inputs, lead, specimen_names),
    ):
        with pytest.raises(NoSlopesError, match=message) as caught:
            slopes()
        assert "\n" not in str(caught.value)


def test_an_operator_without_a_way_back_is_told_in_a_line() -> None:
    specimen, program = twice(), program_of(subject_of(twice))
    steps = [
        replace(step, op=Rounding.apply) if step.operator == "relu" else step
        for step in program.steps
    ]

    refused(
        replace(program, steps=tuple(steps)),
        specimen.inputs,
        weighed,
        "network must have gradients, got NotImplementedError: no way back",
    )
    assert specimen.fingerprint() == specimen.born


def test_an_operator_that_refuses_gradients_is_told_in_a_line() -> None:
    def unwilling(x: Tensor) -> Tensor:
        raise RuntimeError("only without gradients\nat all")

    program = program_of(subject_of(twice))
    steps = [
        replace(step, op=unwilling) if step.operator == "relu" else step
        for step in program.steps
    ]

    refused(
        replace(program, steps=tuple(steps)),
        twice().inputs,
        weighed,
        "network must have gradients, got RuntimeError: only without gradients",
    )


@pytest.mark.parametrize(
    ("lead", "message"),
    [
        (lambda output: weighed(output).detach(), "got a lead without any"),
        (lambda output: scores_of(output).argmax(1), "got a lead without any"),
        (lambda output: weighed(output).sum(), r"each of \d inputs, got shape \(\)"),
        (lambda output: scores_of(output), r"each of \d inputs, got shape"),
    ],
)
def test_a_lead_that_cannot_be_used_is_told_in_a_line(lead: Lead, message: str) -> None:
    refused(program_of(subject_of(twice)), twice().inputs, lead, message)


class Whole(nn.Module):
    """Whole numbers throughout."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.arange(12).view(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_network_of_whole_numbers_has_no_slopes() -> None:
    inputs = Inputs((torch.arange(8).view(2, 4),), {})
    program = captured(Whole().eval(), inputs).program

    refused(program, inputs, weighed, "network must have gradients")
    refused(program, inputs, lead_of(Top1Changed()), "must hold floating scores")


def test_unknown_names_list_the_known_ones() -> None:
    program, inputs = program_of(subject_of(twice)), twice().inputs

    with pytest.raises(ValueError, match=r"among \['p_network_head_bias',.*\['relu'\]"):
        parameter_slopes(program, inputs, weighed, ["p_network_head_bias", "relu"])
    with pytest.raises(ValueError, match=r"among \['args_0',.*\['p_network_head_bias'"):
        activation_slopes(program, inputs, weighed, ["p_network_head_bias", "relu"])


def test_an_input_without_a_lead_has_large_slopes_where_it_has_any() -> None:
    program, inputs = program_of(subject_of(twice)), twice().inputs

    def tied_on_the_first(output: Any) -> Tensor:
        leads = weighed(output)
        return torch.cat([(leads - leads.detach())[:1], leads[1:]])

    found = activation_slopes(program, inputs, tied_on_the_first, ["linear"])["linear"]

    usual = activation_slopes(program, inputs, weighed, ["linear"])["linear"]
    assert same_leaves(found[1:], usual[1:])
    assert usual[0].eq(0).any()
    assert found[0][usual[0] == 0].eq(0).all()
    assert found[0][usual[0] > 0].gt(1e12).all()
    assert found[0].isfinite().all()


def test_a_slope_beyond_float32_is_infinite() -> None:
    _, inputs, subject = doubled_subject(twice)

    def steep(output: Any) -> Tensor:
        leads = weighed(output)
        return 1 + 1e100 * (leads - leads.detach())

    found = parameter_slopes(subject.program, inputs, steep)
    inside = activation_slopes(subject.program, inputs, steep, ["linear_2"])

    assert found["p_network_head_bias"].isinf().all()
    assert inside["linear_2"].isinf().all()
    assert not any(slope.isnan().any() for slope in found.values())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_is_infinite(broken: float) -> None:
    specimen = another(twice)
    specimen.inputs.args[0][1, 2] = broken
    program = captured(specimen.network, specimen.inputs).program

    found = parameter_slopes(program, specimen.inputs, weighed)
    inside = activation_slopes(program, specimen.inputs, weighed, ["linear", "relu"])

    for slopes in (*found.values(), *inside.values()):
        assert not slopes.isnan().any()
    assert found["p_network_layer_weight"].isinf().any()
    assert inside["linear"][0].isfinite().all()


# --- Words alone ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4),
        torch.randn(7).half(),
        torch.randn(7).bfloat16(),
        torch.tensor([1e200, -3e200], dtype=torch.float64),
        torch.tensor([1e-200, -3e-200, 0], dtype=torch.float64),
        torch.tensor([1, -2, 127], dtype=torch.int8),
        torch.tensor([True, False]),
        torch.tensor(-0.5),
        torch.tensor([2.0, math.nan, -math.inf, 4.0]),
    ],
    ids=str,
)
def test_word_slopes_are_one_over_the_usual_size(tensor: Tensor) -> None:
    found = word_slopes(tensor)

    finite = [float(x) for x in tensor.flatten().tolist() if math.isfinite(x)]
    usual = math.hypot(*finite) / math.sqrt(len(finite))
    wanted = torch.full(tensor.shape, 1 / usual, dtype=torch.float64).float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(3), torch.tensor([math.nan]), torch.zeros(0), -torch.zeros(1)],
)
def test_words_without_a_size_have_slope_one(tensor: Tensor) -> None:
    assert same_leaves(word_slopes(tensor), torch.ones(tensor.shape))


def test_word_slopes_leave_a_parameter_alone() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    version = parameter._version

    found = word_slopes(parameter)

    assert not found.requires_grad
    assert parameter._version == version
    assert parameter.tolist() == [3, -4]
