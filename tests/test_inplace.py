"""Writing over what nobody else sees: the words and the inputs stay as they were."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import networks
from monitor_support import captured, many_rows, monitor_of
from networks import Builder
from stoic.monitors.guarded import Guarded, Plan
from stoic.network.captured import CapturedSubject
from stoic.network.inplace import overwriting
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs, same_leaves

relu = functional.relu


class Made(nn.Module):
    """A few layers, and what a function makes of them."""

    def __init__(self, made: Callable[[Any, Tensor], object]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.thin, self.norm = nn.Conv2d(3, 1, 1), nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.randn(4, 1, 1))
        self._made = made

    def forward(self, x: Tensor) -> object:
        return self._made(self, x)


def both(n: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    value = n.first(x)
    return value, relu(value)


def twice(n: Any, x: Tensor) -> object:
    value = n.first(x)
    return relu(value) * value


SAFE: dict[str, tuple[Callable[..., object], list[str]]] = {
    "after a convolution": (lambda n, x: relu(n.first(x)), ["relu_"]),
    "after a norm": (lambda n, x: relu(n.norm(n.first(x))), ["relu_"]),
    "a sum and what follows": (
        lambda n, x: relu(n.first(x) + n.norm(n.second(x))),
        ["add_", "relu_"],
    ),
    "sums of sums": (
        lambda n, x: n.first(x) + relu(n.first(x) + n.second(x)),
        ["add_", "add_", "relu_"],
    ),
}
UNSAFE: dict[str, tuple[Callable[..., object], list[str]]] = {
    "an input": (lambda n, x: relu(x), []),
    "a view of an input": (lambda n, x: relu(x.flatten(1)), []),
    "a view of a value": (lambda n, x: relu(n.first(x).flatten(1)), []),
    "a parameter": (lambda n, x: n.first(x) * relu(n.scale), []),
    "a value read again": (twice, []),
    "a value returned": (both, []),
    "a value added to itself": (lambda n, x: (lambda y: y + y)(n.first(x)), []),
    "a sum that grows": (lambda n, x: n.thin(x) + n.first(x), []),
    # Under autocast the sum is wider than the convolution.
    "a sum with an input": (lambda n, x: n.thin(x) + x[:, :1], []),
}


def subject_of(network: nn.Module, images: Tensor) -> CapturedSubject:
    subject = prepare(network.eval(), Inputs((images,), {}))
    assert isinstance(subject, CapturedSubject)
    return subject


@pytest.mark.parametrize("name", [*SAFE, *UNSAFE])
def test_only_what_nobody_else_sees_is_written_over(name: str) -> None:
    torch.manual_seed(0)
    made, wanted = (SAFE | UNSAFE)[name]
    subject = subject_of(Made(made), torch.randn(2, 3, 5, 5))

    found = overwriting(subject, [])

    assert sorted(op.__name__.partition(".")[0] for op in found.values()) == wanted


def test_a_value_that_is_watched_is_kept() -> None:
    subject = subject_of(Made(SAFE["after a norm"][0]), torch.randn(2, 3, 5, 5))
    (step,) = overwriting(subject, [])
    (source,) = subject.program.by_name[step].inputs

    assert overwriting(subject, [source]) == {}


@pytest.mark.parametrize(
    "build", [networks.resnet, networks.resnet_channels_last, networks.mobilenet]
)
@pytest.mark.parametrize("autocast", [False, True])
def test_outputs_have_the_words_of_functional_steps(
    build: Builder, autocast: bool
) -> None:
    plan = Plan.of(captured(build), build().inputs, monitor_of(build))
    inputs = many_rows(build().inputs, 9)
    given = [leaf.clone() for leaf in inputs.leaves]

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = Guarded(plan)(*inputs.args)
        wanted = Guarded(plan, portable=True)(*inputs.args)

    assert overwriting(plan.subject, [])
    assert same_leaves(found, wanted)
    assert same_leaves(list(inputs.leaves), given)
    assert build().fingerprint() == build().born


def test_gradients_pass_through_what_is_written_over() -> None:
    build = networks.resnet
    plan = Plan.of(captured(build), build().inputs, monitor_of(build))
    gradients = []
    for portable in (False, True):
        images = build().inputs.leaves[0].clone().requires_grad_()
        Guarded(plan, portable=portable)(images)[0].sum().backward()
        gradients.append(images.grad)

    assert gradients[0] is not None and torch.equal(*gradients)
