"""Norms of maps, against the matrices that they are."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sensitivity_support import ATEN, a_map, call_on, matrix_of, random_convolution
from stoic.network.certified.contract import Call
from stoic.network.program import First
from stoic.sensitivity import norms
from stoic.sensitivity.bracket import Bracket
from stoic.sensitivity.linear import LinearMap, compose
from stoic.sensitivity.maps import linear_map
from stoic.sensitivity.norms import norm
from stoic.sensitivity.spectrum import about_largest, largest_singular

ORDERS = (1, 2, math.inf)
NORM = ATEN._native_batch_norm_legit_no_training.default
# What torch's own decomposition may be off by.
OFF = 1e-12


def true_norm(matrix: Tensor, order: float) -> float:
    if order == 2:
        return float(torch.linalg.matrix_norm(matrix, 2))
    return float(matrix.abs().sum(0 if order == 1 else 1).max())


def holds(bracket: Bracket, true: float) -> bool:
    return bracket.lower <= true * (1 + OFF) and true <= bracket.upper * (1 + OFF)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def large_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat small maps as large ones, whose matrix is not written out."""
    monkeypatch.setattr(norms, "_SMALL", 0)


def _check_convolutions(seeds: range) -> None:
    chance = random.Random(seeds.start)
    for _ in seeds:
        call = random_convolution(chance)
        linear = linear_map(call)
        assert linear is not None
        matrix = matrix_of(linear)
        _is_the_step(call, matrix)
        assert linear.form is not None
        assert linear.form.upper() * (1 + OFF) >= true_norm(matrix, 2), call.step
        for order in ORDERS:
            found = norm(linear, order)
            assert holds(found, true_norm(matrix, order)), (order, call.step)
            assert order == 2 or found.exact


