"""Lipschitz constants of steps that are not linear, against pairs and Jacobians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from sensitivity_support import ATEN, call_on
from stoic.network.certified.contract import Call
from stoic.network.program import First
from stoic.sensitivity.bracket import Bracket
from stoic.sensitivity.constants import constant

ORDERS = (1, 2, math.inf)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _steepest_seen(call: Call, points: list[Tensor], order: float) -> float:
    """The largest norm of the step's Jacobian at some points, each of one row."""

    def run(x: Tensor) -> Tensor:
        result: Tensor = call.step(lambda n: x if n == "x" else _wide(call.golden(n)))
        return result.flatten()

    found = 0.0
    for point in points:
        jacobian = jacrev(run)(point.double()).flatten(1)
        if order == 2:
            found = max(found, float(torch.linalg.matrix_norm(jacobian, 2)))
        else:
            sums = jacobian.abs().sum(0 if order == 1 else 1)
            found = max(found, float(sums.max()))
    return found


def _wide(value: object) -> object:
    return value.double() if isinstance(value, Tensor) else value


def _max_pools() -> dict[str, tuple[Call, float]]:
    """Calls, and how many windows hold one element at most."""
    image, pool = randn(2, 1, 9, 8), ATEN.max_pool2d.default
    adaptive = First(ATEN.adaptive_max_pool2d.default)
    return {
        "apart": (call_on(pool, image, [2, 2]), 1),
        "overlapping": (call_on(pool, image, [3, 3], [2, 2]), 4),
        "padded": (call_on(pool, image, [3, 2], [1, 2], [1, 0]), 3),
        "dilated": (call_on(pool, image, [3, 3], [2, 1], [0, 1], [2, 2]), 9),
        "ceiling": (call_on(pool, image, [3, 3], [2, 2], [0, 0], [1, 1], True), 4),
        "one window": (call_on(pool, image[:, :, :3, :3], [3, 3], [1, 1]), 1),
        "line": (call_on(ATEN.max_pool1d.default, image[:, 0], [3], [1]), 3),
        "adaptive": (call_on(adaptive, image, [2, 5]), 4),
    }


@pytest.mark.parametrize("name", _max_pools())
def test_a_maximum_is_as_steep_as_windows_hold_an_element(name: str) -> None:
    call, windows = _max_pools()[name]
    x = call.golden("x")
    # A peak at each element in turn is what all of its windows show.
    peaks = torch.eye(x[0].numel()).reshape(-1, 1, *x.shape[1:])
    known = {1: float(windows), 2: math.sqrt(windows), math.inf: 1.0}
    for order in ORDERS:
        found = constant(call, order)
        assert found is not None
        assert found.upper == pytest.approx(known[order])
        seen = _steepest_seen(call, [*peaks.unbind()], order)
        assert seen == pytest.approx(known[order])


def _others() -> dict[str, Call]:
    x, image = randn(2, 6), randn(2, 4, 3, 3)
    norm = ATEN.layer_norm.default
    return {
        "softmax": call_on(ATEN.softmax.int, x, -1),
        "softmax of two": call_on(ATEN.softmax.int, x[:, :2], 1),
        "log softmax": call_on(ATEN.log_softmax.int, x, 1),
        "log softmax of two": call_on(ATEN.log_softmax.int, x[:, :2], 1),
        "log of sums": call_on(ATEN.logsumexp.default, x, [1]),
        "largest": call_on(ATEN.amax.default, image, [2, 3]),
        "layer norm": call_on(norm, x, [6], randn(6), randn(6, seed=1), 1e-3),
        "bare layer norm": call_on(norm, x, [6], None, None, 1e-3),
        "group norm": call_on(
            *(ATEN.group_norm.default, image, 2, randn(4), randn(4), 1e-3)
        ),
        "instance norm": call_on(
            ATEN.instance_norm.default,
            *(image, randn(4), None, None, None, True, 0.1, 1e-3, False),
        ),
        "rms norm": call_on(ATEN.rms_norm.default, x, [6], randn(6), 1e-3),
        "gelu": call_on(ATEN.gelu.default, x),
        "batch norm": call_on(
            First(ATEN._native_batch_norm_legit_no_training.default),
            *(image, randn(4), None, randn(4), randn(4).abs(), 0.1, 1e-5),
        ),
    }


