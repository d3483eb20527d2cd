"""Attacks and measured growth, against dense derivatives, brute force and foolbox."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.sensitivity.attacks.ascent import PGD
from stoic.sensitivity.attacks.contract import Attack
from stoic.sensitivity.attacks.decisions import FGSM, DeepFool
from stoic.sensitivity.attacks.directions import PowerDirection, RandomDirections
from stoic.sensitivity.attacks.foreign import Foreign
from stoic.sensitivity.ball import Ball
from stoic.sensitivity.growth import ATTACKS, measured_growth
from stoic.sensitivity.jacobian import Function, Jacobian, function_of
from stoic.sensitivity.local import average, frobenius, largest
from stoic.sensitivity.tightness import Claim, tightness

NORMS = (2, math.inf)


def small(seed: int = 0, outputs: int = 4) -> nn.Sequential:
    """Return a convolutional network in float64 with every common kind of layer."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(24, outputs),
    )
    return network.double().eval()


def images(count: int = 5, seed: int = 1) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 8, 8, generator=chance, dtype=torch.float64)


def dense(f: Function, x: Tensor) -> Tensor:
    """Return the whole derivative of each input, [inputs, outputs, elements]."""
    rows = vmap(jacrev(lambda one: f(one[None])[0]))(x)
    found: Tensor = rows.flatten(2).detach()
    return found


def change(f: Function, x: Tensor, moved: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = (f(moved) - f(x)).norm(dim=1)
    return found


def test_products_are_those_of_the_dense_derivative() -> None:
    f, x = small(), images()
    whole, jacobian = dense(f, x), Jacobian(f, x)
    u, v = torch.randn(5, 4).double(), torch.randn_like(x)

    back, forth = jacobian.back(u).flatten(1), jacobian.forth(v)

    torch.testing.assert_close(back, torch.einsum("nko,nk->no", whole, u))
    torch.testing.assert_close(forth, torch.einsum("nko,no->nk", whole, v.flatten(1)))


def test_the_frobenius_norm_is_exact_with_a_probe_per_output() -> None:
    f, x = small(), images()

    value, error = frobenius(f, x, probes=4)

    torch.testing.assert_close(value, dense(f, x).flatten(1).norm(dim=1))
    assert not error.any()


def test_the_frobenius_norm_by_few_probes_is_within_its_error() -> None:
    f, x = small(outputs=40), images()
    true = dense(f, x).flatten(1).norm(dim=1)

    value, error = frobenius(f, x, probes=30, seed=3)

    assert ((value - true).abs() < 4 * error).all()
    assert (error < 0.1 * true).all()


@pytest.mark.parametrize("outputs", [4, 40])
def test_the_largest_stretch_is_the_spectral_norm_from_below(outputs: int) -> None:
    f, x = small(outputs=outputs), images()
    _, true, directions = torch.linalg.svd(dense(f, x), full_matrices=False)

    # With fewer steps than outputs it starts by chance.
    found = largest(f, x, steps=39 if outputs == 40 else 4)
    early = largest(f, x, steps=1)

    torch.testing.assert_close(found.value, true[:, 0], rtol=1e-6, atol=0)
    assert (early.value <= true[:, 0] * (1 + 1e-12)).all()
    along = (found.direction.flatten(1) * directions[:, 0]).sum(1).abs()
    torch.testing.assert_close(along, torch.ones(5).double(), rtol=1e-4, atol=0)


def test_a_function_that_never_moves_has_no_stretch() -> None:
    x = images()

    def still(y: Tensor) -> Tensor:
        return 0 * y.flatten(1)[:, :3] + 1

    assert not largest(still, x).value.any()
    assert not frobenius(still, x).value.any()


def test_random_directions_grow_by_the_frobenius_norm_on_average() -> None:
    f, x = small(), images()
    ball = Ball.about(x, 2.0**-24)
    moved = [*RandomDirections(400).each(x, ball, 0)]
    squares = torch.stack(
        [(change(f, x, y) / (y - x).flatten(1).norm(dim=1)) ** 2 for y in moved]
    )

    torch.testing.assert_close(
        squares.mean(0).sqrt(), average(frobenius(f, x).value, x), rtol=0.1, atol=0
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("radius", [2.0**-24, 0.1])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.name))
def test_no_attack_leaves_the_ball(attack: Attack, radius: float, norm: float) -> None:
    f, x = small(), images()
    ball = Ball.about(x, radius, norm)

    moved = attack(f, x, ball, 0)

    size = torch.linalg.vector_norm((moved - x).flatten(1), norm, dim=1)
    assert (size <= ball.radius).all()
    assert (size >= 0.99 * ball.radius).all() or isinstance(attack, PGD)


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_leaves_the_box_of_inputs(norm: float) -> None:
    f, x = small(), images().sigmoid()

    for attack in ATTACKS:
        moved = attack(f, x, Ball.about(x, 0.5, norm, (0.0, 1.0)), 0)
        assert moved.min() >= 0 and moved.max() <= 1, attack.name


