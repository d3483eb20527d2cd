"""Certified decisions against runs with rounded words, and against slower bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode

import stoic
from sensitivity_networks import MADE, captured, made
from stoic.campaign.scores import scores_of
from stoic.cases import load
from stoic.network.program import Program
from stoic.network.subject import Inputs
from stoic.sensitivity.condition import condition, kept
from stoic.sensitivity.golden import Scored, score_inputs
from stoic.sensitivity.linearised import linearised
from stoic.sensitivity.narrowed import narrowed, never_negative, reading
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.provable import value_grids, weight_errors
from stoic.sensitivity.proving import proof_of
from stoic.sensitivity.quantised import (
    Grid,
    IntegerFormat,
    NarrowFormat,
    named_family,
)
from stoic.sensitivity.reach import NotKnownError, reached
from stoic.sensitivity.sweep import narrow_scores

FLOAT32 = Perturbation.of_format(torch.float32)


def scored_of(network: nn.Module, x: Tensor) -> Scored:
    return score_inputs(captured(network, x), Inputs((x,), {}), scores_of, 16)


def scored_made(name: str, inputs: int) -> Scored:
    torch.manual_seed(3)
    make, shape = MADE[name]
    return scored_of(make().eval(), torch.randn(inputs, *shape))


def only(scored: Scored) -> Tensor:
    (x,) = scored.inputs.leaves
    assert isinstance(x, Tensor)
    return x


def narrow_values(
    program: Program, x: Tensor, grids: dict[str, Grid], weights: dict[str, Tensor]
) -> dict[str, Any]:
    """Every value of a run in which what layers read is rounded, one by one."""
    values = {**program.given([x]), **weights}
    for step in program.steps:
        if step.name in grids:
            values[step.name] = grids[step.name](values[step.args[0].name])
        else:
            values[step.name] = step(values.__getitem__)
    return values


def rounded(scored: Scored, format: NarrowFormat) -> dict[str, Tensor]:
    stored = [scored.program.stored[layer.weight].detach() for layer in scored.layers]
    names = [layer.weight for layer in scored.layers]
    return {n: format.of_weights(w)(w) for n, w in zip(names, stored, strict=True)}


@pytest.mark.parametrize("name_of_format", ["int3", "int8", "int14", "e4m3", "e5m10"])
@pytest.mark.parametrize("name", MADE)
def test_no_value_of_a_narrow_run_moves_further_than_was_said(
    name: str, name_of_format: str
) -> None:
    scored = scored_made(name, 6)
    family, (width,) = named_family(name_of_format)
    format, x = family(width), 1.3 * only(scored)
    # These inputs leave the ranges that were seen, so their values are cut off.
    grids = value_grids(scored, format)
    program = narrowed(scored.program, scored.layers, grids)
    by_step = {
        reading(s): grids[each.name] for each in scored.layers for s in each.reads
    }
    steps = {step: grid.errors for step, grid in by_step.items()}
    errors = weight_errors(scored, format)
    what = replace(FLOAT32, stored_steps=errors, value_steps=steps)
    (scores,) = program.output_names

    reach = reached(program, [x], what)
    whole = condition(program, [x], scores, what)

    values = narrow_values(program, x, by_step, rounded(scored, format))
    # Steps that are bounded by their parts have values of their own in between.
    whole_steps = {k: v for k, v in reach.passed.items() if k in values}
    assert scores in whole_steps
    for each, passed in whole_steps.items():
        change = (values[each].double() - reach.values[each]).abs()
        assert (change <= passed.moved.most).all(), each
        assert (change.flatten(1).norm(dim=1) <= passed.moved.norm).all(), each
    change = (values[scores].double() - reach.values[scores]).norm(dim=1)
    assert (change <= whole.linearised).all()
    assert (change <= whole.product).all()


@pytest.mark.parametrize("name_of_format", ["int2", "int5", "e3m2", "e4m3", "e5m10"])
def test_rounding_is_cutting_off_and_an_error_that_is_known(
    name_of_format: str,
) -> None:
    family, (width,) = named_family(name_of_format)
    torch.manual_seed(0)
    for low, high in ((0.0, 3.0), (-2.0, 0.7), (-1e-3, 5e3)):
        grid = family(width).of_values(low, high)
        x = torch.randn(20_000) * 3 * max(high, -low) * torch.rand(20_000) ** 4
        least, most = grid.ends

        off = (grid(x).double() - x.double().clamp(least, most)).abs()

        # The ends are numbers of float32 themselves.
        assert (off <= grid.errors(x.abs().double()) + 2**-23 * most).all()
        inside = (x >= low) & (x <= high)
        assert (
            x[inside].double() - x[inside].double().clamp(least, most)
        ).abs().max() <= (grid.error)


@pytest.mark.parametrize("parts", ["weights", "values", "both"])
def test_no_decision_turns_where_the_bound_proves_it(parts: str) -> None:
    case = load("digits", 40)
    assert isinstance(case.inputs, Tensor)

    found = stoic.bits(case.network, case.inputs, parts=parts, keep=1.0, prove=16)

    assert found.provable is not None and found.measured is not None
    assert found.measured <= found.provable <= 12
    scored = scored_of(case.network, case.inputs).first(16)
    family, _ = named_family("int")
    for row in found.rows:
        formats = {layer.name: family(row.width) for layer in scored.layers}
        scores = narrow_scores(scored, formats, parts)
        same = float((scores.argmax(1) == scored.decisions).double().mean())
        assert row.proved is None or row.proved <= same
    tried = [row.proved for row in found.rows if row.proved is not None]
    assert 0 < sum(tried) < len(tried)


def test_a_cut_that_turns_a_decision_proves_nothing() -> None:
    network = nn.Linear(1, 2).eval()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0], [0.0]]))
        network.bias.copy_(torch.tensor([0.0, 0.5]))
    scored = scored_of(network, torch.tensor([[1.0], [0.05]]))
    (layer,) = scored.layers
    cut = replace(scored, ranges={layer.name: (0.0, 0.1)})

    proof = proof_of(cut)({}, value_grids(cut, IntegerFormat(8)))

    # The first is the best by its input alone, which is cut off at 0.1.
    assert scored.decisions.tolist() == [0, 1]
    assert proof.tolist() == [False, True]


@pytest.mark.parametrize("name", MADE)
def test_the_rivals_that_are_left_out_could_not_have_won(name: str) -> None:
    program, x, scores = made(name, 8)
    for share in (1e-4, 1e-3, 1e-2):
        what = Perturbation(stored=share)
        reach = reached(program, [x], what)
        judged, most = reach.values[scores], reach.moved(scores).most
        best = judged.argmax(1)
        slow = torch.ones(8, dtype=torch.bool)
        ours = torch.eye(judged.shape[1], dtype=torch.float64)
        for rival in range(judged.shape[1]):
            way = linearised(reach, scores, (ours[best] - ours[rival])[None])
            shift = way.fall[0]
            lead = judged.gather(1, best[:, None])[:, 0] - judged[:, rival]
            apart = most.gather(1, best[:, None])[:, 0] + most[:, rival] < lead
            slow &= (shift < lead) | apart | (best == rival)

        fast = kept(program, [x], scores, what)

        assert (fast == slow).all()


class Turned(nn.Module):
    """A weight that is transposed, and cut in two, before it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.weight[:3], self.weight[3:]
        return torch.cat([x @ first.t(), F.linear(x, second)], 1)


