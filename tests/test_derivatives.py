"""Slopes of operators that work element by element, against quotients on grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stoic.network.capture import capture
from stoic.network.certified.contract import Call
from stoic.network.program import Program
from stoic.sensitivity.derivatives import derivative_range, steepest

Function = Callable[[Tensor], Tensor]

# What each is captured as, and its known steepest slope where there is a closed form.
FUNCTIONS: dict[str, tuple[Function, float | None]] = {
    "relu": (F.relu, 1.0),
    "relu6": (F.relu6, 1.0),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 2.0), 1.0),
    "clamp": (lambda x: x.clamp(-1.5, 1.0), 1.0),
    "clamp from below": (lambda x: x.clamp(min=-1.0), 1.0),
    "clamp from above": (lambda x: x.clamp(max=1.0), 1.0),
    "clamp, empty": (lambda x: x.clamp(1.0, -1.0), 0.0),
    "clamp_min": (lambda x: torch.clamp_min(x, 0.25), 1.0),
    "clamp_max": (lambda x: torch.clamp_max(x, 0.25), 1.0),
    "maximum": (lambda x: torch.maximum(x, torch.tensor(0.5)), 1.0),
    "minimum": (lambda x: torch.minimum(torch.tensor(0.5), x), 1.0),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), 1.0),
    "leaky_relu, steep": (lambda x: F.leaky_relu(x, -3.0), 3.0),
    "rrelu": (lambda x: F.rrelu(x, 0.1, 0.5), 1.0),
    "threshold": (lambda x: F.threshold(x, 0.5, 0.5), 1.0),
    "hardswish": (F.hardswish, 1.5),
    "hardsigmoid": (F.hardsigmoid, 1 / 6),
    "elu": (lambda x: F.elu(x, 1.7), 1.7),
    "selu": (F.selu, 1.7580993408473766),
    "celu": (lambda x: F.celu(x, 0.6), 1.0),
    "softplus": (lambda x: F.softplus(x, 2.0), 1.0),
    "gelu": (F.gelu, 1.128904145187),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), 1.128993068659),
    "silu": (F.silu, 1.099839320129),
    "mish": (F.mish, 1.088498161252),
    "sigmoid": (torch.sigmoid, 0.25),
    "tanh": (torch.tanh, 1.0),
    "logsigmoid": (F.logsigmoid, 1.0),
    "abs": (torch.abs, 1.0),
    "neg": (torch.neg, 1.0),
    "erf": (torch.erf, 2 / math.sqrt(math.pi)),
    "exp": (torch.exp, math.inf),
    "expm1": (torch.expm1, math.inf),
    "square": (torch.square, math.inf),
    "cube": (lambda x: x**3, math.inf),
    "fourth power": (lambda x: x**4, math.inf),
    "doubled": (lambda x: 2 * x, 2.0),
    "divided": (lambda x: x / 3, 1 / 3),
    "shifted": (lambda x: x - 1, 1.0),
    "taken away": (lambda x: 1 - x, 1.0),
    "per element": (lambda x: x * torch.linspace(-2, 2, 401), 2.0),
    "masked": (lambda x: x.masked_fill(torch.arange(401) % 2 == 0, 0.0), 1.0),
}
POSITIVE: dict[str, Function] = {
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "log": torch.log,
    "reciprocal": torch.reciprocal,
    "power": lambda x: x**0.75,
    "inverse cube": lambda x: x**-3,
}


class _Applied(nn.Module):
    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> list[Tensor]:
        return [function(x) for function in self.functions]


def calls_of(functions: Sequence[Function], x: Tensor) -> list[Call]:
    """The last step of each captured function, on its values for ``x``."""
    network = _Applied(functions).eval()
    # Modules among them keep their parameters, which a list would hide.
    network.parts = nn.ModuleList(f for f in functions if isinstance(f, nn.Module))
    program = capture(network, (x,), {})
    values = program.run([x])
    fixed = {*values} - _moved_by(program)
    steps = [program.by_name[leaf.name] for leaf in program.outputs]
    return [Call(step, values.__getitem__, fixed) for step in steps]


def _grid(low: float | Tensor, high: float | Tensor) -> Tensor:
    """Evenly spaced numbers; a row of them for each pair of ends."""
    steps = torch.linspace(0, 1, 401, dtype=torch.float64)
    return torch.as_tensor(low) + (torch.as_tensor(high) - low) * steps


def _quotients(function: Function, at: Tensor) -> Tensor:
    y = function(at)
    return y.diff() / at.diff()


@cache
def _named() -> dict[str, Call]:
    """All functions of the tables; capture takes longer than all else here."""
    x = _grid(-7, 7).expand(3, -1).float()
    positive = calls_of([*POSITIVE.values()], _grid(0.1, 5).expand(3, -1).float())
    calls = calls_of([each for each, _ in FUNCTIONS.values()], x)
    names = (*FUNCTIONS, *POSITIVE)
    return dict(zip(names, calls + positive, strict=True))


def _moved_by(program: Program) -> set[str]:
    """Values that the inputs reach; the size of a batch is none."""
    moved = set(program.inputs)
    for step in program.steps:
        if moved & {*step.inputs} and step.operator != "sym_size":
            moved.add(step.name)
    return moved


SIDE_BY_SIDE = ("per element", "masked")


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in SIDE_BY_SIDE])
def test_a_range_of_slopes_holds_every_quotient_and_no_more(name: str) -> None:
    function, _ = FUNCTIONS[name]
    call = _named()[name]
    chance = torch.Generator().manual_seed(0)
    ends = torch.rand(300, 2, generator=chance, dtype=torch.float64) * 14 - 7
    ends[:50] = ends[:50].round()
    ends = ends[ends[:, 0] != ends[:, 1]]
    lo, hi = ends.amin(1, keepdim=True), ends.amax(1, keepdim=True)

    found = derivative_range(call, lo, hi)

    assert found is not None
    least, largest = found
    at = _grid(lo, hi)
    quotients = _quotients(function, at)
    step = (hi - lo) / 400
    # Rounding of the values, divided by a small step.
    noise = 4e-16 * function(at).abs().amax(1, keepdim=True) / step + 1e-11
    assert (least <= quotients + noise).all()
    assert (largest >= quotients - noise).all()
    # A quotient over one step of the grid misses the extreme slope by a curvature; of a
    # piece that hardly begins in the interval none sees the slope at all.
    coarse = (hi - lo) * 0.02 * (1 + least.abs() + largest.abs()) + noise
    wider = _quotients(function, _grid(lo - 3 * step, hi + 3 * step))
    assert (least >= wider.amin(1, keepdim=True) - coarse).all()
    assert (largest <= wider.amax(1, keepdim=True) + coarse).all()


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_a_line_for_each_element_has_its_own_slope(name: str) -> None:
    function, call = FUNCTIONS[name][0], _named()[name]

    found = derivative_range(call, -torch.ones(3, 401), torch.ones(3, 401))

    assert found is not None
    slopes = function(torch.ones(3, 401)) - function(torch.zeros(3, 401))
    assert all(torch.equal(end.float(), slopes) for end in found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_steepest_slope_is_the_known_one(name: str) -> None:
    _, known = FUNCTIONS[name]

    found = steepest(_named()[name])

    assert found is not None and known is not None
    assert found == pytest.approx(known, rel=1e-6)
    assert found >= known * (1 - 1e-11)


@pytest.mark.parametrize("name", POSITIVE)
def test_a_function_of_positive_numbers_has_slopes_there_alone(name: str) -> None:
    function = POSITIVE[name]
    call = _named()[name]
    lo = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    found = derivative_range(call, lo, torch.full_like(lo, 2.0))

    assert found is not None
    low, high = found
    quotients = _quotients(function, _grid(0.5, 2.0))
    assert float(low[0, 0]) <= float(quotients.min())
    assert float(high[0, 0]) >= float(quotients.max())
    assert float(low[0, 0]) == pytest.approx(float(quotients.min()), rel=0.03)
    assert float(high[0, 0]) == pytest.approx(float(quotients.max()), rel=0.03)
    assert [float(low[0, 1]), float(high[0, 1])] == [-math.inf, math.inf]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_end_is_not_a_number(name: str) -> None:
    call = _named()[name]
    far = torch.tensor([1e-30, 1.0, 90.0, 800.0, 1e30, 1e300, math.inf]).double()
    for lo, hi in ((-far, far), (far, far), (-far, -far), (far, 0 * far + math.inf)):
        lo, hi = (end.repeat(58)[:401][None] for end in (lo, hi))
        found = derivative_range(call, lo, hi)
        assert found is not None
        assert not any(end.isnan().any() for end in found)
        assert (found[0] <= found[1]).all()


def test_a_prelu_has_a_slope_for_each_channel() -> None:
    network = nn.PReLU(3)
    network.weight.data = torch.tensor([0.1, -0.5, 2.0])
    x = torch.randn(2, 3, 4, 4)
    (call,) = calls_of([network], x)
    found = derivative_range(call, -torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4))

    assert found is not None
    assert found[0][1, :, 2, 3].tolist() == pytest.approx([0.1, -0.5, 1.0])
    assert found[1][1, :, 2, 3].tolist() == pytest.approx([1.0, 1.0, 2.0])
    assert steepest(call) == 2.0


def test_what_jumps_or_mixes_elements_has_no_slopes() -> None:
    functions: list[Function] = [
        lambda x: F.threshold(x, 0.5, 1.0),
        lambda x: F.hardshrink(x, 0.5),
        lambda x: F.softplus(x, 1.0, 2.0),
        torch.round,
        lambda x: x * x,
        lambda x: x.sum(1),
        lambda x: x[:, :1] + torch.ones(401),
    ]
    for call in calls_of(functions, _grid(-7, 7).expand(3, -1).float()):
        assert derivative_range(call, call.result, call.result) is None
        assert steepest(call) is None
