"""What steps add, as gradients weigh it: against sums written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sensitivity_networks import made
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.sensitivity.amounts import Amounts, Sums, Weights
from stoic.sensitivity.condition import condition, conditions
from stoic.sensitivity.linear import stencilled
from stoic.sensitivity.norms import norm, upper_norm
from stoic.sensitivity.operators.contract import Alone
from stoic.sensitivity.operators.lengths import length
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import reached
from stoic.sensitivity.stencil import Stencil


def weighed(gradient: Tensor, amounts: Amounts) -> tuple[Tensor, Tensor]:
    """How far outputs with these gradients may rise, and fall; in two parts."""
    ways = [Weights(part) for part in (gradient[:1], gradient[1:]) if len(part)]
    top = torch.stack([way.top for way in ways]).amax(0)
    return Sums.joined([way.of(amounts) for way in ways]).bounds(amounts, top)


@pytest.mark.parametrize("name", ["stacked", "branching", "attending"])
def test_questions_asked_together_are_answered_as_each_by_itself(name: str) -> None:
    program, x, scores = made(name)
    steps = {word: 1e-3 for word in program.stored}
    asked = [
        *(Perturbation(radius=radius) for radius in (1e-6, 1e-2)),
        *(Perturbation(stored=1e-4), Perturbation.of_format(torch.bfloat16)),
        Perturbation(radius=1e-3, norm=math.inf, stored_steps=steps),
        Perturbation(value_steps={scores: 0.1, program.steps[-2].name: 0.01}),
    ]

    together = conditions(program, [x], scores, asked)

    for one, each in zip(together, asked, strict=True):
        alone = condition(program, [x], scores, each)
        for name in ("product", "interval", "linearised", "local", "average"):
            found, wanted = getattr(one, name), getattr(alone, name)
            assert torch.allclose(found, wanted, rtol=1e-4), name


@pytest.mark.parametrize("size", [1e-44, 1e-25, 1.0, 1e30])
def test_lengths_of_float32_are_those_of_float64_rounded_up(size: float) -> None:
    torch.manual_seed(0)
    for shape in ((3, 2), (3, 2, 5000), (3, 2, 4, 9, 9), (3, 2, 3, 70, 70)):
        most = (torch.rand(shape) * size).float()
        most[0] = 0.0

        found = length(most)

        exact = most.double().reshape(3, 2, -1).norm(dim=2)
        assert (found >= exact).all()
        assert torch.allclose(found, exact, rtol=1e-3, atol=0.0)


def test_sums_are_those_of_float64_rounded_up() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(3, 2, 5, 4, 4)
    most = [torch.rand(2, 5, 4, 4).double() * 10.0**k for k in (-30, 0, 30)]
    exact, amounts = gradient.double(), torch.stack(most)

    both, _ = weighed(gradient, Amounts.of("step", torch.stack(most)))
    rise, fall = weighed(gradient, Amounts.of("step", torch.stack(most), convex=True))

    size = (exact.abs() * amounts[:, None]).flatten(3).sum(3)
    up = (exact.clamp(min=0) * amounts[:, None]).flatten(3).sum(3)
    for found, wanted in ((both, size), (rise, up), (fall, size - up)):
        assert (found >= wanted).all()
        assert torch.allclose(found, wanted, rtol=1e-3)


def test_norms_bound_where_elements_say_less() -> None:
    torch.manual_seed(1)
    gradient, off = torch.randn(3, 2, 6), torch.rand(2, 6).double() * 100
    off[:, ::2] = 0.0
    norm_of_all = torch.ones(2, dtype=torch.float64)
    amounts = Amounts.of("step", off[None], convex=True).bounded(norm_of_all[None])

    rise, fall = weighed(gradient, amounts)

    exact = gradient.double() * (off > 0)
    wanted = exact.clamp(min=0).norm(dim=2)
    assert (rise[0] >= wanted).all()
    assert torch.allclose(rise[0], wanted, atol=0.02)
    wanted = exact.clamp(max=0).norm(dim=2)
    assert (fall[0] >= wanted).all()
    assert torch.allclose(fall[0], wanted, atol=0.02)


def test_what_is_carried_on_weighs_as_it_did() -> None:
    torch.manual_seed(2)
    weights, later = torch.randn(2, 8), torch.randn(3, 2, 4)
    alone = Alone(
        weights,
        lambda value, numbers: (value * numbers).unflatten(-1, (4, 2)).sum(-1),
        lambda result: result.repeat_interleave(2, -1),
    )
    amounts = Amounts.of("step", torch.rand(1, 2, 8).double(), convex=True)
    amounts = amounts.bounded(torch.full((1, 2), 0.3, dtype=torch.float64))

    before = weighed(alone.spread(later) * weights, amounts)
    after = weighed(later, amounts.through(alone))

    for one, other in zip(before, after, strict=True):
        # Where signs change, norms are those of both directions.
        assert (other >= one * (1 - 1e-4)).all()
        assert (other <= one * 3).all()
    plain = Amounts.of("step", torch.rand(1, 2, 8).double())
    one, _ = weighed(alone.spread(later) * weights, plain)
    other, _ = weighed(later, plain.through(alone))
    assert torch.allclose(one, other, rtol=1e-4)


def test_squares_that_float32_has_no_numbers_for_are_not_taken_for_nothing() -> None:
    """A gradient of 1e-23 behind a step that multiplies by 1e10 is 1e-13, not 0."""
    amounts = Amounts.of("step", torch.ones(1, 1, 8), convex=True)
    amounts = amounts.bounded(torch.full((1, 1), 0.5, dtype=torch.float64))

    rise, _ = weighed(
        torch.full((1, 1, 8), 1e-23), amounts.through(Alone(torch.full((1, 8), 1e10)))
    )

    assert rise.item() >= 0.5 * 8**0.5 * 1e-13


def test_sums_are_of_float64_where_products_of_float32_are_not_plain() -> None:
    gradient, amounts = torch.rand(3, 2, 5), Amounts.of("step", torch.rand(1, 2, 5))
    assert Weights(gradient, plain=False).of(amounts).both.dtype is torch.float64


def test_what_is_infinite_stays_so_and_spoils_nothing_else() -> None:
    gradient = torch.ones(1, 2, 3)
    off = torch.ones(2, 3, dtype=torch.float64)
    off[0, 1] = torch.inf

    found, _ = weighed(gradient, Amounts.of("step", off[None]))

    assert found[0, 0, 0] == torch.inf
    assert 3 <= found[0, 0, 1] < 3.001


class Pooled(nn.Module):
    """A maximum of windows, with a row and a column that are in none."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2, self.stride)


