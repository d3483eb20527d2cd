"""Verdicts in closed form of the last layer, against every run in its own format."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import stoic
from stoic.criteria import Top1Changed
from stoic.network.capture import capture
from stoic.network.certified import (
    FAILS,
    HOLDS,
    OPEN,
    Kind,
    LastLinear,
    closed_verdicts,
    last_linear,
)
from stoic.network.subject import Inputs
from test_certified import flips

Operands = tuple[Tensor, Tensor, Tensor | None]
KINDS = pytest.mark.parametrize("kind", ["weight", "bias"])


def closed(operands: Operands, kind: Kind, words: Tensor) -> Tensor:
    x, weight, bias = operands
    elements = torch.arange(len(words))
    scores = F.linear(x, weight, bias)
    return closed_verdicts(x, weight, bias, scores, words, elements, kind)


def by_runs(operands: Operands, kind: Kind, words: Tensor) -> Tensor:
    """Whether each fault fails each input: [inputs, elements, words]."""
    x, weight, bias = operands
    golden = F.linear(x, weight, bias)
    failed = torch.zeros(len(x), *words.shape, dtype=torch.bool)
    for element in range(words.shape[0]):
        for number in range(words.shape[1]):
            w = weight.clone()
            b = None if bias is None else bias.clone()
            struck = w if kind == "weight" else b
            assert struck is not None
            struck.view(-1)[element] = words[element, number]
            faulty = F.linear(x, w, b)
            failed[:, element, number] = Top1Changed().failed(golden, faulty, None)
    return failed


def compare(operands: Operands, kind: Kind, words: Tensor | None = None) -> float:
    """Compare all verdicts with runs; return the share that is left open."""
    struck = operands[1] if kind == "weight" else operands[2]
    assert struck is not None
    words = flips(struck) if words is None else words
    verdicts, failed = closed(operands, kind, words), by_runs(operands, kind, words)
    assert verdicts.shape == failed.shape and verdicts.dtype == torch.int8
    assert not (failed & (verdicts == HOLDS)).any()
    assert not (~failed & (verdicts == FAILS)).any()
    return float((verdicts == OPEN).double().mean())


def operands(dtype: torch.dtype = torch.float32, rows: int = 6) -> Operands:
    x = torch.randn(rows, 7, dtype=dtype).relu()
    weight = torch.randn(4, 7, dtype=dtype)
    return x, weight, torch.randn(4, dtype=dtype)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_flip_has_the_verdict_of_its_run(kind: Kind, dtype: torch.dtype) -> None:
    assert compare(operands(dtype), kind) < 0.005


def test_a_layer_without_bias_and_a_single_input() -> None:
    x, weight, _ = operands(rows=1)
    assert compare((x, weight, None), "weight") < 0.005


def test_both_ways_of_losing_are_seen() -> None:
    found = closed(operands(), "weight", flips(operands()[1]))
    assert {FAILS, HOLDS} <= set(found.unique().tolist())


ODD = [torch.inf, -torch.inf, torch.nan, 3.4e38, -3.4e38, 1e38, 1e-45, 0.0, -0.0]


@KINDS
@pytest.mark.parametrize("scale", [1.0, 1e-38, 1e20, 1e30, 1e37])
def test_odd_words_and_sizes_have_the_verdicts_of_their_runs(
    kind: Kind, scale: float
) -> None:
    x, weight, bias = operands()
    x[0], x[1, 0], x[2, 1] = 0, 1e-42, 3e38 / scale if scale > 1 else 100
    layer = (x, weight * scale, None if bias is None else bias * scale)
    struck = layer[1] if kind == "weight" else layer[2]
    assert struck is not None
    compare(layer, kind, torch.tensor(ODD).expand(struck.numel(), -1))
    compare(layer, kind)


@KINDS
def test_ties_are_left_open_or_right(kind: Kind) -> None:
    x, weight, bias = operands()
    assert bias is not None
    x, weight, bias = x.round(), weight.round(), bias.round()
    weight[1], bias[1] = weight[3], bias[3]
    whole = torch.arange(-6.0, 7.0)
    struck = weight if kind == "weight" else bias
    compare((x, weight, bias), kind, whole.expand(struck.numel(), -1))


def test_words_at_the_edge_of_rounding_are_left_open_or_right() -> None:
    x, weight, bias = operands()
    scores = F.linear(x, weight, bias).double()
    top = scores.topk(2).values
    words = []
    for element in range(weight.numel()):
        row, column = divmod(element, weight.shape[1])
        # Where the row would meet the best other score of each input.
        rival = torch.where(scores[:, row] == top[:, 0], top[:, 1], top[:, 0])
        gap = (rival - scores[:, row]) / x[:, column].double()
        word = (weight[row, column].double() + gap).float()
        around = [word]
        for _ in range(3):
            around = [around[0].nextafter(-word.abs()), *around]
            around = [*around, around[-1].nextafter(2 * word.abs() + 1)]
        words.append(torch.cat(around))
    assert 0.01 < compare((x, weight, bias), "weight", torch.stack(words)) < 0.9


def test_inputs_whose_scores_are_no_numbers_are_left_open() -> None:
    x, weight, bias = operands()
    x[1, 2], x[3, 3] = torch.nan, torch.inf
    found = closed((x, weight, bias), "weight", flips(weight))
    assert (found[[1, 3]] == OPEN).all()
    assert (found[[0, 2]] != OPEN).any()


class Turned(nn.Module):
    """A last layer whose weight is stored by columns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.relu(), self.weight)


