"""Bounds where a rule's own ground ends: they hold, or say that nothing is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensitivity_networks import captured
from sensitivity_support import ATEN, call_on
from stoic.network.certified.contract import Call
from stoic.network.program import Program
from stoic.sensitivity.condition import Condition, condition
from stoic.sensitivity.operators.contract import Crossing, Moved
from stoic.sensitivity.operators.linear import linear
from stoic.sensitivity.perturbation import Perturbation, WrongWords
from stoic.sensitivity.reach import wide

BENT = {
    "relu": lambda x: call_on(ATEN.relu.default, x),
    "abs": lambda x: call_on(ATEN.abs.default, x),
    "gelu": lambda x: call_on(ATEN.gelu.default, x),
    "clamp": lambda x: call_on(ATEN.clamp.default, x, 0.0, 1.0),
    "max pool": lambda x: call_on(ATEN.max_pool2d.default, x, [2, 2]),
}


def crossing_of(call: Call, x: Tensor) -> Crossing:
    moved = Moved.tightened(torch.full_like(x, 0.5), torch.ones(len(x)).double())
    return Crossing(call, (moved,), WrongWords(Perturbation()))


@pytest.mark.parametrize("name", BENT)
def test_what_bends_is_not_taken_for_linear(name: str) -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)

    assert linear(crossing_of(BENT[name](x), x)) is None
    assert linear(crossing_of(call_on(ATEN.neg.default, x), x)) is not None


class Rooted(nn.Module):
    """A root, which is infinitely steep at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.sqrt().sum(1, keepdim=True), x[:, :1] - x[:, 1:]], 1)


def bounds_of(network: nn.Module, x: Tensor, what: Perturbation) -> Condition:
    program = captured(network.eval(), x).program
    (scores,) = program.output_names
    return condition(program, [x], scores, what)


def test_an_infinite_slope_gives_no_statement_for_its_input_alone() -> None:
    x = torch.tensor([[0.0, 1.0], [4.0, 9.0], [1.0, 0.0]])

    found = bounds_of(Rooted(), x, Perturbation(radius=1e-6))

    for each in (found.linearised, found.certified, found.local, found.average):
        assert each.isposinf().tolist() == [True, False, True]
    slopes = torch.tensor([[0.25, 1 / 6], [1.0, -1.0]], dtype=torch.float64)
    there = torch.linalg.matrix_norm(slopes, 2) * found.perturbed[1]
    assert found.certified[1].item() == pytest.approx(there.item(), rel=1e-3)


class Hiding(nn.Module):
    """Attention of three tokens over two, the last of which a mask puts far down."""

    keys: Tensor
    mask: Tensor
    shown: Tensor

    def __init__(self, mask: Tensor, steep: float) -> None:
        super().__init__()
        self.steep = steep
        self.register_buffer("mask", mask)
        self.register_buffer("keys", torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        self.register_buffer("shown", torch.tensor([[0.0, 1.0], [50.0, -70.0]]))

    def hides(self, x: Tensor) -> Tensor:
        return self.mask

    def forward(self, x: Tensor) -> Tensor:
        keys, shown = (each + 0 * x[:, None, :2] for each in (self.keys, self.shown))
        y = F.scaled_dot_product_attention(
            self.steep * x[:, None], keys, shown, attn_mask=self.hides(x)
        )
        return y.flatten(1)


class HidingByInput(Hiding):
    """The same, by numbers that hang on the input."""

    def hides(self, x: Tensor) -> Tensor:
        return torch.cat([0 * x[:, :1, :1], -2e9 * x[:, :1, :1]], 2)[:, None]


def most_moved(program: Program, x: Tensor, perturbed: Tensor) -> Tensor:
    """How far scores move, at most, along some directions of that size."""
    exact, (scores,) = wide(program), program.output_names
    golden = exact.run([x.double()])[scores]
    torch.manual_seed(0)
    furthest = torch.zeros(len(x), dtype=torch.float64)
    for turn in range(40):
        noise = torch.randn_like(x.double())
        noise = noise.sign() if turn % 2 else noise
        size = perturbed / noise.flatten(1).norm(dim=1)
        moved = exact.run([x.double() + noise * size[:, None, None]])[scores]
        furthest = torch.maximum(furthest, (moved - golden).flatten(1).norm(dim=1))
    return furthest


FAR = torch.tensor([[0.0, -2e9]])
MASKED: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "scores that come up": (lambda: Hiding(FAR, 1e10), 0.5),
    "scores that stay": (lambda: Hiding(FAR, 1.0), 0.5),
    "a row all of which is hidden": (
        lambda: Hiding(torch.tensor([[0.0, -2e9], [-2e9, -2e9], [0.0, 0.0]]), 1.0),
        1e-3,
    ),
    "a mask that moves": (lambda: HidingByInput(FAR, 1.0), 1.5),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_a_mask_hides_may_come_up(name: str) -> None:
    make, radius = MASKED[name]
    torch.manual_seed(1)
    x = torch.randn(4, 3, 2) * 0.1 + 1.0
    program = captured(make().eval(), x).program
    (scores,) = program.output_names

    found = condition(program, [x], scores, Perturbation(radius=radius))

    golden = wide(program).run([x.double()])[scores]
    assert torch.allclose(found.scores, golden.norm(dim=1))
    furthest = most_moved(program, x, found.perturbed)
    assert (furthest <= found.certified).all()
    if name == "scores that come up":
        assert (furthest > 10).all()
    if name == "scores that stay":
        assert (found.certified < 100).all()


def test_wrong_words_of_a_mask_are_followed() -> None:
    x = torch.ones(2, 3, 2)
    program = captured(Hiding(FAR, 1.0).eval(), x).program
    (scores,) = program.output_names
    mask = next(name for name in program.stored if "mask" in name)

    for step, moves in ((3e9, True), (1e-3, False)):
        what = Perturbation(stored_steps={mask: step})
        found = condition(program, [x], scores, what)
        exact = wide(program)
        golden = exact.run([x.double()])[scores]
        exact.stored[mask].add_(torch.tensor([[-step, step]]))
        change = (exact.run([x.double()])[scores] - golden).norm(dim=1)
        assert bool((change > 1).all()) == moves
        assert (change <= found.certified).all()