def test_maxima_of_ties_bend_as_far_as_corners_do_and_only_upwards() -> None:
    torch.manual_seed(3)
    x = torch.randint(0, 3, (4, 2, 5, 5)).float()
    x[0] = 1.0
    subject = prepare(Pooled().eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program
    (name,) = program.output_names
    reach = reached(program, [x], Perturbation(radius=0.3))
    passed, (given,) = reach.passed[name], reach.given.values()
    alone, golden = passed.turn.alone, reach.values[name]
    assert alone is not None and passed.turn.bend is not None
    largest = torch.zeros_like(golden)

    for turn in range(400):
        d = (torch.rand_like(given.most) * 2 - 1) * given.most
        d = d if turn % 2 else d.sign() * given.most
        moved = nn.functional.max_pool2d(x.double() + d, 2)
        bend = moved - golden - alone.sums(d, alone.weights)
        assert (bend >= -1e-6).all()
        assert (bend <= passed.turn.bend + 1e-6).all()
        assert ((moved - golden).abs() <= passed.turn.most + 1e-9).all()
        largest = torch.maximum(largest, bend)

    assert (largest > 0.6 * passed.turn.bend).all()


@pytest.mark.parametrize("stride", [2, 3])
def test_winner_and_rival_of_a_maximum_may_move_apart(stride: int) -> None:
    """Both by a half of the square: what is bent by is sqrt(2) times the norm."""
    x = torch.tensor([1.0, 1 - 2.0**-20, -9.0, -9.0]).reshape(1, 1, 2, 2)
    subject = prepare(Pooled(stride).eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    (name,) = subject.program.output_names
    reach = reached(subject.program, [x], Perturbation(radius=2.0**-9))
    (given,) = reach.given.values()
    by = torch.tensor([-1.0, 1.0, 0.0, 0.0]).reshape(x.shape).double()
    d = by * given.norm / 2**0.5

    moved = nn.functional.max_pool2d(x.double() + d, 2, stride)

    bend = moved - reach.values[name] - d[:, :, :1, :1]
    assert (reach.passed[name].turn.bend_norm >= bend.flatten()).all()


def test_upper_bounds_alone_hold_and_are_close_to_brackets() -> None:
    torch.manual_seed(4)
    for size, channels, stride in ((4, 8, 1), (9, 20, 1), (12, 60, 2), (7, 64, 1)):
        weight = torch.randn(channels, channels // 2, 3, 3, dtype=torch.float64)
        out = (size - 1) // stride + 1
        stencil = Stencil(
            *(weight, 1, (size, size), (out, out)), (stride,) * 2, (1, 1), (1, 1)
        )
        linear = stencilled(stencil)

        upper = upper_norm(linear, {})

        bracket = norm(linear, 2)
        assert bracket.lower <= upper < bracket.upper * 1.05