def layer_of(network: nn.Module, batch: Tensor) -> LastLinear | None:
    program = capture(network.eval(), (batch[:2],), {})
    scores = str(program.outputs[0].name)
    return last_linear(program, Inputs((batch,), {}), scores)


def test_a_weight_stored_by_columns_keeps_its_elements() -> None:
    network, batch = Turned(), torch.randn(4, 5)
    layer = layer_of(network, batch)
    assert layer is not None
    assert set(layer.kinds.values()) == {"weight", "bias"}
    (name,) = (name for name, kind in layer.kinds.items() if kind == "weight")
    words = flips(network.weight)
    found = layer.verdicts(name, torch.arange(15), words)
    golden = network(batch)
    for element in range(15):
        for bit in range(32):
            with torch.no_grad():
                before = network.weight.view(-1)[element].clone()
                network.weight.view(-1)[element] = words[element, bit]
                failed = Top1Changed().failed(golden, network(batch), None)
                network.weight.view(-1)[element] = before
            verdict = found[:, element, bit]
            assert (failed == (verdict == FAILS))[verdict != OPEN].all()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(5, 3), nn.ReLU()),
        nn.Linear(5, 3).half(),
        nn.Linear(5, 1),
        nn.Conv1d(5, 3, 1),
    ],
    ids=["another step", "a short format", "one score", "no matrix"],
)
def test_what_is_no_last_linear_layer_has_no_closed_form(network: nn.Module) -> None:
    shape = (4, 5, 2) if isinstance(network, nn.Conv1d) else (4, 5)
    dtype = next(network.parameters()).dtype
    assert layer_of(network, torch.randn(shape).to(dtype)) is None


def test_a_weight_that_is_read_elsewhere_is_none_of_its_words() -> None:
    linear = nn.Linear(5, 5)
    layer = layer_of(nn.Sequential(linear, nn.ReLU(), linear), torch.randn(4, 5))
    assert layer is not None
    assert not layer.kinds


def test_the_head_of_the_signs_agrees_with_runs_of_its_own() -> None:
    case = stoic.load("signs", 8)
    assert isinstance(case.inputs, Tensor)
    layer = layer_of(case.network, case.inputs)
    assert layer is not None
    chance = torch.Generator().manual_seed(0)
    some = torch.randint(layer.weight.numel(), (64,), generator=chance)
    (name,) = (name for name, kind in layer.kinds.items() if kind == "weight")
    words = flips(layer.weight)[some]
    found = layer.verdicts(name, some, words)
    assert (found == OPEN).double().mean() < 0.01
    for place, element in enumerate(some.tolist()):
        for bit in range(32):
            weight = layer.weight.detach().clone()
            weight.view(-1)[element] = words[place, bit]
            faulty = F.linear(layer.x, weight, layer.bias)
            failed = Top1Changed().failed(layer.scores, faulty, None)
            verdict = found[:, place, bit]
            assert (failed == (verdict == FAILS))[verdict != OPEN].all()