@pytest.mark.parametrize("name", _others())
def test_no_jacobian_is_steeper_than_the_constant(name: str) -> None:
    call = _others()[name]
    shape = (1, *call.golden("x").shape[1:])
    points = [
        randn(*shape, seed=seed) * 10.0 ** (seed % 7 - 4) + seed % 3
        for seed in range(42)
    ]
    for order in ORDERS:
        found = constant(call, order)
        assert found is not None
        assert _steepest_seen(call, points, order) <= found.upper * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "point", "reached"),
    [
        ("softmax", [[0.0, 0.0, -90.0, -90.0, -90.0, -90.0]], [0.5, 0.5, 0.5]),
        ("log softmax", [[90.0, 0, 0, 0, 0, 0]], [5.0, math.sqrt(6), 2.0]),
        ("log softmax of two", [[90.0, 0.0]], [1.0, math.sqrt(2), 2.0]),
        ("bare layer norm", [[0.0] * 6], [None, 1 / math.sqrt(1e-3), None]),
    ],
)
def test_some_constants_are_reached(
    name: str, point: list[list[float]], reached: list[float | None]
) -> None:
    call = _others()[name]
    for order, known in zip(ORDERS, reached, strict=True):
        found = constant(call, order)
        assert found is not None
        if known is not None:
            assert found.upper == pytest.approx(known)
            seen = _steepest_seen(call, [torch.tensor(point)], order)
            assert seen == pytest.approx(known, rel=1e-6)


def test_a_table_is_copied_as_often_as_its_rows_are_looked_up() -> None:
    table, ids = randn(5, 3), torch.tensor([[0, 1, 1, 1], [4, 4, 2, 0]])
    call = call_on(ATEN.embedding.default, table, ids)

    found = [constant(call, order) for order in ORDERS]

    assert [f.upper for f in found if f] == pytest.approx([3.0, math.sqrt(3), 1.0])


def test_a_linear_step_has_its_norm() -> None:
    weight = randn(5, 7)
    call = call_on(ATEN.linear.default, randn(2, 7), weight)

    found = constant(call, 2)

    assert found is not None and found.exact
    true = float(torch.linalg.matrix_norm(weight.double(), 2))
    assert found.upper == pytest.approx(true)


def test_what_has_no_constant_has_none() -> None:
    x = randn(2, 6)
    calls = [
        call_on(ATEN.exp.default, x),
        call_on(ATEN.softmax.int, x, 0),
        call_on(ATEN.layer_norm.default, x, [2, 6]),
        call_on(ATEN.round.default, x),
        call_on(ATEN.amax.default, x, []),
    ]
    assert [constant(call, 2) for call in calls] == [None] * len(calls)


@pytest.mark.parametrize(
    ("a", "b"),
    [((0.1, 0.3), (3.0, 7.0)), ((0.0, 0.0), (1.0, math.inf)), ((1.0, 1.0), (2.0, 2.0))],
)
def test_brackets_of_products_sums_and_powers_hold(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    first, second = Bracket(*a), Bracket(*b)
    low, high = first * second, first + second

    assert low.lower <= a[0] * b[0]
    assert low.upper >= (a[1] * b[1] if a[1] else 0.0)
    assert high.lower <= a[0] + b[0] <= a[1] + b[1] <= high.upper
    assert (first**0.5).lower <= a[0] ** 0.5 <= a[1] ** 0.5 <= (first**0.5).upper


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0)])
def test_bounds_in_the_wrong_order_are_no_bracket(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="bracket must have 0 <= lower <= upper"):
        Bracket(*bounds)