def _is_the_step(call: Call, matrix: Tensor) -> None:
    """The matrix does to rows what the step does to them in its own format."""
    rows = call.golden("x").double().flatten(1) @ matrix.t()
    zero = call.step(lambda n: 0 * call.golden(n) if n == "x" else call.golden(n))
    difference = (call.result - zero).double().flatten(1)
    torch.testing.assert_close(rows, difference, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("large_maps")
def test_brackets_hold_for_convolutions_of_40_shapes() -> None:
    _check_convolutions(range(40))


@pytest.mark.slow
@pytest.mark.usefixtures("large_maps")
def test_brackets_hold_for_convolutions_of_300_shapes() -> None:
    _check_convolutions(range(1000, 1300))


def _others() -> dict[str, LinearMap]:
    x, image = randn(2, 6, 4), randn(2, 4, 6, 6)
    statistics = (randn(4), randn(4, seed=1), randn(4), randn(4).abs(), 0.1, 1e-5)
    return {
        "linear": a_map(ATEN.linear.default, randn(2, 7), randn(5, 7), randn(5)),
        "linear on tokens": a_map(ATEN.linear.default, x, randn(9, 4), randn(9)),
        "matmul": a_map(ATEN.matmul.default, x, randn(4, 3)),
        "same": a_map(ATEN.conv2d.padding, image, randn(3, 4, 4, 2), None, [1], "same"),
        "average pool": a_map(ATEN.avg_pool2d.default, image, [3, 3], [2, 2], [1, 1]),
        "adaptive": a_map(ATEN.adaptive_avg_pool2d.default, image, [4, 5]),
        "mean": a_map(ATEN.mean.dim, image, [2, 3], True),
        "sum": a_map(ATEN.sum.dim_IntList, image, [1]),
        "zeros": a_map(ATEN.pad.default, image, [1, 2, 0, 1], "constant", 3.0),
        "reflected": a_map(ATEN.pad.default, image, [1, 2, 2, 1], "reflect"),
        "copied": a_map(ATEN.pad.default, image, [1, 2, 2, 1], "replicate"),
        "circular": a_map(ATEN.pad.default, image, [1, 2, 2, 1], "circular"),
        "permuted": a_map(ATEN.permute.default, image, [0, 2, 3, 1]),
        "slice": a_map(ATEN.slice.Tensor, image, 1, 1, 3),
        "flat": a_map(ATEN.reshape.default, image, [2, -1]),
        "expanded": a_map(ATEN.expand.default, image[:, :1], [2, 5, 6, 6]),
        "nearest": a_map(ATEN.upsample_nearest2d.vec, image, [9, 8], None),
        "bilinear": a_map(ATEN.upsample_bilinear2d.vec, image, [9, 8], False, None),
        "sums": a_map(ATEN.cumsum.default, image, 2),
        "channels": a_map(ATEN.mul.Tensor, image, randn(4, 1, 1)),
        "divided": a_map(ATEN.div.Tensor, image, 3.0),
        "negative": a_map(ATEN.neg.default, image),
        "batch norm": a_map(First(NORM), image, *statistics),
    }


@pytest.mark.parametrize("large", [False, True])
def test_brackets_hold_for_all_other_linear_steps(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norms, "_SMALL", 0 if large else 512)
    for name, linear in _others().items():
        matrix = matrix_of(linear)
        turned = linear.adjoint(
            torch.eye(len(matrix), dtype=torch.float64).reshape(-1, *linear.result)
        )
        torch.testing.assert_close(turned.flatten(1), matrix)
        torch.testing.assert_close(matrix_of(linear.absolute()), matrix.abs())
        for order in ORDERS:
            found = norm(linear, order)
            assert holds(found, true_norm(matrix, order)), (name, order)
            assert found.width < 1.06, (name, order, found)


def test_a_step_that_mixes_rows_or_values_is_no_map() -> None:
    x = randn(2, 2, 4)
    w = randn(2, 4)
    refused = [
        call_on(ATEN.permute.default, x, [1, 0, 2]),
        call_on(ATEN.flip.default, x, [0]),
        call_on(ATEN.cumsum.default, x, 0),
        call_on(ATEN.mul.Tensor, w, randn(2, 4)),
        call_on(ATEN.relu.default, x),
        call_on(ATEN.sum.dim_IntList, x, [0]),
    ]
    assert [linear_map(call) for call in refused] == [None] * len(refused)


@pytest.mark.parametrize(
    "shape", [(16, 8, 3, 3), (8, 16, 5, 5), (16, 1, 3, 3), (24, 24, 1, 1)]
)
@pytest.mark.parametrize("low_pass", [False, True])
def test_maps_of_14_by_14_are_known_within_5_percent(
    shape: tuple[int, ...], low_pass: bool
) -> None:
    weight = randn(*shape)
    weight = torch.ones(shape) + 0.1 * weight if low_pass else weight
    groups = 16 if shape[1] == 1 else 1
    x = randn(2, groups * shape[1], 14, 14)
    padding = [shape[-1] // 2] * 2
    call = ATEN.conv2d.default, x, weight, None, [1, 1], padding, [1, 1], groups

    found = norm(a_map(*call), 2)

    assert found.width < 1.05


def test_one_frequency_at_the_edge_of_the_grid_is_not_missed() -> None:
    """Circular frequencies alone would put the norm of a short map too low."""
    weight = torch.ones(1, 1, 3)
    linear = a_map(ATEN.conv1d.default, randn(2, 1, 600), weight, None, [1], [1])

    found = norm(linear, 2)

    # Of the tridiagonal matrix of ones.
    true = 1 + 2 * math.cos(math.pi / 601)
    assert holds(found, true)
    assert found.width < 1.01


def test_a_batch_norm_becomes_part_of_the_convolution() -> None:
    weight, x = randn(8, 4, 3, 3), randn(2, 4, 6, 6)
    convolution = a_map(ATEN.conv2d.default, x, weight, None, [1, 1], [1, 1])
    scale = a_map(ATEN.mul.Tensor, randn(2, 8, 6, 6), randn(8, 1, 1, seed=3))

    both = compose(convolution, scale)

    product = matrix_of(scale) @ matrix_of(convolution)
    torch.testing.assert_close(matrix_of(both), product)
    assert type(both.form) is type(convolution.form)
    for order in ORDERS:
        assert holds(norm(both, order), true_norm(product, order))


@pytest.mark.usefixtures("large_maps")
def test_zeros_become_the_padding_of_the_convolution() -> None:
    x, weight = randn(2, 3, 7, 8), randn(4, 3, 3, 3)
    zeros = a_map(ATEN.pad.default, x, [0, 1, 1, 2])
    padded = randn(2, 3, 10, 9)
    convolution = a_map(ATEN.conv2d.default, padded, weight, None, [2, 2])

    both = compose(zeros, convolution)

    product = matrix_of(convolution) @ matrix_of(zeros)
    torch.testing.assert_close(matrix_of(both), product)
    assert both.shape == (3, 7, 8)
    assert type(both.form) is type(convolution.form)
    assert holds(norm(both, 2), true_norm(product, 2))


@pytest.mark.usefixtures("large_maps")
def test_brackets_hold_for_any_two_maps_in_a_row() -> None:
    x = randn(2, 4, 6, 6)
    first = a_map(ATEN.conv2d.default, x, randn(5, 4, 3, 3), None, [1, 1], [1, 1])
    image = randn(2, 5, 6, 6)
    for second in (
        a_map(ATEN.avg_pool2d.default, image, [2, 2]),
        a_map(ATEN.conv2d.default, image, randn(3, 5, 2, 2, seed=1)),
        a_map(ATEN.reshape.default, image, [2, -1]),
        a_map(ATEN.pad.default, image, [1, 1, 1, 1], "circular"),
    ):
        both = compose(first, second)
        product = matrix_of(second) @ matrix_of(first)
        torch.testing.assert_close(matrix_of(both), product)
        for order in ORDERS:
            assert holds(norm(both, order), true_norm(product, order))


def test_maps_that_do_not_follow_are_refused() -> None:
    first = a_map(ATEN.linear.default, randn(2, 7), randn(5, 7))
    with pytest.raises(ValueError, match=r"second must read rows of shape \(5,\)"):
        compose(first, first)


def test_an_unknown_order_is_refused() -> None:
    linear = a_map(ATEN.linear.default, randn(2, 7), randn(5, 7))
    with pytest.raises(ValueError, match="order must be 1, 2 or infinity, got 3"):
        norm(linear, 3)


def test_numbers_that_are_not_finite_leave_the_norm_open() -> None:
    weight = randn(5, 7)
    weight[2, 3] = math.inf
    linear = a_map(ATEN.linear.default, randn(2, 7), weight)

    assert [norm(linear, order) for order in ORDERS] == [Bracket(0.0, math.inf)] * 3


def test_a_store_saves_equal_maps_from_being_measured_twice() -> None:
    store: dict[Any, Bracket] = {}
    for weight in (randn(5, 7), randn(5, 7), randn(5, 7, seed=1)):
        linear = a_map(ATEN.linear.default, randn(2, 7), weight)
        assert norm(linear, 2, store) == norm(linear, 2)
    assert len(store) == 2


@pytest.mark.parametrize("shape", [(3, 60, 70), (2, 90, 60), (5, 1, 8), (4, 12, 12)])
@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_the_largest_singular_value_is_bounded_closely(
    shape: tuple[int, ...], kind: torch.dtype
) -> None:
    matrices = torch.randn(
        shape, dtype=kind, generator=torch.Generator().manual_seed(0)
    )
    for matrix in (matrices, matrices * 1e-200, matrices * 1e200, matrices * 0):
        true = float(torch.linalg.matrix_norm(matrix / 1e100, 2).max()) * 1e100
        found = largest_singular(matrix)
        assert true * (1 - OFF) <= found <= true * 1.0011


@pytest.mark.parametrize("shape", [(3, 60, 70), (40, 12, 90), (2, 128, 130)])
@pytest.mark.parametrize("size", [1e-15, 1.0, 1e15])
def test_what_float32_rounds_is_part_of_the_largest_singular_value(
    shape: tuple[int, ...], size: float
) -> None:
    chance = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.complex64, generator=chance) * size

    found = largest_singular(matrices)

    true = float(torch.linalg.matrix_norm(matrices.to(torch.complex128), 2).max())
    assert true <= found <= true * 1.005
    assert true * 0.9 <= about_largest(matrices) <= true * 1.0001


def test_what_is_not_a_number_has_no_bound() -> None:
    matrices = torch.ones(2, 3, 4).double()
    matrices[1, 0, 0] = math.nan
    assert largest_singular(matrices, known=1.0) == math.inf


@pytest.mark.parametrize("margin", [1e-9, 1e-4])
def test_close_singular_values_are_no_trap(margin: float) -> None:
    """Power iteration alone would take long to find the larger of the two."""
    base, _ = torch.linalg.qr(randn(80, 80).double())
    values = torch.ones(80, dtype=torch.float64)
    values[17] = 1 + margin

    found = largest_singular(((base * values) @ base.t())[None])

    assert 1 + margin <= found * (1 + OFF)
    assert found < 1.0011


def _orthogonal_network() -> nn.Sequential:
    torch.manual_seed(0)
    square = nn.Conv2d(8, 8, 1)
    square.weight.data = torch.linalg.qr(randn(8, 8))[0][:, :, None, None].contiguous()
    linear = parametrizations.orthogonal(nn.Linear(128, 128))
    wide = parametrizations.orthogonal(nn.Linear(128, 40))
    return nn.Sequential(square, nn.ReLU(), nn.Flatten(), linear, nn.Tanh(), wide)


@torch.no_grad()
def test_layers_that_are_orthogonal_have_norm_1_within_1_percent() -> None:
    x, product = randn(2, 8, 4, 4), Bracket(1.0, 1.0)
    for layer in _orthogonal_network().eval():
        if isinstance(layer, nn.Conv2d):
            product = product * norm(a_map(ATEN.conv2d.default, x, layer.weight), 2)
        elif isinstance(layer, nn.Linear):
            product = product * norm(a_map(ATEN.linear.default, x, layer.weight), 2)
        x = layer(x)
    assert 0.99 < product.lower <= product.upper < 1.01


def test_an_average_pool_halves_what_its_windows_share() -> None:
    pool = a_map(ATEN.avg_pool2d.default, randn(2, 32, 8, 8), [2, 2])

    found = [norm(pool, order) for order in ORDERS]

    assert [f.upper for f in found] == pytest.approx([0.25, 0.5, 1.0], rel=1e-6)
    assert [f.lower for f in found] == pytest.approx([0.25, 0.5, 1.0], rel=1e-6)
