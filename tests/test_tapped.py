"""Networks with taps: the same words, whatever reads or changes their values."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import networks
from monitor_support import captured, many_rows
from networks import CAPTURED, Builder
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import attention_by_parts, prepare
from stoic.network.subject import Inputs, same_leaves
from stoic.network.tapped import Tapped, tapped


class Whole(nn.Module):
    """What a tap or a head is given, as it is."""

    def forward(self, *values: Tensor) -> Any:
        return values[0] if len(values) == 1 else values


class Same(nn.Module):
    """All values that a head is given."""

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return values


class Zero(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


def with_taps(build: Builder) -> tuple[Tapped, list[str]]:
    """Return a specimen with a tap on every value that it computes."""
    subject = captured(build)
    names = [site.value for site in subject.sites if site.kind == "activation"]
    taps = [(name, Whole()) for name in names]
    return tapped(subject.program, taps, Same(), build().inputs), names


@pytest.mark.parametrize("build", CAPTURED, ids=lambda build: build.__name__)
@pytest.mark.parametrize("rows", [1, 7])
def test_output_and_values_have_the_words_of_the_network(
    build: Builder, rows: int
) -> None:
    network, names = with_taps(build)
    specimen = build()
    inputs = many_rows(specimen.inputs, rows)
    with torch.no_grad(), attention_by_parts():
        own = specimen.network(*inputs.args, **inputs.kwargs)
        values = captured(build).program.run(inputs.leaves)

        output, found = network(*inputs.args, **inputs.kwargs)

    assert same_leaves(output, own)
    assert type(output) is type(own)
    assert same_leaves(found, [values[name] for name in names])


def test_output_is_the_same_where_gradients_are_wanted() -> None:
    network, _ = with_taps(networks.vit)
    specimen = networks.vit()

    output, _ = network(*specimen.inputs.args)

    assert same_leaves(output, specimen.network(*specimen.inputs.args))
    assert output.requires_grad


def test_keyword_inputs_may_come_in_any_order() -> None:
    network, _ = with_taps(networks.bert)
    kwargs = dict(networks.bert().inputs.kwargs)
    turned = dict(reversed(kwargs.items()))

    assert list(kwargs) != list(turned)
    assert same_leaves(network(**turned), network(**kwargs))


def test_entries_of_an_input_may_come_in_any_order() -> None:
    network, _ = with_taps(networks.dlrm)
    (batch,) = networks.dlrm().inputs.args

    assert same_leaves(network(dict(reversed(batch.items()))), network(batch))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2), {}), ((), {"x": 1}), (({"dense": 1},), {})],
)
def test_inputs_of_another_structure_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    network, _ = with_taps(networks.dlrm)

    with pytest.raises(ValueError, match="as in the example") as caught:
        network(*args, **kwargs)

    assert "\n" not in str(caught.value)


def test_a_value_goes_through_a_module_before_anything_reads_it() -> None:
    subject, specimen = captured(networks.resnet), networks.resnet()
    last = next(site for site in subject.sites if site.name == "5:out")
    network = tapped(
        subject.program,
        [(last.value, Whole())],
        Same(),
        specimen.inputs,
        {last.value: Zero()},
    )

    output, (seen,) = network(*specimen.inputs.args)

    assert not seen.any()
    assert torch.equal(
        output, specimen.network.get_parameter("7.bias").expand_as(output)
    )


def test_it_shares_the_words_of_the_network_but_moves_alone() -> None:
    specimen = networks.another(networks.resnet)
    subject = prepare(specimen.network, specimen.inputs)
    assert isinstance(subject, CapturedSubject)
    network = tapped(subject.program, [], Same(), specimen.inputs)
    with torch.no_grad():
        specimen.network.get_parameter("7.bias")[0] = 5.0

    output, _ = network(*specimen.inputs.args)
    network.double()

    assert same_leaves(output, specimen.network(*specimen.inputs.args))
    assert all(p.dtype is torch.float32 for p in specimen.network.parameters())
    images = specimen.inputs.args[0].double()
    assert network(images)[0].dtype is torch.float64


def test_a_value_that_does_not_exist_is_refused() -> None:
    subject = captured(networks.resnet)

    with pytest.raises(KeyError, match="nowhere"):
        tapped(subject.program, [("nowhere", Whole())], Same(), Inputs((), {}))
