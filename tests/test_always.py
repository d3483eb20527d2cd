"""Bounds that hold however far values move: reached by some, and passed by none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import stoic
from sensitivity_networks import captured
from sensitivity_support import ATEN, call_on
from stoic.network.certified.contract import Call
from stoic.network.program import Ref, Step
from stoic.predicting import PredictSettings
from stoic.sensitivity.condition import Condition, condition
from stoic.sensitivity.operators import turn_of
from stoic.sensitivity.operators.always import Always
from stoic.sensitivity.operators.contract import Crossing, Moved, Turn, two_norm
from stoic.sensitivity.perturbation import Perturbation, WrongWords
from stoic.sensitivity.reach import reached, wide


def ball(value: Tensor, norm: float) -> Moved:
    """All moves of that 2-norm."""
    norms = torch.full((len(value),), norm, dtype=torch.float64)
    return Moved(torch.full_like(value, norm), norms)


def turn_at(call: Call, *moved: Moved) -> Turn:
    turn = turn_of(Crossing(call, moved, WrongWords(Perturbation())))
    assert turn is not None
    return turn


def length_of(turn: Turn, *moved: Moved) -> float:
    return turn.stretch(*(each.norm for each in moved)).item()


@pytest.mark.parametrize("share", [1e-6, 0.3, 0.999, 2.0])
def test_a_normalised_row_turns_by_the_widest_angle_that_there_is(share: float) -> None:
    row = torch.tensor([[[3.0, -1.0, -2.0, 0.0]]]).double()
    aside = torch.tensor([[[1.0, 1.0, 1.0, -3.0]]]).double()
    call = call_on(ATEN.layer_norm.default, row, [4], None, None, 1e-12)
    moved = ball(row, share * row.norm().item())

    # To where the way there is a tangent of the ball, or right through the middle.
    aim = row * (1 - share**2) + aside * (
        share * (1 - min(share, 1) ** 2) ** 0.5 * row.norm() / aside.norm()
    )
    there = -row if share > 1 else aim
    change = call.step.op(there, *call.step.args[1:]) - call.result

    assert (there - row).norm() <= moved.norm * (1 + 1e-9)
    assert change.norm().item() == pytest.approx(
        length_of(turn_at(call, moved), moved), rel=1e-6
    )


def test_no_row_is_longer_than_its_root_and_no_element_than_it_can_be() -> None:
    row = torch.tensor([[[1.0, -1.0, 0.5, -0.5]]]).double()
    gamma = torch.tensor([1.0, 2.0, -3.0, 0.5]).double()
    call = call_on(ATEN.layer_norm.default, row, [4], gamma, None, 1e-12)
    moved = ball(row, 1e9)
    turn = turn_at(call, moved)
    torch.manual_seed(0)

    far = torch.randn(4000, 1, 4, dtype=torch.float64) * 1e3
    far[:4, 0] = torch.eye(4) * 1e5 * -call.result.sign()[0, 0]
    change = call.step.op(far, [4], gamma, None, 1e-12) - call.result

    assert (change.abs() <= turn.most).all()
    assert (change.abs().amax(0) > turn.most * 0.999).any()
    assert change.flatten(1).norm(dim=1).max() <= length_of(turn, moved)
    assert turn.bend.isfinite().all()  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1e-9, 0.5, 30.0])
def test_two_shares_move_as_far_as_is_said(size: float) -> None:
    scores = torch.tensor([[[2.0, -1.0]]]).double()
    call = call_on(ATEN.softmax.int, scores, -1)
    most = torch.full_like(scores, size)
    moved = Moved(most, two_norm(most))
    apart = torch.tensor([[[-size, size]]]).double()

    change = torch.softmax(scores + apart, -1) - call.result

    assert torch.allclose(change.abs(), turn_at(call, moved).most, rtol=1e-6)


def test_rows_of_shares_are_no_further_apart_than_corners() -> None:
    network = captured(nn.Softmax(-1), torch.randn(2, 3, 2)).program
    x = torch.tensor([[[60.0, 0.0], [0.0, 60.0], [60.0, 0.0]]])

    reach = reached(network, [x], Perturbation(radius=50.0))
    change = (torch.softmax(-x, -1) - torch.softmax(x, -1)).norm()

    assert reach.moved(network.outputs[0].name).norm.item() == pytest.approx(
        change.item(), rel=1e-6
    )
    assert reach.moved(network.outputs[0].name).most.max() <= 1.000001


def test_means_of_rows_move_by_what_rows_differ_in_alone() -> None:
    weights = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]).double()
    rows = torch.tensor([[[1e6, 5.0], [1e6 + 1, 9.0]]]).double()
    step = Step("y", ATEN.matmul.default, (Ref("a"), Ref("b")), {}, "", True, 0)
    values = {"a": weights, "b": rows, "y": weights @ rows}
    call = Call(step, values.__getitem__, set())
    shares = Moved(torch.ones_like(weights), torch.full((1,), 2.0).double())
    shares = shares.within(Always(0.0, 1.0, 1e-16), weights)
    still = ball(rows, 0.0)

    turn = turn_at(call, shares, still)
    change = weights.flip(1) @ rows - call.result

    assert (change.abs() <= turn.most).all()
    assert torch.allclose(turn.most, change.abs(), rtol=1e-6)
    assert change.norm().item() <= length_of(turn, shares, still) < 3 * change.norm()


class ByHand(nn.Module):
    """A layer norm of its parts, and gates of what they multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        away = x - x.mean(-1, keepdim=True)
        spread = away.pow(2).mean(-1, keepdim=True) + 1e-3
        y = away * torch.rsqrt(spread) + away / torch.sqrt(spread)
        y = y * torch.sigmoid(self.gate(y)) * F.hardsigmoid(y)
        scores: Tensor = self.last(y.mean(1))
        return scores