@pytest.mark.parametrize("radius", [2.0**-24, 2.0**-10])
def test_for_small_radii_pgd_reaches_the_spectral_norm(radius: float) -> None:
    f, x = small(), images()
    true = torch.linalg.matrix_norm(dense(f, x), 2)

    (found,) = measured_growth(f, x, [radius], attacks=[PGD()])

    torch.testing.assert_close(found.growth, true, rtol=0.02, atol=0)


def test_in_a_box_small_linear_maps_are_maximised_over_all_corners() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(3, 10).double()
    x = torch.randn(20, 10).double()
    ball = Ball(torch.ones(20).double(), math.inf)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 10)
    true = (corners @ matrix.T).norm(dim=1).max()

    moved = PGD()(lambda y: y @ matrix.T, x, ball, 0)

    reached = ((moved - x) @ matrix.T).norm(dim=1) / true
    assert (reached <= 1 + 1e-12).all()
    # To find the best corner is hard: there are others that no step improves.
    assert reached.min() > 0.98


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_never_weaker_than_where_it_started(norm: float) -> None:
    f, x = small(), images(12)
    found = measured_growth(f, x, [0.02, 0.5], norm, batch=12)

    for radius in (0.02, 0.5):
        by = {g.attack: g.change for g in found if g.radius == radius}
        for name in ("random", "best of 16 random", "power iteration"):
            assert (by["PGD"] >= by[name]).all()
        assert by["PGD"].median() > 1.5 * by["random"].median()


def test_an_attack_is_a_function_of_its_seed() -> None:
    f, x = small(), images()
    ball = Ball.about(x, 0.1)

    first, again, other = (PGD()(f, x, ball, seed) for seed in (5, 5, 6))
    random = [RandomDirections(1)(f, x, ball, seed) for seed in (5, 6)]

    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(*random)


def test_deepfool_crosses_the_nearest_boundary_of_a_linear_classifier() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 5).double(), torch.randn(20, 6).double()
    scores, weight = layer(x).detach(), layer.weight.detach()
    winner = scores.argmax(1)
    gaps = scores.max(1, keepdim=True).values - scores
    slopes = (weight[winner][:, None] - weight[None]).norm(dim=2)
    distances = (gaps / slopes).nan_to_num(math.inf).amin(1)

    moved = DeepFool().smallest(layer, x)

    assert (layer(moved).argmax(1) != winner).all()
    size = (moved - x).norm(dim=1)
    torch.testing.assert_close(size, 1.02 * distances)


