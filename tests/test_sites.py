"""Sites: what a fault can hit, by a name that a user recognises, every word once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import (
    ZOO,
    Builder,
    another,
    assorted,
    bert,
    branching,
    centred,
    constants,
    counting,
    densenet,
    dlrm,
    encoder,
    fixed,
    gru,
    lstm,
    quantised,
    resnet,
    subject_of,
    tied,
    twice,
    vgg,
    vit,
    weight_norm,
)
from stoic.faults.formats import format_of
from stoic.faults.space import fault_space
from stoic.network.captured import CapturedSubject
from stoic.network.golden import Golden
from stoic.network.patch import same_words
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.subject import Inputs

# Those of the zoo whose sites differ in kind; the others are tried by replay.
SOME = (resnet, vit, encoder, lstm, gru, dlrm, tied, twice, weight_norm, quantised)
MORE = (*SOME, counting, centred, constants, assorted, branching, fixed)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Kernels this small spend their time on waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sites_of(build: Builder) -> dict[str, Site]:
    return {site.name: site for site in subject_of(build).sites}


def left_out(build: Builder) -> dict[str, str]:
    return {left.name: left.reason for left in subject_of(build).left_out}


@torch.inference_mode()
def golden_of(build: Builder) -> Golden:
    subject = subject_of(build)
    assert isinstance(subject, CapturedSubject), subject.reason
    return Golden(subject.program, build().inputs.leaves, subject.rows)


@pytest.mark.parametrize("build", MORE, ids=lambda build: build.__name__)
def test_names_are_unique_and_in_order_of_depth(build: Builder) -> None:
    sites, left = subject_of(build).sites, subject_of(build).left_out

    names = Counter([site.name for site in sites] + [each.name for each in left])
    assert [name for name, count in names.items() if count > 1] == []
    orders = [site.order for site in sites]
    assert orders == sorted(orders)


@pytest.mark.parametrize("build", (vit, lstm, branching), ids=lambda b: b.__name__)
def test_names_are_the_same_in_another_copy(build: Builder) -> None:
    copy = another(build)

    again = prepare(copy.network, copy.inputs)

    assert again.sites == subject_of(build).sites
    assert again.left_out == subject_of(build).left_out


@pytest.mark.parametrize("build", MORE, ids=lambda build: build.__name__)
def test_stored_tensors_are_called_as_the_network_calls_them(build: Builder) -> None:
    network = build().network
    parameters = dict(network.named_parameters(remove_duplicate=False))
    buffers = dict(network.named_buffers(remove_duplicate=False))

    for site in subject_of(build).sites:
        if site.kind in ("parameter", "buffer"):
            own = (parameters if site.kind == "parameter" else buffers)[site.name]
            assert (site.shape, site.dtype) == (tuple(own.shape), own.dtype)
            assert site.component == site.name.rpartition(".")[0]
            assert not site.per_input
            named = {**parameters, **buffers}
            assert all(named[alias] is own for alias in site.aliases)


@pytest.mark.parametrize("build", MORE, ids=lambda build: build.__name__)
def test_every_stored_tensor_is_a_site_or_left_out(build: Builder) -> None:
    network, left = build().network, left_out(build)
    names = {n for site in subject_of(build).sites for n in (site.name, *site.aliases)}

    for name, _ in (*network.named_parameters(), *network.named_buffers()):
        assert (name in names) != (name in left), name


@pytest.mark.parametrize("build", SOME, ids=lambda build: build.__name__)
def test_each_storage_is_one_site_and_every_value_is_one_or_left_out(
    build: Builder,
) -> None:
    golden = golden_of(build)
    subject = subject_of(build)

    owners = Counter(
        golden(site.value).untyped_storage().data_ptr() for site in subject.sites
    )
    # An input given twice would be the user's doing; here no storage is shared.
    assert set(owners.values()) == {1}
    tensors = [s for s in golden.program.steps if isinstance(golden(s.name), Tensor)]
    computed = [site for site in subject.sites if site.kind == "activation"]
    left = [each for each in subject.left_out if ":" in each.name]
    merged = sum(
        golden.program.by_name[s.value].name != _own(s, golden) for s in computed
    )
    assert len(computed) + len(left) + merged >= len(tensors)


def _own(site: Site, golden: Golden) -> str:
    """The first value in the storage that a site shows."""
    place = golden(site.value).untyped_storage().data_ptr()
    same = (
        step.name
        for step in golden.program.steps
        if isinstance(golden(step.name), Tensor)
        and golden(step.name).untyped_storage().data_ptr() == place
    )
    return next(same)


@pytest.mark.parametrize("build", SOME, ids=lambda build: build.__name__)
def test_rows_and_shapes_hold_for_any_number_of_inputs(build: Builder) -> None:
    golden = golden_of(build)

    for site in subject_of(build).sites:
        shape = list(golden(site.value).shape)
        if site.rows is not None:
            assert shape.pop(site.rows) == build().inputs.count
        assert tuple(shape) == site.shape
        assert format_of(site.dtype) is not None
        assert golden(site.value).dtype == site.dtype


@pytest.mark.parametrize("build", (resnet, vit, lstm, dlrm), ids=lambda b: b.__name__)
@torch.inference_mode()
def test_a_row_is_the_value_of_its_input_alone(build: Builder) -> None:
    golden, subject = golden_of(build), subject_of(build)
    assert isinstance(subject, CapturedSubject)
    inputs = build().inputs

    for row in range(inputs.count):
        alone = Golden(subject.program, inputs.rows(row, row + 1).leaves, subject.rows)
        for site in subject.sites:
            if site.rows is None:
                assert_near(alone(site.value), golden(site.value))
            else:
                own = golden(site.value).select(site.rows, row)
                assert_near(alone(site.value).select(site.rows, 0), own)


def assert_near(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    (resnet, vgg, vit, encoder, lstm, gru, twice, dlrm),
    ids=lambda b: b.__name__,
)
@torch.inference_mode()
def test_what_a_module_returns_is_called_out(build: Builder) -> None:
    specimen, golden = build(), golden_of(build)
    returned: dict[str, Any] = {}
    calls: Counter[str] = Counter()

    def watch(path: str, module: nn.Module) -> Any:
        def hook(_: Any, __: Any, value: Any) -> None:
            number = f"@{calls[path]}" if calls[path] else ""
            calls[path] += 1
            kept = value.clone() if isinstance(value, Tensor) else value
            returned[f"{path}{number}:out"] = kept

        return module.register_forward_hook(hook)

    with ExitStack() as hooks:
        for path, module in specimen.network.named_modules():
            hooks.callback(watch(path, module).remove)
        specimen.network(*specimen.inputs.args, **specimen.inputs.kwargs)

    found = [site for site in subject_of(build).sites if site.name.endswith(":out")]
    assert found
    for site in found:
        own = returned[site.name]
        first = own if isinstance(own, Tensor) else own[0]
        if build is encoder:
            # The network itself takes the fused path here, with other last bits.
            assert_near(golden(site.value), first)
        else:
            assert same_words(golden(site.value), first)


def test_names_are_recognised() -> None:
    names = sites_of(resnet)

    assert {
        "0.weight",
        "1.running_mean",
        "1.running_var",
        "4.conv2.weight",
        "4.conv2:out",
        "4.downsample.0:out",
        "4:add",
        "input.0",
    } <= names.keys()
    assert names["4.conv2:out"].component == "4.conv2"
    assert names["4:add"].component == "4"
    assert names["4:add"].kind == "activation"


def test_batch_norm_statistics_are_sites_and_its_counter_is_not() -> None:
    kinds = {name: site.kind for name, site in sites_of(resnet).items()}
    left = left_out(resnet)

    assert kinds["1.running_var"] == "buffer"
    assert kinds["1.weight"] == "parameter"
    assert left["1.num_batches_tracked"] == "the output does not depend on it"


def test_a_counter_that_no_output_reads_is_left_out() -> None:
    assert "calls" not in sites_of(counting)
    assert left_out(counting)["calls"] == "the output does not depend on it"
    assert left_out(constants)["dead"] == "the output does not depend on it"


def test_tied_parameters_are_one_site_by_their_first_name() -> None:
    sites = sites_of(tied)

    assert sites["embed.weight"].aliases == ("head.weight",)
    assert "head.weight" not in sites


def test_second_calls_are_told_apart() -> None:
    sites = sites_of(twice)

    assert sites["layer:out"].value != sites["layer@1:out"].value
    assert sites["layer:out"].component == sites["layer@1:out"].component == "layer"
    assert sites["layer:out"].order < sites["layer@1:out"].order


def test_views_and_shape_values_are_listed_with_their_reason() -> None:
    left = left_out(vit)

    assert left[":transpose"] == "view of patches:out"
    assert left[":expand"] == "view of token"
    assert left["attention:transpose"] == "view of norm1:out"
    assert left_out(constants)[":arange"] == "made from shapes alone"
    assert left_out(gru)[":transpose"] == "view of input.0"
    assert left_out(gru)["rnn:zeros"] == "made from shapes alone"


def test_inputs_lie_where_the_layer_puts_them() -> None:
    first, last = sites_of(lstm), sites_of(gru)

    # Outputs by time along dimension 1, and the last hidden state by layer.
    assert (first["rnn:out"].rows, first["rnn:out"].shape) == (0, (5, 10))
    assert (first["rnn:out#1"].rows, first["rnn:out#1"].shape) == (1, (4, 5))
    assert (last["rnn:out"].rows, last["rnn:out"].shape) == (1, (5, 5))
    assert (last["rnn:out#1"].rows, last["rnn:out#1"].shape) == (1, (2, 5))


def test_values_of_all_inputs_together_have_no_rows() -> None:
    sites = sites_of(centred)

    assert (sites[":mean"].rows, sites[":mean"].shape) == (None, (5,))
    # Rows that depend on each other can still be told apart.
    assert (sites[":sub"].rows, sites[":sub"].shape) == (0, (5,))


class _Merged(nn.Module):
    """Rows of inputs and of tokens in one dimension, with and without a way back."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 4)
        back = torch.mm(flat, self.mix.weight).view(x.shape)
        lost = torch.relu(flat) + torch.sigmoid(flat)
        return back + lost.view(x.shape).sum(1, keepdim=True)


