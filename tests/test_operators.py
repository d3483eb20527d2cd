"""Every operator that has a bound, against what really moves, at all sizes."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.program import Ref, Step, as_reshape
from stoic.sensitivity.operators import turns_of
from stoic.sensitivity.operators.always import Always, always_of
from stoic.sensitivity.operators.contract import (
    Crossings,
    Moved,
    Moves,
    Turn,
    Turns,
    single,
    two_norm,
)
from stoic.sensitivity.parts.layouts import Rows
from stoic.sensitivity.parts.masked import Masked
from stoic.sensitivity.perturbation import Perturbation, WrongWords

ATEN = torch.ops.aten
INPUTS = 2
Sample = tuple[Any, ...]
"""Shapes (or values) of what deviates, wrapped in a list, and other arguments."""


def registry() -> set[Any]:
    """Every operator that a rule of the room is registered for."""
    room = "stoic.sensitivity."
    tables = {
        "operators": ("_OWN", "_TOGETHER"),
        "operators.linear": ("_LINEAR",),
        "operators.summing": ("_TERMS",),
        "operators.weighed": ("_CONVOLUTIONS", "_TURNED", "_PRODUCTS"),
        "operators.always": ("_RULES",),
        "curves": ("_RULES",),
    }
    return {
        op
        for module, names in tables.items()
        for name in names
        for op in getattr(importlib.import_module(room + module), name)
    }


def drawn(*shape: int) -> Tensor:
    """Numbers of several sizes, with corners and zeros among them."""
    value = torch.randn(*shape, dtype=torch.float64)
    value = value * 10 ** (torch.rand(shape[0], *[1] * (len(shape) - 1)) * 2 - 1)
    corners = torch.tensor(
        [0.0, 0.0, -3.0, 3.0, 6.0, 0.5, -0.5, 1.0], dtype=value.dtype
    )
    chosen = corners[torch.randint(len(corners), shape)]
    return chosen.where(torch.rand(shape) < 0.2, value)


def positive(*shape: int) -> Tensor:
    return drawn(*shape).abs() + 0.01


class Given(tuple[Any, ...]):
    """A value that deviates: its shape, or the function that draws it and that."""


def x(*shape: int, by: Callable[..., Tensor] = drawn) -> Given:
    return Given((by, (INPUTS, *shape)))


def w(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def spread(count: int) -> Tensor:
    return torch.rand(count, dtype=torch.float64) + 0.1


FLAT = (3, 5)
UNARY = (
    "relu relu6 abs neg hardtanh leaky_relu rrelu softshrink hardswish hardsigmoid "
    "elu celu selu softplus gelu silu mish sigmoid tanh log_sigmoid exp expm1 square "
    "erf clone alias detach contiguous"
)
POSITIVE = "sqrt rsqrt log reciprocal"


def samples() -> dict[Any, list[Sample]]:
    """Calls of each operator."""
    made: dict[Any, list[Sample]] = {
        getattr(ATEN, name).default: [(x(*FLAT),)] for name in UNARY.split()
    }
    for name in POSITIVE.split():
        made[getattr(ATEN, name).default] = [(x(*FLAT, by=positive),)]
    for part in (_elementwise, _sums, _products, _pools, _norms, _moves):
        for op, calls in part().items():
            made[op] = made.get(op, []) + calls
    return made


def _elementwise() -> dict[Any, list[Sample]]:
    mask = torch.rand(INPUTS, *FLAT) < 0.5
    return {
        ATEN.hardtanh.default: [(x(*FLAT), -0.5, 2.0)],
        ATEN.leaky_relu.default: [(x(*FLAT), -1.5)],
        ATEN.elu.default: [(x(*FLAT), 1.7, 1.1, 0.6)],
        ATEN.gelu.default: [(x(*FLAT), {"approximate": "tanh"})],
        ATEN.softplus.default: [(x(*FLAT), 2.0, 30.0)],
        ATEN.clamp.default: [(x(*FLAT), -1.0, 0.5), (x(*FLAT), None, 1.0)],
        ATEN.clamp.Tensor: [(x(*FLAT), -spread(5), spread(5))],
        ATEN.clamp_min.default: [(x(*FLAT), 0.5)],
        ATEN.clamp_max.default: [(x(*FLAT), 0.5)],
        ATEN.maximum.default: [(x(*FLAT), w(5))],
        ATEN.minimum.default: [(w(5), x(*FLAT))],
        ATEN.prelu.default: [(x(*FLAT), w(3)), (x(*FLAT), w(1))],
        ATEN.threshold.default: [(x(*FLAT), 0.5, 0.5)],
        ATEN.masked_fill.Scalar: [(x(*FLAT), mask, -7.0)],
        ATEN.where.self: [(mask, x(*FLAT), w(5)), (mask, w(5), x(*FLAT))],
        ATEN.pow.Tensor_Scalar: [(x(*FLAT), 2), (x(*FLAT), 3)]
        + [(x(*FLAT, by=positive), e) for e in (0.5, -2, -0.5)],
        ATEN.rsub.Scalar: [(x(*FLAT), 1.0)],
        ATEN.dropout.default: [(x(*FLAT), 0.5, False)],
        ATEN.feature_dropout.default: [(x(*FLAT), 0.5, False)],
        ATEN.alpha_dropout.default: [(x(*FLAT), 0.5, False)],
        ATEN._to_copy.default: [(x(*FLAT), {"dtype": torch.float64})],
    }


def _sums() -> dict[Any, list[Sample]]:
    both = (x(*FLAT), x(*FLAT))
    return {
        ATEN.add.Tensor: [both, (x(*FLAT), w(5)), (x(*FLAT), 2.0), (x(*FLAT), x(3, 1))],
        ATEN.sub.Tensor: [both, (w(5), x(*FLAT)), (*both, {"alpha": 3})],
        ATEN.mul.Tensor: [
            *(both, (x(*FLAT), x(3, 1)), (x(1, 5), x(3, 1)), (w(5), x(*FLAT))),
            *((x(*FLAT), 0.25), (x(*FLAT), -2.0)),
        ],
        ATEN.div.Tensor: [(x(*FLAT), w(5)), (x(*FLAT), 4.0), (x(*FLAT), -4.0)],
        ATEN.mean.dim: [(x(*FLAT), [1, 2], True), (x(*FLAT), [-1])],
        ATEN.sum.dim_IntList: [(x(*FLAT), [2]), (x(*FLAT), [1], True)],
        ATEN.cumsum.default: [(x(*FLAT), 2)],
        ATEN.amax.default: [(x(*FLAT), [2]), (x(*FLAT), [1, 2], True)],
        ATEN.max.dim: [(x(*FLAT), 1)],
        ATEN.logsumexp.default: [(x(*FLAT), [2]), (x(*FLAT), [1], True)],
        ATEN.softmax.int: [(x(*FLAT), -1), (x(*FLAT), 1)],
        ATEN._softmax.default: [(x(*FLAT), 2, False)],
        ATEN.log_softmax.int: [(x(*FLAT), -1)],
        ATEN._log_softmax.default: [(x(*FLAT), 1, False)],
        Masked(-1): [(x(*FLAT), torch.tensor([True, False, False, True, False]), None)],
    }


def _convolutions() -> Iterator[tuple[Any, Sample]]:
    for dims in (1, 2, 3):
        side, kernel = [5, 4, 2][:dims], [2] * dims
        op = getattr(ATEN, f"conv{dims}d")
        turned = getattr(ATEN, f"conv_transpose{dims}d")
        turned = turned.default if dims == 1 else turned.input
        yield op.default, (x(2, *side), w(4, 2, *kernel), w(4), [1] * dims, [1] * dims)
        grouped = (x(2, *side), w(4, 1, *kernel), None, [2] * dims)
        yield op.default, (*grouped, [0] * dims, [1] * dims, 2)
        yield op.padding, (x(2, *side), w(3, 2, *kernel), w(3), [1] * dims, "same")
        yield turned, (x(2, *side), w(2, 3, *kernel), w(3), [2] * dims)


def _products() -> dict[Any, list[Sample]]:
    made: dict[Any, list[Sample]] = {}
    for op, sample in _convolutions():
        made.setdefault(op, []).append(sample)
    return made | {
        ATEN.linear.default: [(x(*FLAT), w(4, 5), w(4)), (x(5), w(4, 5))],
        ATEN.addmm.default: [(w(4), x(5), w(5, 4))],
        ATEN.mm.default: [(x(5), w(5, 4))],
        ATEN.bmm.default: [(x(3, 4), x(4, 5))],
        ATEN.matmul.default: [
            *((x(*FLAT), w(5, 4)), (x(2, 3, 4), x(2, 4, 3)), (x(1, 3, 4), x(2, 4, 3))),
            (x(2, 3, 4, by=shares), x(2, 4, 3), Always(0.0, 1.0, 1e-12)),
        ],
    }


def shares(*shape: int) -> Tensor:
    return torch.softmax(drawn(*shape), -1)


def _pools() -> dict[Any, list[Sample]]:
    made: dict[Any, list[Sample]] = {
        ATEN.max_pool2d.default: [
            (x(2, 5, 5), [2, 2]),
            (x(2, 5, 5), [3, 3], [2, 2], [1, 1]),
            (x(2, 5, 5), [2, 2], [1, 1], [0, 0], [2, 2], True),
        ]
    }
    for dims in (1, 2, 3):
        side, kernel = [5, 4, 3][:dims], [2] * dims
        average = getattr(ATEN, f"avg_pool{dims}d").default
        made[average] = [(x(2, *side), kernel, [1] * dims, [1] * dims)]
        adaptive = getattr(ATEN, f"adaptive_avg_pool{dims}d").default
        made[adaptive] = [(x(2, *side), [2] * dims), (x(2, *side), [1] * dims)]
        wide = (x(1, *side), [7, 5, 3][-dims:])
        made[getattr(ATEN, f"upsample_nearest{dims}d").vec] = [(*wide, None)]
        name = ("linear1d", "bilinear2d", "trilinear3d")[dims - 1]
        made[getattr(ATEN, f"upsample_{name}").vec] = [(*wide, False, None)]
        if dims < 3:
            for kind in ("reflection", "replication"):
                pad = getattr(ATEN, f"{kind}_pad{dims}d").default
                made[pad] = [(x(2, *side), [1, 2] * dims)]
    return made | {ATEN.pad.default: [(x(2, 4), [1, 2]), (x(2, 4), [1, 1], "reflect")]}


def alike(*shape: int) -> Tensor:
    """Rows of which some have hardly any spread, or none."""
    value = drawn(*shape)
    value[0] = value[0, ..., :1] + 1e-4 * torch.randn(shape[1:])
    value[-1, 0] = 0.0
    return value


def _norms() -> dict[Any, list[Sample]]:
    stored = (w(2), w(2), w(2), spread(2), 0.1, 1e-5)
    return {
        ATEN._native_batch_norm_legit_no_training.default: [(x(2, 3), *stored)],
        ATEN.layer_norm.default: [
            (x(*FLAT, by=by), [5], *affine, eps)
            for by in (drawn, alike)
            for affine in ((None, None), (w(5), w(5)))
            for eps in (1e-5, 0.1)
        ],
        ATEN.rms_norm.default: [
            (x(*FLAT, by=by), [5], weight, eps)
            for by in (drawn, alike)
            for weight, eps in ((None, None), (w(5), 1e-3))
        ],
    }


def _moves() -> dict[Any, list[Sample]]:
    shape = [INPUTS, 5, 3]
    return {
        as_reshape: [(x(*FLAT), shape)],
        Rows(torch.tensor([[3, 0], [7, 7]])): [(x(*FLAT),)],
        ATEN.reshape.default: [(x(*FLAT), shape)],
        ATEN.flatten.using_ints: [(x(*FLAT), 1)],
        ATEN.unflatten.int: [(x(6), 1, [2, 3])],
        ATEN.permute.default: [(x(*FLAT), [0, 2, 1])],
        ATEN.expand.default: [(x(3, 1), [-1, -1, 4])],
        ATEN.transpose.int: [(x(*FLAT), 1, 2)],
        ATEN.unsqueeze.default: [(x(*FLAT), 1)],
        ATEN.squeeze.dim: [(x(3, 1), 2)],
        ATEN.squeeze.dims: [(x(1, 3, 1), [1, 3])],
        ATEN.select.int: [(x(*FLAT), 1, 2)],
        ATEN.slice.Tensor: [(x(*FLAT), 2, 1, 4)],
        ATEN.cat.default: [([x(3), x(2), x(3)], 1)],
    }


SAMPLES = samples()


def named(op: Any) -> str:
    return str(getattr(op, "__name__", op))


def test_every_operator_with_a_rule_has_a_sample() -> None:
    assert registry() <= {*SAMPLES}
    assert len(registry()) > 100


class Made:
    """A call with what deviates in its places, and everything else stored."""

    def __init__(self, op: Any, sample: Sample) -> None:
        self.values: dict[str, Any] = {}
        self.moving: list[str] = []
        self.always = next((a for a in sample if isinstance(a, Always)), Always())
        kwargs = next((dict(a) for a in sample if isinstance(a, dict)), {})
        rest = [a for a in sample if not isinstance(a, dict | Always)]
        step = Step("y", op, tuple(map(self._arg, rest)), kwargs, "", True, 0)
        self.values["y"] = self._first(step(self.values.__getitem__))
        self.call = Call(step, self.values.__getitem__, {*self.values} - {*self.moving})

    def _first(self, result: Any) -> Tensor:
        found: Tensor = result if isinstance(result, Tensor) else result[0]
        return found

    def _arg(self, arg: Any) -> Any:
        if isinstance(arg, list) and arg and isinstance(arg[0], Given):
            return [self._arg(each) for each in arg]
        if isinstance(arg, Given):
            make, shape = arg
            self.moving.append(f"x{len(self.values)}")
            return self._put(make(*shape), self.moving[-1])
        return self._put(arg) if isinstance(arg, Tensor) else arg

    def _put(self, value: Tensor, name: str = "") -> Ref:
        name = name or f"w{len(self.values)}"
        self.values[name] = value
        return Ref(name)

    def again(self, *moves: Tensor) -> Tensor:
        """Run it elsewhere."""
        there = {
            name: self.values[name] + move
            for name, move in zip(self.moving, moves, strict=True)
        }
        return self._first(self.call.step({**self.values, **there}.__getitem__))

    def moved(self, size: float, *, ball: bool) -> list[Moved]:
        """Draw how far each value may move: in any direction, or element by element.

        Some elements stay then, and some inputs.
        """
        found = []
        for name in self.moving:
            value = self.values[name]
            most = torch.rand_like(value) * size * (torch.rand_like(value) < 0.8)
            norm = two_norm(most) * (0.3 + torch.rand(len(value), dtype=torch.float64))
            if self.always.shares is not None and name == self.moving[0]:
                found.append(Moved(most, norm, self.always))
            elif ball:
                norm = torch.rand(len(value), dtype=torch.float64) * size
                most = norm.reshape(-1, *[1] * (value.dim() - 1)).expand_as(value)
                found.append(Moved(most, norm))
            else:
                found.append(Moved.tightened(most, norm))
        return found

    def moves(self, moved: list[Moved], steep: list[Tensor]) -> Iterator[list[Tensor]]:
        """Yield moves: along given directions, to corners, of any size, of a few."""
        drawn = [torch.randn_like(each.most) for each in moved]
        few = [noise * (torch.rand_like(noise) < 0.3) for noise in drawn]
        far = [each.sign() * 1e3 for each in drawn]
        back = [-each for each in steep]
        toward = [-self.values[name] for name in self.moving]
        for noise in (steep, back, far, drawn, few, toward):
            yield [
                self._within(name, each * own.most.clamp(max=1e9), own)
                for name, each, own in zip(self.moving, noise, moved, strict=True)
            ]

    def _within(self, name: str, move: Tensor, moved: Moved) -> Tensor:
        """Return a move that is cut to what is allowed."""
        move = torch.maximum(torch.minimum(move, moved.most), -moved.most)
        if moved.always.shares is not None:
            move = _to_shares(self.values[name], move, moved)
        size = move.flatten(1).norm(dim=1).clamp(min=1e-300)
        scale = (moved.norm / size).clamp(max=1.0)
        cut: Tensor = move * scale.reshape(-1, *[1] * (move.dim() - 1))
        return cut


def _to_shares(golden: Tensor, move: Tensor, moved: Moved) -> Tensor:
    """Go from shares towards others, as far as they may move."""
    aim = torch.softmax(golden.clamp(min=1e-9).log() + move, -1) - golden
    ratio = (moved.most / aim.abs().clamp(min=1e-300)).amin((1, 2, 3), keepdim=True)
    return aim * ratio.clamp(max=1.0)


def turns_at(made: Made, each: list[list[Moved]]) -> Turns:
    """What the operator does with several perturbations at once, as in a program."""
    moves = tuple(
        Moves(
            torch.stack([single(one.most) for one in both]),
            torch.stack([one.norm for one in both]),
            tuple(one.always for one in both),
        )
        for both in zip(*each, strict=True)
    )
    wrong = (WrongWords(Perturbation()),) * len(each)
    turns = turns_of(Crossings(made.call, moves, wrong))
    assert turns is not None, made.call.step.operator
    return turns


def inside(size: Tensor, bound: Tensor | float, slack: Tensor | float) -> bool:
    return bool((size <= torch.as_tensor(bound) + slack).all())


def derivatives_of(turn: Turn, like: Tensor) -> list[Tensor]:
    """Rows of the derivative at golden values, [elements of a result, *value]."""
    count = like[0].numel()
    units = torch.eye(count, dtype=torch.float64).reshape(count, 1, *like.shape[1:])
    units = units.expand(count, *like.shape)
    given = units.float() if turn.adjoint.single else units
    return [part.double() for part in turn.adjoint.signed(given)]


def steepest(rows: Tensor) -> Tensor:
    """The direction that a derivative stretches most, for each input."""
    known = rows.nan_to_num(0.0, 0.0, 0.0).flatten(2).transpose(0, 1)
    direction: Tensor = torch.linalg.svd(known, full_matrices=False).Vh[:, 0]
    return direction.reshape(rows.shape[1:])


def check_moves(made: Made, moved: list[Moved], turn: Turn) -> None:
    """Compare moves of the result with its bounds, of elements and in the 2-norm."""
    always = always_of(made.call, [each.always for each in moved], 1e-12)
    golden = made.call.result
    norm = turn.stretch(*(each.norm for each in moved)).nan_to_num(math.inf, math.inf)
    whole = Moved.tightened(turn.most, norm).within(always, golden)
    rows = derivatives_of(turn, golden)
    for moves in made.moves(moved, [steepest(each) for each in rows]):
        change = made.again(*moves) - golden
        if not bool(change.isfinite().all()):
            # Out of what a function is defined on, where nothing is claimed.
            assert not bool(whole.norm.isfinite().all())
            continue
        slack = 1e-13 * (1 + golden.abs().max() + (golden + change).abs().max())
        slack = slack * (1 + max(float(m.abs().max()) for m in moves))
        assert inside(change.abs(), turn.most, slack)
        assert inside(change.abs(), whole.most, slack)
        assert inside(change.flatten(1).norm(dim=1), norm, 9 * slack)
        assert inside(change.flatten(1).norm(dim=1), whole.norm, 9 * slack)
        check_lead(turn, change, moves, rows, slack)


def check_lead(
    turn: Turn, change: Tensor, moves: list[Tensor], rows: list[Tensor], slack: Tensor
) -> None:
    """Compare how far a result is from where its derivative leads."""
    if not all(bool(each.isfinite().all()) for each in rows):
        return
    parts = zip(rows, moves, strict=True)
    led = sum((row * move).flatten(2).sum(2) for row, move in parts)
    off = change - torch.as_tensor(led).T.reshape(change.shape)
    steep = max(float(each.abs().max()) for each in rows)
    size = sum(float(move.abs().sum()) for move in moves)
    room = slack * 10 + (1e-6 if turn.adjoint.single else 1e-14) * size * (1 + steep)
    assert inside(off.abs(), turn.bend, room)
    assert inside(off.flatten(1).norm(dim=1), turn.bend_norm, room * 9)
    if turn.convex:
        assert inside(-off, 0.0, room)


def check_backwards(turn: Turn, like: Tensor) -> None:
    """Absolute derivatives are no less than any with signs."""
    weights = torch.randn(4, *like.shape, dtype=torch.float64)
    given = weights.float() if turn.adjoint.single else weights
    bounds = turn.adjoint.absolute(given.abs().double())
    for signed, bound in zip(turn.adjoint.signed(given), bounds, strict=True):
        assert inside(signed.abs().double(), bound, 1e-6 * bound.abs().clamp(max=1e30))
    if turn.alone is not None:
        ours = turn.alone.spread(weights.float()) * turn.alone.weights
        (theirs,) = turn.adjoint.signed(given)
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", SAMPLES, ids=named)
def test_nothing_moves_or_bends_further_than_an_operator_says(op: Any) -> None:
    torch.manual_seed(0)
    for sample in SAMPLES[op]:
        for size in (0.0, 1e-9, 1e-3, 0.5, 50.0):
            made = Made(op, sample)
            several = [made.moved(size, ball=ball) for ball in (True, False)]
            turns = turns_at(made, several)
            for at, moved in enumerate(several):
                check_moves(made, moved, turns.of(at))
            if size == 1e-3:
                check_backwards(turns.of(0), made.call.result)