def test_errors_of_words_go_wherever_the_words_are_moved() -> None:
    torch.manual_seed(0)
    network, x = Turned().eval(), torch.randn(4, 5)
    program = captured(network, x).program
    (scores,) = program.output_names
    errors = torch.rand(6, 5).double() * 0.1

    (name,) = [n for n, origin in program.origins.items() if "weight" in origin]
    found = reached(program, [x], Perturbation(stored_steps={name: errors}))
    exact = x.double().abs() @ errors.T
    assert torch.allclose(found.moved(scores).most, exact, rtol=1e-5)


def test_a_weight_that_is_computed_from_rounded_words_is_bounded() -> None:
    torch.manual_seed(0)
    network, x = weight_norm(nn.Linear(5, 3)).eval(), torch.randn(4, 5)
    program = captured(network, x).program
    (scores,) = program.output_names

    reach = reached(program, [x], FLOAT32)

    change = (network(x).double() - reach.values[scores]).abs()
    assert (change <= reach.moved(scores).most).all()
    assert reach.moved(scores).most.max() < 1e-3


def test_what_has_no_bound_is_no_statement() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.last(torch.cumprod(x, 1))
            return scores

    torch.manual_seed(0)
    network, x = Odd().eval(), torch.randn(8, 4)

    found = stoic.bits(network, x, check=False)
    tailed = stoic.bits(network, x, check=False, tail=lambda output: output)
    none = stoic.bits(network, x, check=False, prove=0)

    assert found.provable is tailed.provable is none.provable is None
    assert found.silent.startswith("operator cumprod of")
    assert tailed.silent == "scores are made of the output outside of the network"
    assert none.silent == "not asked"


def test_a_format_of_small_range_is_not_covered() -> None:
    torch.manual_seed(0)
    network, x = nn.Linear(4, 3).half().eval(), torch.randn(8, 4).half()

    with pytest.raises(NotKnownError, match="underflows in torch.float16"):
        proof_of(scored_of(network, x))


@pytest.fixture
def _reduced() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("_reduced")
def test_runs_in_reduced_precision_are_not_covered() -> None:
    torch.manual_seed(0)
    network, x = nn.Linear(4, 3).eval(), torch.randn(8, 4)

    with pytest.raises(NotKnownError, match="sums here have fewer bits than float32"):
        proof_of(scored_of(network, x))


class Formats(TorchDispatchMode):
    """The formats of all that is multiplied with a weight."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("mm", "addmm", "convolution"):
            self.seen.add(result.dtype)
        return result


@pytest.mark.usefixtures("_reduced")
def test_bounds_keep_away_from_products_in_reduced_precision() -> None:
    program, x, scores = made("stacked")
    with Formats() as formats:
        found = condition(program, [x], scores, Perturbation(stored=1e-3))

    assert formats.seen == {torch.float64}
    torch.set_float32_matmul_precision("highest")
    quick = condition(program, [x], scores, Perturbation(stored=1e-3))
    # Float64 sums are not rounded up as much.
    assert (found.linearised <= quick.linearised).all()
    assert torch.allclose(found.linearised, quick.linearised, rtol=1e-3)


def test_signs_of_values_are_known_from_the_steps_that_make_them() -> None:
    program, x, _ = made("branching")
    values = program.run([x])

    known = [step.name for step in program.steps if never_negative(program, step.name)]

    assert {program.by_name[name].operator for name in known} >= {"relu", "max_pool2d"}
    assert all((values[name] >= 0).all() for name in known)