def test_inputs_merged_with_tokens_are_seen_through_a_view_or_left_out() -> None:
    network, inputs = _Merged().eval(), Inputs((torch.randn(4, 3, 4),), {})

    subject = prepare(network, inputs)

    sites = {site.name: site for site in subject.sites}
    left = {each.name: each.reason for each in subject.left_out}
    assert (sites[":mm"].rows, sites[":mm"].shape) == (0, (3, 4))
    assert (sites[":add"].rows, sites[":add"].shape) == (0, (3, 4))
    assert left[":relu"] == left[":sigmoid"] == "the inputs lie merged in it"


def test_results_of_one_call_are_numbered() -> None:
    sites = sites_of(assorted)

    assert sites[":sort"].dtype == torch.float32
    assert sites[":sort#1"].dtype == torch.int64


def test_inputs_are_named_by_place_keyword_and_key() -> None:
    assert {"input.0.dense", "input.0.ids", "input.0.many"} <= sites_of(dlrm).keys()
    assert sites_of(dlrm)["input.0.dense"].kind == "input"
    assert sites_of(dlrm)["input.0.dense"].order == -1


def test_sites_of_a_network_not_captured_are_its_tensors_and_module_outputs() -> None:
    sites = sites_of(branching)

    assert {
        "first.weight",
        "norm.running_var",
        "first:out",
        "second:out",
    } <= sites.keys()
    assert "norm.num_batches_tracked" not in sites
    assert (sites["first:out"].rows, sites["first:out"].shape) == (0, (5,))