def test_a_foreign_attack_is_brought_into_the_ball() -> None:
    f, x = small(), images()
    ball = Ball.about(x, 0.01)
    far = Foreign("far", lambda a: a + 1, stretched=False)
    near = Foreign("near", lambda t: t + 1e-6, arrays=False)
    wrong = Foreign("wrong", lambda a: a[:1])

    for attack in (far, near):
        size = (attack(f, x, ball, 0) - x).flatten(1).norm(dim=1)
        torch.testing.assert_close(size, ball.radius, rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="wrong must give finite inputs of shape"):
        wrong(f, x, ball, 0)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.both = nn.LayerNorm(8), nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.both(self.norm(x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*heads)
        scores: Tensor = self.head((x + y.transpose(1, 2).flatten(2)).mean(1))
        return scores


def test_attention_has_products_both_ways() -> None:
    network, x = Attending().double().eval(), torch.randn(4, 5, 8).double()
    with sdpa_kernel(SDPBackend.MATH):
        true = torch.linalg.matrix_norm(dense(network, x), 2)
    subject = prepare(Attending().eval(), Inputs((x.float(),), {}))
    assert isinstance(subject, CapturedSubject)

    for f in (network, function_of(subject.program)):
        found = largest(f, x, steps=60)
        torch.testing.assert_close(found.value, true, rtol=1e-6, atol=0)


def test_a_captured_program_is_the_network_in_float64() -> None:
    network, x = small(), images()
    subject = prepare(small().float(), Inputs((x.float(),), {}))
    assert isinstance(subject, CapturedSubject)

    f = function_of(subject.program)

    torch.testing.assert_close(f(x), network(x))
    torch.testing.assert_close(largest(f, x).value, largest(network, x).value)


def test_growth_is_relative_to_input_and_output() -> None:
    f, x = small(), images()

    (found,) = measured_growth(f, x, [0.1], attacks=[PowerDirection()], batch=2)

    size = 0.1 * x.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.size, size, rtol=1e-5, atol=0)
    shares = (found.change / f(x).norm(dim=1)) / (found.size / x.flatten(1).norm(dim=1))
    torch.testing.assert_close(found.relative, shares.detach())
    torch.testing.assert_close(found.number, found.relative, rtol=1e-5, atol=0)
    assert found.undefined == ()


def test_in_a_box_growth_is_held_against_the_size_of_its_corners() -> None:
    x = torch.tensor([[3.0, 4.0]]).double()
    aside = Foreign("aside", lambda t: t + torch.tensor([1.0, 0.0]), arrays=False)

    (found,) = measured_growth(lambda y: y, x, [0.1], math.inf, [aside])

    side = 0.1 * 5 / math.sqrt(2)
    assert found.change.item() == pytest.approx(side, rel=1e-5)
    assert found.growth.item() == pytest.approx(1.0)
    assert found.reached.item() == pytest.approx(side / 0.5, rel=1e-5)


