"""Certified bounds against what perturbations do, and where both must be equal."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sensitivity_networks import MADE, WHOLE, captured, made
from sensitivity_support import ATEN, call_on
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.subject import Inputs
from stoic.sensitivity.condition import condition, kept
from stoic.sensitivity.operators.summing import summing
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import NotKnownError, reached, wide


def drawn(value: Tensor, most: Tensor, generator: torch.Generator) -> Tensor:
    """Return a deviation inside a ball of that norm; half of them at its corners."""
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    if torch.rand(1, generator=generator) < 0.5:
        noise = noise.sign()
    size: Tensor = noise.flatten(1).norm(dim=1) / most
    return noise / size.reshape(-1, *[1] * (value.dim() - 1))


@pytest.mark.parametrize("radius", [1e-6, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", MADE)
def test_no_value_moves_further_than_was_said(name: str, radius: float) -> None:
    program, x, scores = made(name)
    perturbation = Perturbation(radius=radius)
    reach = reached(program, [x], perturbation)
    whole = condition(program, [x], scores, perturbation)
    exact, generator = wide(program), torch.Generator().manual_seed(0)
    golden = exact.run([x.double()])

    for _ in range(30):
        moved = x.double() + drawn(x, reach.given[program.inputs[0]].norm, generator)
        values = exact.run([moved])
        for each, passed in reach.passed.items():
            if each not in values:
                # A part of a step.
                continue
            change = (values[each] - golden[each]).abs()
            assert (change <= passed.moved.most).all(), each
            assert (change.flatten(1).norm(dim=1) <= passed.moved.norm).all(), each
            assert (change.flatten(1).norm(dim=1) <= passed.product).all(), each
        change = (values[scores] - golden[scores]).norm(dim=1)
        assert (change <= whole.certified).all()
        assert (change <= whole.linearised).all()
    if radius < 1e-5:
        # A bound that says nothing would hold, too.
        assert (whole.certified < 3 * whole.local).all()
        assert (whole.average < whole.local).all()


@pytest.mark.parametrize("share", [1e-6, 1e-2, 0.3])
@pytest.mark.parametrize("name", MADE)
def test_wrong_words_move_nothing_further_than_was_said(
    name: str, share: float
) -> None:
    program, x, scores = made(name)
    perturbation = Perturbation(stored=share)
    reach = reached(program, [x], perturbation)
    whole = condition(program, [x], scores, perturbation)
    safe = kept(program, [x], scores, perturbation)
    exact = wide(program)
    golden = exact.run([x.double()])
    torch.manual_seed(0)

    for turn in range(30):
        wrong = {
            key: value * (1 + share * _within(value, corners=turn % 2 == 0))
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for key, value in exact.stored.items()
        }
        values = Program.run(_with(exact, wrong), [x.double()])
        for each, passed in reach.passed.items():
            if each in values:
                change = (values[each] - golden[each]).abs()
                assert (change <= passed.moved.most).all(), each
        change = (values[scores] - golden[scores]).norm(dim=1)
        assert (change <= whole.certified).all()
        assert (change <= whole.linearised).all()
        same = values[scores].argmax(1) == golden[scores].argmax(1)
        assert same[safe].all()


@pytest.mark.parametrize("name", WHOLE)
def test_networks_of_whole_numbers_are_bounded_by_their_words(name: str) -> None:
    torch.manual_seed(0)
    network, ids = WHOLE[name]().eval(), torch.randint(0, 9, (4, 5))
    program = captured(network, ids).program
    (scores,) = program.output_names
    what = replace(Perturbation.of_format(torch.float32), stored=1e-3)
    whole = condition(program, [ids], scores, what)
    exact = wide(program)
    golden = exact.run([ids])[scores]

    furthest = torch.zeros(4)
    for _ in range(50):
        wrong = {
            key: value * (1 + 1e-3 * _within(value, corners=True))
            for key, value in program.stored.items()
        }
        # In float32: it rounds as well.
        change = _with(program, wrong).run([ids])[scores].double() - golden
        furthest = torch.maximum(furthest, change.norm(dim=1))
    assert (furthest <= whole.certified).all()
    assert (furthest <= whole.linearised).all()
    assert (whole.linearised < 5 * furthest).all()


def test_words_of_a_bag_that_cancel_round_all_the_same() -> None:
    network = nn.EmbeddingBag(2, 1, mode="sum").eval()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1e6], [-1e6]]))
    program = captured(network, torch.tensor([[0, 1], [1, 0]])).program
    (scores,) = program.output_names

    found = reached(program, [torch.tensor([[0, 1]])], Perturbation(sums=2.0**-24))

    assert (found.values[scores] == 0).all()
    assert (found.moved(scores).most >= 2e6 * 2.0**-24).all()


def test_scores_that_no_word_or_input_can_move_are_refused() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() * 2

    ids = torch.arange(6).reshape(2, 3)
    program = captured(Doubled().eval(), ids).program
    (scores,) = program.output_names
    with pytest.raises(NotKnownError, match="what is bounded must hang on an input"):
        condition(program, [ids], scores, Perturbation(stored=0.1))


def _within(value: Tensor, *, corners: bool) -> Tensor:
    noise = torch.rand_like(value) * 2 - 1
    return noise.sign() if corners else noise


def _with(program: Program, stored: dict[str, Any]) -> Program:
    return replace(program, stored=stored)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [each for each in MADE if each != "recurrent"])
def test_a_run_in_another_format_stays_inside(name: str, dtype: torch.dtype) -> None:
    program, x, scores = made(name)
    whole = condition(program, [x], scores, Perturbation.of_format(dtype))
    rounded = {
        key: value.to(dtype)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for key, value in program.stored.items()
    }

    # What is given is rounded, too: a perturbation of the inputs.
    given = x.to(dtype)
    values = _with(program, rounded).run([given])[scores]
    exact = wide(program).run([given.double()])[scores]

    change = (values.double() - exact).norm(dim=1)
    assert (change <= whole.certified).all()


def test_bounds_of_a_linear_network_are_exact() -> None:
    torch.manual_seed(0)
    layers = nn.Linear(12, 6), nn.Linear(6, 4)
    network = nn.Sequential(nn.Flatten(), *layers).eval()
    x = torch.randn(3, 3, 4)
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program
    found = condition(program, [x], program.outputs[0].name, Perturbation(radius=0.5))

    first, second = (layer.weight.double() for layer in layers)
    true = torch.linalg.matrix_norm(second @ first, 2)

    assert torch.allclose(found.linearised / found.perturbed, true, rtol=1e-6)
    assert torch.allclose(found.local / found.perturbed, true, rtol=1e-6)
    product = torch.linalg.matrix_norm(first, 2) * torch.linalg.matrix_norm(second, 2)
    assert torch.allclose(found.product / found.perturbed, product, rtol=1e-3)
    mean = (second @ first).norm() / 12**0.5
    assert torch.allclose(found.average / found.perturbed, mean, rtol=1e-6)


def test_a_layer_of_relu_is_bounded_as_by_all_its_patterns() -> None:
    torch.manual_seed(1)
    layers = nn.Linear(3, 5), nn.Linear(5, 2)
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1]).eval()
    x = torch.randn(6, 3)
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program
    first, second = (layer.weight.double() for layer in layers)
    for radius in (1e-9, 10.0):
        found = condition(
            program, [x], program.outputs[0].name, Perturbation(radius=radius)
        )
        patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5).double()
        every = torch.stack(
            [torch.linalg.matrix_norm(second * p @ first, 2) for p in patterns]
        )
        on = (layers[0](x) > 0).double()
        here = torch.stack(
            [torch.linalg.matrix_norm(second * p @ first, 2) for p in on]
        )
        assert (found.certified / found.perturbed >= here * (1 - 1e-9)).all()
        if radius < 1:
            assert torch.allclose(found.linearised / found.perturbed, here, rtol=1e-3)
        else:
            assert (found.product / found.perturbed >= every.max() * (1 - 1e-9)).all()


def test_networks_of_known_constant_are_within_a_hundredth() -> None:
    torch.manual_seed(2)
    orthogonal = nn.utils.parametrizations.orthogonal
    layers = [orthogonal(nn.Linear(16, 16)) for _ in range(4)]
    network = nn.Sequential(*layers).eval()
    x = torch.randn(5, 16)
    for layer in layers:
        nn.utils.parametrize.remove_parametrizations(layer, "weight")
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program

    found = condition(program, [x], program.outputs[0].name, Perturbation(radius=0.1))

    for bound in (found.product, found.linearised, found.local):
        assert torch.allclose(
            bound / found.perturbed, torch.ones(5, dtype=torch.float64), rtol=0.01
        )


@pytest.mark.parametrize("inputs", [2, 3, 5])
@pytest.mark.parametrize("before", [-1, 0, 1])
def test_operators_that_move_inputs_to_others_have_no_bound(
    before: int, inputs: int
) -> None:
    x = torch.randn(inputs, 4, dtype=torch.float64)
    call = call_on(ATEN.pad.default, x, [1, 2, before, -before])

    assert (summing(call, inputs) is None) == (before != 0)


def test_an_operator_without_a_bound_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(x, 1).values

    x = torch.randn(3, 4)
    subject = prepare(Odd().eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    with pytest.raises(NotKnownError, match=r"sort.*1 of 1 steps.*local"):
        reached(subject.program, [x], Perturbation(radius=0.1))


def test_wrong_words_that_are_computed_with_first_are_followed() -> None:
    torch.manual_seed(0)
    network = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).eval()
    x = torch.randn(3, 4)
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    reached(subject.program, [x], Perturbation(radius=0.1))
    reach = reached(subject.program, [x], Perturbation(stored=0.1))
    moved = reach.moved(subject.program.outputs[0].name).most
    # At least what the last step's own words do.
    assert bool((moved > 0.1 * network.bias.abs()).all())
    assert bool(moved.isfinite().all())


def test_absolute_errors_hold_beside_relative_ones() -> None:
    program, x, scores = made("stacked")
    weight = next(n for n, v in program.stored.items() if v.dim() == 4)
    golden = wide(program).run([x.double()])[scores]
    step = torch.rand_like(program.stored[weight].double()) * 1e-3
    whole = condition(program, [x], scores, Perturbation(stored_steps={weight: step}))
    for turn in range(20):
        torch.manual_seed(turn)
        wrong = dict(wide(program).stored)
        wrong[weight] = wrong[weight] + step * _within(step, corners=True)
        values = _with(wide(program), wrong).run([x.double()])
        assert ((values[scores] - golden).norm(dim=1) <= whole.certified).all()


def test_absolute_errors_of_a_share_are_relative_ones() -> None:
    program, x, scores = made("stacked")
    shares = {name: word.double().abs() * 1e-3 for name, word in program.stored.items()}
    absolute = condition(program, [x], scores, Perturbation(stored_steps=shares))
    relative = condition(program, [x], scores, Perturbation(stored=1e-3))
    assert torch.allclose(absolute.certified, relative.certified, rtol=1e-5)
    assert torch.allclose(absolute.linearised, relative.linearised, rtol=1e-5)


def test_an_input_on_which_golden_is_not_finite_is_refused() -> None:
    program, x, _ = made("stacked")
    x[1, 0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="got others in 0 for input 1; mend"):
        reached(program, [x], Perturbation(radius=0.1))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"radius": -1.0}, "radius must be finite and >= 0, got -1.0"),
        ({"stored": math.nan}, "stored must be finite"),
        ({"norm": 1}, "norm must be 2 or inf, got 1"),
        ({"values": 1.0}, "values must be below 1, got 1.0"),
    ],
)
def test_sets_that_are_none_are_refused(words: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Perturbation(**words)


def test_wrong_words_of_a_batch_norm_count_where_they_are_0() -> None:
    network = nn.BatchNorm1d(3).eval()
    x = torch.randn(4, 3)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program
    names = [n for n, o in program.origins.items() if o[0] in ("weight", "bias")]

    what = Perturbation(stored_steps=dict.fromkeys(names, 0.1))
    (scores,) = program.output_names
    found = reached(program, [x], what).moved(scores).most

    exact = 0.1 * x.double().abs() / (1 + network.eps) ** 0.5 + 0.1
    assert torch.allclose(found, exact, rtol=1e-5)


def test_long_sums_of_stored_words_alone_round_with_their_length() -> None:
    class Long(nn.Module):
        row: Tensor
        column: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("row", torch.ones(1, 100_000))
            self.register_buffer("column", torch.ones(100_000, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.row @ self.column)

    x = torch.ones(3, 2)
    subject = prepare(Long().eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    (scores,) = subject.program.output_names

    found = reached(subject.program, [x], Perturbation(sums=2.0**-24))

    # Higham's bound of a sum of n equal terms: n roundings of n.
    assert (found.moved(scores).most >= 100_000 * 100_000 * 2.0**-24).all()


def test_a_cast_to_a_narrower_format_is_refused() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.last(x)
            return scores.half().float()

    x = torch.randn(3, 4)
    subject = prepare(Narrow().eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    with pytest.raises(NotKnownError, match="cast to torch.float16"):
        reached(subject.program, [x], Perturbation(radius=0.1))


def test_a_share_too_small_for_a_number_may_still_catch_up() -> None:
    class Far(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(x, 1)

    x = torch.tensor([[0.0, -800.0], [0.0, -1.0]])
    subject = prepare(Far().eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program

    reach = reached(program, [x], Perturbation(radius=1.0))

    close = torch.softmax(x.double() + torch.tensor([[0.0, 800.0], [0.0, 1.0]]), 1)
    (scores,) = program.output_names
    change = (close - reach.values[scores]).abs()
    assert reach.values[scores][0, 1] == 0
    assert (change <= reach.moved(scores).most).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_norm_is_bounded_with_what_its_own_format_adds(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.RMSNorm(4).to(dtype).eval()
    # So small that what is added to the mean square is most of it, but in float64.
    x = (torch.randn(3, 4) * 1e-4).to(dtype)
    program = captured(network, x).program
    (scores,) = program.output_names

    reach = reached(program, [x], Perturbation(radius=1e-3))
    shift = drawn(x, reach.moved(program.inputs[0]).norm, torch.Generator())
    change = (
        wide(program).run([x.double() + shift])[scores] - reach.values[scores]
    ).abs()

    near = 8 * torch.finfo(dtype).eps
    assert torch.allclose(reach.values[scores], network(x).double(), rtol=near)
    assert (change <= reach.moved(scores).most).all()
    assert (reach.moved(scores).most < 100 * change.max()).all()


def test_scores_of_zero_have_no_relative_change() -> None:
    program, x, scores = made("stacked")
    found = condition(program, [x], scores, Perturbation(radius=0.1))
    object.__setattr__(found, "scores", torch.zeros_like(found.scores))
    assert found.number(found.certified, 0.1).isnan().all()