class _Wave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.fft.fft(x).abs())
        return out


def test_values_without_words_are_left_out() -> None:
    subject = prepare(_Wave().eval(), Inputs((torch.randn(3, 4),), {}))

    left = {each.name: each.reason for each in subject.left_out}
    assert any("complex64" in reason for reason in left.values())
    assert {"head.weight", ":abs"} <= {site.name for site in subject.sites}


class _Passing(nn.Module):
    """Returns an input as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(x), y


def test_an_input_that_is_an_output_is_a_site_and_an_unread_one_is_not() -> None:
    inputs = Inputs((torch.randn(3, 4), torch.randn(3, 2), torch.randn(3, 2)), {})

    subject = prepare(_Passing().eval(), inputs)

    names = [site.name for site in subject.sites if site.kind == "input"]
    assert names == ["input.0", "input.1"]


def test_the_zoo_is_as_it_was() -> None:
    for build in set(MORE) & set(ZOO):
        specimen = build()
        assert specimen.fingerprint() == specimen.born


@pytest.mark.parametrize(
    "build",
    [densenet, bert, dlrm, quantised],
    ids=lambda b: b.__name__,
)
def test_the_slow_path_has_the_faults_of_the_captured_one(build: Builder) -> None:
    specimen = build()
    kinds = ("parameter", "buffer", "input")

    def faults(captured: bool) -> list[tuple[object, ...]]:
        subject = prepare(specimen.network, specimen.inputs, captured=captured)
        sites = [site for site in subject.sites if site.kind in kinds]
        space = fault_space(sites, inputs=specimen.inputs.count)
        drawn = random.Random(0).sample(range(space.size), 200)
        chosen = map(space.fault, drawn)
        return [(f.site.name, f.element, f.input, f.corruption) for f in chosen]

    assert faults(True) == faults(False)
    assert specimen.fingerprint() == specimen.born