def test_a_zero_or_denormal_output_has_no_relative_growth() -> None:
    x = torch.ones(3, 4).double()
    golden = torch.tensor([1.0, 0.0, 1e-40]).double()[:, None].expand(3, 2)

    def f(y: Tensor) -> Tensor:
        return golden + (y - x)[:, :2]

    (found,) = measured_growth(f, x, [0.1], attacks=[RandomDirections()])

    assert found.undefined == (1, 2)
    assert found.growth.isfinite().all() and found.number[0].isfinite()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda f, x: measured_growth(f, x * 0, [0.1]),
            "radius must be positive and finite, got 0 for input 0",
        ),
        (
            lambda f, x: measured_growth(f, x.float(), [2.0**-24]),
            "radius must be at least 0.000488 in torch.float32",
        ),
        (
            lambda f, x: measured_growth(lambda y: f(y) / 0, x, [0.1]),
            "outputs must be finite, got others for input 0",
        ),
        (
            lambda f, x: measured_growth(lambda y: y, x, [0.1]),
            "outputs must be a row of numbers for each of 5 inputs",
        ),
        (
            lambda f, x: measured_growth(f, x, [0.1], attacks=[FGSM(), FGSM()]),
            "attacks must have different names, got FGSM, FGSM",
        ),
        (
            lambda f, x: measured_growth(f, x, [0.1], box=(0.0, 1.0)),
            "inputs must lie in the box 0..1",
        ),
        (lambda f, x: measured_growth(f, x, [0.1], norm=1), "norm must be 2 or inf"),
        (lambda f, x: frobenius(f, x, probes=1), "probes must be >= 2"),
        (lambda f, x: RandomDirections(0), "tries must be >= 1"),
        (lambda f, x: PGD(starts=()), "starts must be at least 1 attack"),
        (
            lambda f, x: DeepFool().smallest(lambda y: f(y)[:, :1], x),
            "outputs must be at least 2 for a decision, got 1",
        ),
        (lambda f, x: tightness([], []), "growth must be of one radius and norm"),
        (
            lambda f, x: Claim("c", "proof", x),  # type: ignore[arg-type]
            "label must be one of guarantee, local, average",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(
    call: Callable[[Function, Tensor], Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        call(small(), images())
    assert len(str(refused.value).splitlines()) == 1


def test_gaps_are_told_in_powers_of_ten_and_violations_by_image() -> None:
    growth = measured_growth(
        lambda y: 3 * y, images().flatten(1), [0.1], attacks=[RandomDirections(1)]
    )
    ten, low = torch.full((5,), 30.0).double(), torch.full((5,), 3.0).double()
    low[2], low[4] = 2.9, math.nan

    table = tightness(
        growth,
        [Claim("ten", "guarantee", ten), Claim("low", "guarantee", low)]
        + [Claim("guess", "average", low / 2)],
        relative=False,
    )

    first, second, third = table.gaps
    assert first.median == pytest.approx(1.0) and first.violations == ()
    assert second.violations == (2, 4) and second.undefined == 1
    assert third.violations == () and third.median == pytest.approx(
        -math.log10(2), abs=1e-5
    )
    record = table.as_record()
    assert record["claims"][1]["values"][4] is None
    assert record["measured"]["random"] == pytest.approx([3.0] * 5, rel=1e-5)


def _foolbox(f: nn.Module) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("eagerpy")
        foolbox = pytest.importorskip("foolbox")
    box = (-100.0, 100.0)
    return foolbox, foolbox.PyTorchModel(f, bounds=box, device="cpu")


@pytest.mark.peers
@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_is_that_of_foolbox(norm: float) -> None:
    f, x = small().float(), images(20).float()
    foolbox, model = _foolbox(f)
    radius = torch.full((20,), 0.3)
    kind = "L2FastGradientAttack" if norm == 2 else "LinfFastGradientAttack"
    theirs = getattr(foolbox.attacks, kind)()

    _, moved, _ = theirs(model, x, f(x).argmax(1), epsilons=0.3)

    ours = FGSM()(f, x, Ball(radius, norm), 0)
    torch.testing.assert_close(ours, moved, rtol=1e-4, atol=1e-5)


@pytest.mark.peers
def test_deepfool_is_as_small_as_that_of_foolbox() -> None:
    f, x = small().float(), images(40).float()
    foolbox, model = _foolbox(f)

    theirs = foolbox.attacks.L2DeepFoolAttack()
    moved, _, turned = theirs(model, x, f(x).argmax(1), epsilons=None)
    ours = DeepFool().smallest(f, x)

    assert turned.all() and (f(ours).argmax(1) != f(x).argmax(1)).all()
    sizes = [(y - x).flatten(1).norm(dim=1) for y in (ours, moved)]
    torch.testing.assert_close(*sizes, rtol=0.03, atol=0)


@pytest.mark.peers
@pytest.mark.parametrize("norm", NORMS)
def test_pgd_moves_outputs_at_least_as_far_as_that_of_foolbox(norm: float) -> None:
    f, x = small().float(), images(20).float()
    foolbox, model = _foolbox(f)
    kind = "L2PGD" if norm == 2 else "LinfPGD"
    base = getattr(foolbox.attacks, kind)

    class Far(base):  # type: ignore[misc, valid-type]
        """Their PGD with our aim."""

        def get_loss_fn(self, model: Any, labels: Any) -> Any:
            golden, eagerpy = f(x).detach(), pytest.importorskip("eagerpy")
            return lambda y: eagerpy.astensor((f(y.raw) - golden).norm(dim=1).sum())

    # Its start is drawn: at x itself the aim has no gradient.
    torch.manual_seed(0)
    theirs = Far(steps=50, random_start=True)
    _, moved, _ = theirs(model, x, f(x).argmax(1), epsilons=0.5)
    ours = PGD()(f, x, Ball(torch.full((20,), 0.5), norm), 0)

    ratio = change(f, x, ours) / change(f, x, moved)
    assert ratio.median() >= 1 and ratio.min() > 0.97


@pytest.mark.peers
def test_an_attack_of_foolbox_is_taken_by_its_call() -> None:
    f, x = small().float(), images(8).float()
    foolbox, model = _foolbox(f)
    theirs, winner = foolbox.attacks.L2PGD(steps=5), f(x).argmax(1)
    taken = Foreign(
        "L2PGD", lambda y: theirs(model, y, winner, epsilons=0.3)[1], arrays=False
    )

    (found,) = measured_growth(f, x, [0.05], attacks=[taken])

    size = 0.05 * x.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.size, size, rtol=1e-4, atol=0)
    assert (found.change > 0).all()
