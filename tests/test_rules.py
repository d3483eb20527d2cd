"""Every rule by its own oracle: the whole operator on the materialised arguments."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.network.exact import ExactStepper
from stoic.network.golden import Golden
from stoic.network.patch import Changed, Changes, Patch, overlaid, same_words, whole
from stoic.network.program import First, Program, Ref, Step, as_reshape
from stoic.network.rules import Call, channels, contraction, layout, pointwise, rule_for

ATEN = torch.ops.aten


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Kernels this small spend their time on waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """One operator on arguments of one shape.

    Args:
        carried: Tensor arguments and dimensions, such as ``0.1``, whose patches must
            stay patches: elsewhere a rule may refuse.
    """

    name: str
    op: Callable[..., Any]
    args: tuple[Any, ...]
    carried: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def golden(self) -> Golden:
        """A run of a program of this one step."""
        leaves, spec = pytree.tree_flatten(self.args)
        tensors = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}
        names = {key: f"arg{number}" for number, key in enumerate(tensors)}
        filled = [Ref(names[id(x)]) if id(x) in names else x for x in leaves]
        args = pytree.tree_unflatten(filled, spec)
        step = Step("out", self.op, args, self.kwargs, "", True, 0)
        program = Program(
            steps=(step,),
            stored={},
            origins={},
            inputs=tuple(names.values()),
            outputs=(Ref("out"),),
            output_spec=pytree.tree_flatten(0)[1],
            free_batch=False,
        )
        return Golden(program, list(tensors.values()), None)


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=CHANCE) + 0.5


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=CHANCE)


CHANCE = torch.Generator().manual_seed(0)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def strided(tensor: Tensor) -> Tensor:
    """The same values with gaps between them."""
    wide = tensor.repeat_interleave(2, -1)
    return wide[..., ::2]


def conv(
    name: str,
    value: Tensor,
    weight: Tensor,
    *rest: Any,
    bias: bool = True,
    carried: str = "1.0 2.0",
) -> Case:
    op = {3: ATEN.conv1d, 4: ATEN.conv2d, 5: ATEN.conv3d}[value.dim()].default
    shift = randn(weight.shape[0]) if bias else None
    return Case(name, op, (value, weight, shift, *rest), carried if bias else "1.0")


def convolutions() -> Iterator[Case]:
    x = randn(3, 6, 7, 8)
    yield conv("plain", x, randn(5, 6, 3, 3))
    yield conv("no-bias", x, randn(5, 6, 1, 1), bias=False)
    yield conv("stride", x, randn(4, 6, 3, 2), [2, 1], [1, 0], [1, 2])
    yield conv("groups", x, randn(9, 2, 3, 3), [1, 1], [1, 1], [1, 1], 3)
    yield conv("depthwise", x, randn(6, 1, 3, 3), [2, 2], [1, 1], [1, 1], 6)
    yield conv("multiplied", x, randn(12, 1, 3, 3), [1, 1], [0, 0], [1, 1], 6)
    yield conv("last", channels_last(x), channels_last(randn(5, 6, 3, 3)))
    yield conv("strided", strided(x), randn(5, 6, 3, 3))
    yield conv("wide", randn(2, 40, 5, 5), randn(70, 40, 1, 1))
    yield conv("1d", randn(3, 4, 9), randn(6, 4, 3), [1], [1])
    yield conv("1d-groups", randn(3, 4, 9), randn(6, 2, 3), [1], [1], [1], 2)
    yield conv("3d", randn(2, 3, 4, 5, 4), randn(4, 3, 2, 2, 2))
    yield conv("alone", randn(1, 3, 5, 5), randn(1, 3, 3, 3))
    unbatched = (randn(3, 5, 5), randn(4, 3, 3, 3), randn(4))
    yield Case("unbatched", ATEN.conv2d.default, unbatched)


def products() -> Iterator[Case]:
    w, b = randn(7, 5), randn(7)
    linear = ATEN.linear.default
    yield Case("linear", linear, (randn(3, 5), w, b), "0.0 1.0 2.0")
    yield Case("linear-no-bias", linear, (randn(3, 5), w), "0.0 1.0")
    yield Case("linear-3d", linear, (randn(3, 4, 5), w, b), "0.0 0.1 1.0 2.0")
    yield Case("linear-strided", linear, (strided(randn(3, 5)), w, b), "0.0 1.0")
    yield Case("linear-wide", linear, (randn(3, 40), randn(70, 40), randn(70)))
    yield Case("linear-one-row", linear, (randn(5), w, b), "1.0 2.0")
    yield Case("linear-vector", linear, (randn(3, 5), randn(5)))
    yield Case("linear-twice", linear, (s := randn(5, 5), s))
    yield Case("mm", ATEN.mm.default, (randn(4, 5), randn(5, 6)), "0.0 1.1")
    yield Case("mm-turned", ATEN.mm.default, (randn(5, 4).t(), randn(6, 5).t()), "1.1")
    square = randn(4, 4)
    yield Case("mm-itself", ATEN.mm.default, (square, square))
    yield Case("bmm", ATEN.bmm.default, (randn(3, 4, 5), randn(3, 5, 6)), "1.2")
    matmul = ATEN.matmul.default
    yield Case("matmul", matmul, (randn(2, 3, 4, 5), randn(5, 6)), "1.1")
    yield Case("matmul-wider", matmul, (randn(4, 5), randn(2, 5, 6)), "1.2")
    yield Case("matmul-stack", matmul, (randn(2, 1, 4, 5), randn(3, 5, 6)), "1.2")
    yield Case("matmul-vector", matmul, (randn(4, 5), randn(5)))
    yield Case("vector-matmul", matmul, (randn(5), randn(5, 6)))
    addmm = ATEN.addmm.default
    yield Case("addmm", addmm, (randn(6), randn(4, 5), randn(5, 6)), "2.1")
    yield Case("addmm-rows", addmm, (randn(4, 6), randn(4, 5), randn(5, 6)), "2.1")
    yield Case("addmm-one", addmm, (randn(1), randn(4, 5), randn(5, 6)), "2.1")
    yield Case("addmm-column", addmm, (randn(4, 1), randn(4, 5), randn(5, 6)), "2.1")
    yield Case("addmm-number", addmm, (randn(), randn(4, 5), randn(5, 6)), "2.1")
    scaled = (randn(6), randn(4, 5), randn(5, 6))
    yield Case("addmm-scaled", addmm, scaled, kwargs={"alpha": 0.5})


def lookups() -> Iterator[Case]:
    embedding = ATEN.embedding.default
    ids = torch.tensor([[0, 3, 3, 1], [4, 0, 2, 2]])
    yield Case("embedding", embedding, (randn(5, 3), ids), "")
    yield Case("embedding-padded", embedding, (randn(5, 3), ids, 0), "")
    yield Case("embedding-flat", embedding, (randn(5, 3), ids[0]), "")


def attentions() -> Iterator[Case]:
    attention = ATEN.scaled_dot_product_attention.default
    q, k, v = (randn(2, 3, 4, 8) for _ in range(3))
    heads = "0.1 1.1 2.1"
    yield Case("attention", attention, (q, k, v), heads)
    yield Case("attention-causal", attention, (q, k, v, None, 0.0, True), heads)
    shared = randn(2, 1, 4, 4)
    yield Case("attention-mask", attention, (q, k, v, shared), heads)
    flags = rand(4, 4) > 0.7
    yield Case("attention-flags", attention, (q, k, v, flags), heads)
    own = randn(2, 3, 4, 4)
    yield Case("attention-own-mask", attention, (q, k, v, own))
    yield Case("attention-scaled", attention, (q, k, v), heads, {"scale": 0.3})
    few = (q, randn(2, 1, 4, 8), randn(2, 1, 4, 8))
    yield Case("attention-grouped", attention, few, kwargs={"enable_gqa": True})
    yield Case("attention-flat", attention, (q[0], k[0], v[0]))
    yield Case("attention-itself", attention, (q, q, q))
    yield Case("attention-shared-mask", attention, (q, q, v, randn(2, 3, 4, 4)))


def norms() -> Iterator[Case]:
    op = First(channels.BATCH_NORM)
    x = randn(3, 5, 4, 4)

    def rest(n: int = 5) -> tuple[Any, ...]:
        return (randn(n), randn(n), randn(n), rand(n), 0.1, 1e-5)

    every = "0.1 1.0 2.0 3.0 4.0"
    yield Case("batch-norm", op, (x, *rest()), every)
    yield Case("batch-norm-2d", op, (randn(90, 5), *rest()), every)
    yield Case("batch-norm-last", op, (channels_last(x), *rest()), every)
    plain = (x, None, None, randn(5), rand(5), 0.1, 1e-5)
    yield Case("batch-norm-plain", op, plain, "0.1 1.0 2.0")
    shift = randn(5)
    reused = (x, shift, shift, randn(5), rand(5), 0.1, 1e-5)
    yield Case("batch-norm-reused", op, reused, "0.1 1.0 2.0 3.0")
    norm = ATEN.layer_norm.default
    y = randn(3, 4, 6)
    yield Case("layer-norm", norm, (y, [6], randn(6), randn(6)), "0.0 0.1 1.0 2.0")
    yield Case("layer-norm-plain", norm, (y, [6]), "0.0 0.1")
    yield Case("layer-norm-2", norm, (y, [4, 6], randn(4, 6), randn(4, 6)), "0.0")


def pools() -> Iterator[Case]:
    x = randn(3, 4, 7, 8)
    for name, *rest in (
        ("max_pool2d", [3, 3], [2, 2], [1, 1]),
        ("max_pool2d", [2, 2], [2, 2], [0, 0], [1, 1], True),
        ("avg_pool2d", [2, 2]),
        ("adaptive_avg_pool2d", [1, 1]),
        ("adaptive_avg_pool2d", [3, 2]),
        ("_adaptive_avg_pool2d", [3, 2]),
        ("reflection_pad2d", [1, 1, 2, 2]),
        ("replication_pad2d", [1, 0, 0, 2]),
    ):
        op = getattr(ATEN, str(name)).default
        yield Case(f"{name}{rest[0]}", op, (x, *rest), "0.0 0.1")
        yield Case(f"{name}{rest[0]}-last", op, (channels_last(x), *rest), "0.0 0.1")
    y = randn(3, 4, 9)
    yield Case("max_pool1d", ATEN.max_pool1d.default, (y, [2]), "0.0 0.1")
    yield Case("avg_pool1d", ATEN.avg_pool1d.default, (y, [3]), "0.0 0.1")
    to = ATEN.adaptive_avg_pool1d.default
    yield Case("adaptive_avg_pool1d", to, (y, [4]), "0.0 0.1")
    z = randn(2, 3, 4, 5, 4)
    yield Case("max_pool3d", ATEN.max_pool3d.default, (z, [2, 2, 2]), "0.0 0.1")
    yield Case("avg_pool3d", ATEN.avg_pool3d.default, (z, [2, 2, 2]), "0.0 0.1")
    to = ATEN.adaptive_avg_pool3d.default
    yield Case("adaptive_avg_pool3d", to, (z, [2, 2, 2]), "0.0 0.1")
    nearest, linear = ATEN.upsample_nearest2d.vec, ATEN.upsample_bilinear2d.vec
    yield Case("nearest", nearest, (x, None, [2.0, 2.0]), "0.0 0.1")
    yield Case("bilinear", linear, (x, [9, 5], False, None), "0.0 0.1")


def layouts() -> Iterator[Case]:
    x = randn(3, 4, 5, 6)
    everywhere = "0.0 0.1 0.2 0.3"
    yield Case("permute", ATEN.permute.default, (x, [0, 2, -1, 1]), everywhere)
    yield Case("transpose", ATEN.transpose.int, (x, 1, -1), everywhere)
    yield Case("t", ATEN.t.default, (randn(3, 4),), "0.0 0.1")
    yield Case("t-vector", ATEN.t.default, (randn(3),))
    yield Case("numpy_T", ATEN.numpy_T.default, (randn(3, 4),), "0.0 0.1")
    for shape in ([3, 20, 6], [12, 30], [3, 2, 2, 5, 6], [3, 4, 30], [-1], [1, 12, 30]):
        for name, op in (("view", as_reshape), ("reshape", ATEN.reshape.default)):
            yield Case(f"{name}{shape}", op, (x, shape), "0.0")
    yield Case("reshape-across", as_reshape, (x, [6, 60]), "0.0")
    yield Case("reshape-turned", as_reshape, (x.permute(0, 2, 3, 1), [3, 30, 4]), "0.0")
    yield Case("flatten", ATEN.flatten.using_ints, (x, 1), "0.0 0.1")
    yield Case("unflatten", ATEN.unflatten.int, (x, 3, [2, 3]), everywhere)
    for dim in range(-5, 5):
        yield Case(f"unsqueeze{dim}", ATEN.unsqueeze.default, (x, dim), everywhere)
    thin = randn(3, 1, 4, 1, 5)
    for dim in (0, 1, 3, -1, -2):
        yield Case(f"squeeze{dim}", ATEN.squeeze.dim, (thin, dim), "0.2")
    for dims in ([1, 3], [1, 2], [-2, 0], [3], [0, 2]):
        yield Case(f"squeeze{dims}", ATEN.squeeze.dims, (thin, dims))
    expanded = (randn(3, 1, 4), [3, 2, 4])
    yield Case("expand", ATEN.expand.default, expanded, "0.0 0.2")
    yield Case("expand-more", ATEN.expand.default, (randn(1, 4), [3, 2, -1]), "0.1")
    a, b, c = randn(3, 2, 4), randn(3, 5, 4), randn(3, 1, 4)
    parts = "0.0 0.1 0.2 1.0 1.1 1.2 2.0 2.2"
    yield Case("cat", ATEN.cat.default, ([a, b, c], 1), parts)
    yield Case("cat-back", ATEN.cat.default, ([a, b, c], -2), parts)
    yield Case("cat-first", ATEN.cat.default, ([a, a.clone()],), "0.0 0.1 0.2 1.0")
    yield Case("cat-itself", ATEN.cat.default, ([a, b, a], 1))
    gone = [a, torch.empty(0), b]
    yield Case("cat-empty", ATEN.cat.default, (gone, 1))
    for dim in (0, 1, -1):
        yield Case(f"select{dim}", ATEN.select.int, (x, dim, 1))
        yield Case(f"slice{dim}", ATEN.slice.Tensor, (x, dim, 1, 3))
        yield Case(f"slice-by-2{dim}", ATEN.slice.Tensor, (x, dim, 0, 9, 2))
    yield Case("slice-all", ATEN.slice.Tensor, (x,))
    for name in ("mean.dim", "sum.dim_IntList", "amax.default"):
        packet, overload = name.split(".")
        op = getattr(getattr(ATEN, packet), overload)
        for dims in ([2, 3], [-1], [1], [0, 2], [0, 1, 2, 3]):
            yield Case(f"{packet}{dims}", op, (x, dims))
            yield Case(f"{packet}{dims}-kept", op, (x, dims, True))
    yield Case("mean-all", ATEN.mean.dim, (x, None))
    yield Case("sum-all", ATEN.sum.dim_IntList, (x, None))
    yield Case("amax-all", ATEN.amax.default, (x,))
    for name in ("softmax.int", "log_softmax.int", "_softmax.default"):
        packet, overload = name.split(".")
        op = getattr(getattr(ATEN, packet), overload)
        for dim in (1, -1):
            more = (False,) if packet == "_softmax" else ()
            yield Case(f"{packet}{dim}", op, (x, dim, *more), "0.0 0.2")


def elementwise() -> Iterator[Case]:
    """Each overload of each pointwise operator, arguments made up from its schema."""
    for op in pointwise.RULES:
        args = [_made_up(argument, op) for argument in op._schema.arguments]
        if any(argument.is_out for argument in op._schema.arguments):
            continue
        given = [
            value
            for value, argument in zip(args, op._schema.arguments, strict=True)
            if not argument.kwarg_only
        ]
        named = {
            argument.name: value
            for value, argument in zip(args, op._schema.arguments, strict=True)
            if argument.kwarg_only and value is not None
        }
        try:
            op(*given, **named)
        except (RuntimeError, TypeError, IndexError, NotImplementedError):
            # Overloads of lists, numbers, names and other devices.
            continue
        yield Case(f"{op}", op, tuple(given), kwargs=named)


def _made_up(argument: Any, op: Any) -> Any:
    kind, name = str(argument.type), str(op)
    if kind == "Tensor" and argument.name == "condition":
        return rand(3, 5, 1, 17) > 1
    if kind == "Tensor" and argument.name == "mask":
        return rand(5, 6, 1) > 1
    if kind == "Tensor" and "bitwise" in name:
        return torch.randint(0, 99, (3, 5, 6, 17), generator=CHANCE)
    if kind in ("Tensor", "Optional[Tensor]"):
        first = argument.name in ("self", "input")
        return rand(3, 5, 6, 17) if first else rand(5, 1, 17)
    if argument.name == "memory_format":
        return torch.contiguous_format
    plain: dict[str, Any] = {
        "number": 3 if "bitwise" in name else 0.75,
        "float": 0.5,
        "int": 1,
        "bool": False,
        "str": "floor",
        "Optional[number]": 0.9,
    }
    return plain.get(kind)


def broadcasts() -> Iterator[Case]:
    x = rand(3, 5, 6, 17)
    add, where = ATEN.add.Tensor, ATEN.where.self
    beside = ((5, 6, 17), (1, 5, 1, 1), (3, 1, 1, 17), (17,), (1,), ())
    for shape in (tuple(x.shape), *beside):
        yield Case(f"add{shape}", add, (x, rand(*shape)), "0.0 0.1 0.2 0.3")
        yield Case(f"radd{shape}", add, (rand(*shape), x), "1.0 1.1 1.2 1.3")
    yield Case("outer", ATEN.mul.Tensor, (rand(40, 1), rand(1, 50)), "0.0 1.1")
    yield Case("taller", ATEN.mul.Tensor, (rand(40), rand(30, 1)), "0.0 1.0")
    yield Case("itself", ATEN.mul.Tensor, (x, x), "0.0 0.3")
    yield Case("where", where, (x > 1, rand(5, 1, 17), rand(3, 1, 1, 1)), "0.0 1.0 2.0")
    mixed = (channels_last(x), rand(3, 5, 6, 17))
    yield Case("layouts", ATEN.mul.Tensor, mixed, "0.0 0.1 1.2 1.3")
    turned = (x.permute(0, 2, 3, 1), rand(5))
    yield Case("turned", ATEN.mul.Tensor, turned, "0.0 0.1 0.2 0.3 1.0")
    yield Case("gaps", ATEN.sigmoid.default, (strided(x),), "0.0 0.1 0.2 0.3")
    spread = rand(3, 1, 6, 17).expand(3, 5, 6, 17)
    yield Case("spread", ATEN.exp.default, (spread,), "0.0 0.1 0.2 0.3")
    halves = (rand(3, 5, 6, 17).to(torch.bfloat16),)
    yield Case("cast", ATEN._to_copy.default, halves, kwargs={"dtype": torch.float32})
    for op in (ATEN.gelu.default, ATEN.tanh.default, ATEN.sigmoid.default):
        yield Case(f"large-{op}", op, (randn(2, 37, 67),), "0.0 0.1 0.2")


FAMILIES = (
    convolutions,
    products,
    lookups,
    attentions,
    norms,
    pools,
    layouts,
    elementwise,
    broadcasts,
)
CASES = [
    pytest.param(case, id=f"{family.__name__}-{case.name}")
    for family in FAMILIES
    for case in family()
]


def patches(
    case: Case, golden: Golden, pieces: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, dict[str, Changed]]]:
    """Yield each argument and dimension with a patch of one index, seldom of two."""
    chance = random.Random(case.name)
    for position, name in enumerate(golden.program.inputs):
        value = golden(name)
        for dim, size in enumerate(value.shape):
            if size:
                length = min(size, chance.choice([1, 1, 2]))
                start = chance.randrange(size - length + 1)
                piece = pieces(value.narrow(dim, start, length))
                yield f"{position}.{dim}", {name: Patch(dim, start, piece)}


def last_ones(golden: Golden) -> Iterator[tuple[str, dict[str, Changed]]]:
    """Yield each argument and dimension with a patch of its last index."""
    for position, name in enumerate(golden.program.inputs):
        value = golden(name)
        for dim, size in enumerate(value.shape):
            if size:
                piece = moved(value.narrow(dim, size - 1, 1))
                yield f"{position}.{dim}", {name: Patch(dim, size - 1, piece)}


def moved(piece: Tensor) -> Tensor:
    """Other values of the same sort."""
    if piece.is_floating_point():
        noise = torch.empty(piece.shape).uniform_(0.6, 1.6, generator=CHANCE)
        return piece * noise.to(piece.dtype)
    if piece.dtype == torch.bool:
        return ~piece
    return piece.flip(0) if piece.dim() else piece.clone()


SPECIALS = (math.nan, -math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-42, -1.0)


def wild(piece: Tensor) -> Tensor:
    """Values that faults make: not numbers, endless, minus nothing, next to nothing."""
    piece = moved(piece)
    if piece.is_floating_point():
        chance = random.Random(piece.numel())
        flat = piece.clone().view(-1) if piece.is_contiguous() else piece.reshape(-1)
        for place in range(0, len(flat), 3):
            flat[place] = chance.choice(SPECIALS)
        return flat.reshape(piece.shape)
    return piece


def narrow(golden: Golden, changes: Changes, *, fast: bool) -> Changed | None:
    (step,) = golden.program.steps
    rule = rule_for(step)
    assert rule is not None
    return rule(Call(step, changes, golden, fast=fast))


def full(golden: Golden, changes: Changes) -> Tensor:
    """The definition: the whole operator on whole arguments."""
    (step,) = golden.program.steps
    result = step(overlaid(changes, golden))
    assert isinstance(result, Tensor)
    return result


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("case", CASES)
def test_a_rule_gives_what_the_whole_operator_gives(case: Case) -> None:
    golden = case.golden()
    carried = set()

    for where, changes in (*patches(case, golden, moved), *last_ones(golden)):
        expected = full(golden, changes)
        for fast in (False, True):
            result = narrow(golden, changes, fast=fast)
            if result is not None:
                assert_close(whole(result, golden("out")), expected)
            if isinstance(result, Patch):
                carried.add(where)

    assert carried >= set(case.carried.split())


@pytest.mark.parametrize("case", CASES)
def test_an_exact_step_has_every_word_of_the_whole_operator(case: Case) -> None:
    golden = case.golden()
    stepper = ExactStepper(golden)
    (step,) = golden.program.steps

    for pieces in (moved, wild):
        for _, changes in patches(case, golden, pieces):
            result, exact = stepper(step, changes)

            assert exact
            assert same_words(whole(result, golden("out")), full(golden, changes))


@pytest.mark.parametrize("case", [c for c in CASES if "-aten." not in str(c.id)])
def test_changes_of_several_arguments_are_carried_together_or_refused(
    case: Case,
) -> None:
    golden = case.golden()
    stepper = ExactStepper(golden)
    (step,) = golden.program.steps

    for changes in pairs(case, golden):
        expected = full(golden, changes)
        for fast in (False, True):
            result = narrow(golden, changes, fast=fast)
            if result is not None:
                assert_close(whole(result, golden("out")), expected)
        exact, _ = stepper(step, changes)
        assert same_words(whole(exact, golden("out")), expected)


def pairs(case: Case, golden: Golden) -> Iterator[dict[str, Changed]]:
    """Yield patches of two arguments, in one place or two, and one beside a whole."""
    single = [changes for _, changes in patches(case, golden, moved)]
    chance = random.Random(case.name)
    couples = [(a, b) for a in single for b in single if a.keys() < {*a, *b}]
    for a, b in chance.sample(couples, min(len(couples), 12)):
        yield {**a, **b}
        yield {**a, **{name: whole(p, golden(name)) for name, p in b.items()}}


def test_every_rule_is_tried() -> None:
    programs = [case.golden().program for family in FAMILIES for case in family()]
    ops = [program.steps[0].op for program in programs]
    tried = {op.op if isinstance(op, First) else op for op in ops}

    known = {*layout.RULES, *channels.RULES, *contraction.RULES}

    assert not known - tried
    assert len(tried & pointwise.RULES.keys()) > 100


def test_operators_of_several_results_have_no_pointwise_rule() -> None:
    step = Step("out", ATEN.where.default, (Ref("x"),), {}, "", True, 0)

    assert rule_for(step) is None