@pytest.mark.parametrize("radius", [1e-7, 1e-2, 1.0, 30.0])
def test_a_norm_of_its_parts_and_gates_have_a_bound_at_any_size(radius: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6)
    program = captured(ByHand().eval(), x).program

    found = condition(program, [x], program.outputs[0].name, Perturbation(radius))

    assert found.certified.isfinite().all()
    if radius < 1e-6:
        assert (found.certified < 1.05 * found.local).all()
    exact, scores = wide(program), program.outputs[0].name
    golden = exact.run([x.double()])[scores]
    for turn in range(50):
        noise = torch.randn_like(x.double())
        noise = -x.double() if turn == 0 else noise
        size = found.perturbed / noise.flatten(1).norm(dim=1)
        there = exact.run([x.double() + noise * size[:, None, None]])[scores]
        assert ((there - golden).norm(dim=1) <= found.certified).all()


class Detached(nn.Module):
    """A value that is used without its history, or with it."""

    def __init__(self, *, history: bool = False) -> None:
        super().__init__()
        self.history = history
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(x)
        scores: Tensor = self.last(inner if self.history else inner.detach())
        return scores


def test_what_is_detached_moves_all_the_same() -> None:
    torch.manual_seed(0)
    network, x = Detached().eval(), torch.randn(2, 4)
    whole = network.last.weight @ network.first.weight

    found = bounds_of(network, x, Perturbation(radius=1e-3))

    longest = torch.linalg.matrix_norm(whole.double(), 2)
    assert torch.allclose(found.certified, longest * found.perturbed, rtol=1e-3)


def test_faults_before_what_is_detached_are_proved_as_any_others() -> None:
    asked, found = PredictSettings(sites="*first.weight", probes=0, proofs=True), []
    for history in (True, False):
        torch.manual_seed(0)
        network, x = Detached(history=history).eval(), torch.randn(8, 4)
        rows = stoic.predict(network, x, settings=asked).rows
        found.append([row.holds for row in rows])

    assert found[0] == found[1]
    assert min(share for share in found[0] if share is not None) < 0.5


def bounds_of(network: nn.Module, x: Tensor, what: Perturbation) -> Condition:
    program = captured(network, x).program
    return condition(program, [x], program.outputs[0].name, what)


def test_ranges_widen_by_what_rounds_and_keep_their_signs() -> None:
    assert Always(0.0, 1.0).rounded(0.5) == Always(0.0, 1.5)
    assert Always(-1.0, 4.0).rounded(0.5) == Always(-3.0, 6.0)
    assert Always(-4.0, -2.0).rounded(0.5) == Always(-6.0, -1.0)
    assert Always(2.0, 8.0).rounded(1.0) == Always(0.0, math.inf)
    assert Always(-2.0, 8.0).rounded(1.0) == Always()
