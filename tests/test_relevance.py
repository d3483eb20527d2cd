"""Relevance through whole networks: conserved, and shared out as each step says."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stoic.causes.relevance.composite import (
    EPSILON_PLUS,
    EPSILON_PLUS_FLAT,
    HUDD,
    Composite,
)
from stoic.causes.relevance.propagation import NoRuleError, Propagation, Relevance
from stoic.causes.relevance.rules import Epsilon

EXACT = Composite(Epsilon(1e-12), Epsilon(1e-12), stabiliser=1e-12)


def explained(
    network: nn.Module, images: Tensor, composite: Composite = EXACT
) -> tuple[Relevance, Tensor]:
    """Return the relevance, and that of the images, checked to be conserved."""
    made = Propagation.of(network.eval(), images, composite, dtype=torch.float64)
    found = made(images)
    own = found.at[made.image]
    sums = own.flatten(1).sum(1) + found.bias + found.absorbed
    torch.testing.assert_close(sums, found.scores)
    return found, own


def spread(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> None:
    """Give a norm numbers that it could have learned."""
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)


class Mixed(nn.Module):
    """All that a convolutional network is made of: norms, sums, joins, gates, pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.late, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 6, 2)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(6 * 4, 5)
        spread(self.norm)
        spread(self.late)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.stem(F.pad(images, (0, 1, 0, 1)))))
        x = x + torch.cat([F.silu(self.left(x)), F.gelu(self.right(x))], 1)
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        x = self.last(self.late(torch.sigmoid(gate) * x))
        x = F.avg_pool2d(F.max_pool2d(F.leaky_relu(x), 2, 1), 2, 1)
        one, two = x.permute(0, 2, 3, 1).flatten(1).chunk(2, 1)
        scores: Tensor = self.head(self.drop(torch.cat([two, one], 1)))
        return scores


@pytest.mark.parametrize("composite", [EXACT, HUDD, EPSILON_PLUS, EPSILON_PLUS_FLAT])
def test_relevance_is_conserved_through_all_kinds_of_steps(
    composite: Composite,
) -> None:
    network = Mixed().eval()
    before = copy.deepcopy(network.state_dict())

    found, _ = explained(network, torch.rand(3, 3, 9, 9), composite)

    assert not found.estimated
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_inputs_are_explained_alike_alone_and_in_a_batch() -> None:
    network, images = Mixed().eval(), torch.rand(4, 3, 9, 9)
    made = Propagation.of(network, images, HUDD, dtype=torch.float64)

    whole, alone = made(images), made(images[2:3])

    image = made.image
    torch.testing.assert_close(whole.at[image][2:3], alone.at[image])
    torch.testing.assert_close(whole.bias[2:3], alone.bias)


def test_single_precision_says_the_same() -> None:
    network, images = Mixed().eval(), torch.rand(4, 3, 9, 9)
    wide, narrow = (
        Propagation.of(network, images, EPSILON_PLUS, dtype=dtype)
        for dtype in (torch.float64, torch.float32)
    )

    ours, theirs = wide(images), narrow(images)

    own = theirs.at[narrow.image]
    assert own.dtype == torch.float32
    torch.testing.assert_close(own.double(), ours.at[wide.image], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("inference", [False, True])
def test_it_does_not_matter_whether_the_caller_computes_gradients(
    inference: bool,
) -> None:
    network, images = Mixed().eval(), torch.rand(2, 3, 9, 9)
    ours = Propagation.of(network, images, HUDD)(images)

    with torch.inference_mode(inference):
        other = images.clone()
        found = Propagation.of(network, other, HUDD)(other)

    assert torch.equal(*(next(iter(each.at.values())) for each in (ours, found)))


def test_a_residual_sum_is_shared_in_proportion() -> None:
    class Residual(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows[:, :2] + 3 * rows[:, 2:]

    rows = torch.tensor([[1.0, 2, 3, 1], [4, 1, 2, 0]])
    found, own = explained(Residual(), rows)

    assert found.classes.tolist() == [0, 0]
    torch.testing.assert_close(
        own, torch.tensor([[1.0, 0, 9, 0], [4, 0, 6, 0]]).double()
    )


def test_a_gate_is_a_constant_and_the_signal_gets_all() -> None:
    class Gated(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows[:, :2] * torch.sigmoid(rows[:, 2:])

    found, own = explained(Gated(), torch.rand(3, 4) + 1)

    signal, gate = own.split(2, 1)
    torch.testing.assert_close(signal.sum(1), found.scores)
    assert not gate.any()


def test_the_largest_of_a_window_takes_all() -> None:
    network = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    images = torch.tensor([[1.0, 5, 0, 4], [2, 3, 1, 0]]).reshape(1, 1, 2, 4)
    _, own = explained(network, images)
    assert own[0, 0].tolist() == [[0, 5, 0, 0], [0, 0, 0, 0]]


def test_a_constant_that_is_added_takes_its_share() -> None:
    class Shifted(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows + 3.0

    found, own = explained(Shifted(), torch.tensor([[1.0, 0], [0, 5]]))

    torch.testing.assert_close(own, torch.tensor([[1.0, 0], [0, 5]]).double())
    torch.testing.assert_close(found.bias, torch.tensor([3.0, 3]).double())


def _normed(*layers: nn.Module) -> nn.Sequential:
    network = nn.Sequential(*layers, nn.Flatten())
    for module in network:
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            spread(module)
    return network.eval()


def _by_hand(weight: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
    """Share out each row's best score in proportion to products."""
    products = weight[None] * rows[:, None]
    sums = products.sum(2) + bias
    best = sums.argmax(1)
    return products[torch.arange(len(rows)), best]


def test_a_norm_after_a_matrix_scales_its_weights() -> None:
    network = _normed(nn.Linear(3, 4), nn.BatchNorm1d(4))
    rows = torch.rand(5, 3)
    _, own = explained(network, rows)

    eye = torch.eye(3, dtype=torch.float64)
    whole = network.double()
    bias = whole(torch.zeros(1, 3, dtype=torch.float64))[0]
    weight = (whole(eye) - bias).T
    expected = _by_hand(weight, bias, rows.double())
    torch.testing.assert_close(own, expected.detach(), rtol=1e-6, atol=1e-6)


def test_a_norm_before_a_matrix_scales_what_it_reads() -> None:
    network = _normed(nn.BatchNorm1d(3), nn.Linear(3, 4))
    rows = torch.rand(5, 3)
    _, own = explained(network, rows)

    eye = torch.eye(3, dtype=torch.float64)
    whole = network.double()
    bias = whole(torch.zeros(1, 3, dtype=torch.float64))[0]
    expected = _by_hand((whole(eye) - bias).T, bias, rows.double())
    torch.testing.assert_close(own, expected.detach(), rtol=1e-6, atol=1e-6)


def test_a_norm_before_a_convolution_is_folded_by_its_groups() -> None:
    kernel = nn.Conv2d(4, 6, 3, groups=2)
    network = _normed(nn.BatchNorm2d(4), kernel)
    images = torch.rand(2, 4, 3, 3)
    _, own = explained(network, images)

    eye = torch.eye(36, dtype=torch.float64).reshape(36, 4, 3, 3)
    whole = network.double()
    bias = whole(torch.zeros(1, 4, 3, 3, dtype=torch.float64))[0]
    weight = (whole(eye) - bias).T
    expected = _by_hand(weight, bias, images.double().flatten(1))
    torch.testing.assert_close(own.flatten(1), expected.detach(), rtol=1e-6, atol=1e-6)


def test_a_norm_before_a_bordered_convolution_passes_all() -> None:
    network = _normed(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 3, padding=1, bias=False))
    images = torch.rand(2, 1, 3, 3)
    inner = Propagation.of(network, images, EXACT, dtype=torch.float64)
    (layer,) = inner.layers

    found = inner(images, keep=[inner.image, layer.value])

    torch.testing.assert_close(found.at[inner.image], found.at[layer.value])


def test_attention_looks_through_gates_and_is_conserved() -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.scores = nn.LayerNorm(8), nn.Linear(8, 3)
            self.parts = nn.Linear(8, 24)
            nn.init.uniform_(self.norm.bias)

        def forward(self, tokens: Tensor) -> Tensor:
            query, key, value = self.parts(self.norm(tokens)).chunk(3, -1)
            seen = F.scaled_dot_product_attention(query, key, value)
            by_hand = torch.softmax(query @ key.transpose(1, 2), -1) @ value
            scores: Tensor = self.scores((tokens + seen + by_hand).mean(1))
            return scores

    found, _ = explained(Looking(), torch.randn(3, 5, 8))
    assert not found.estimated


def test_an_operator_without_a_rule_is_named_with_its_share() -> None:
    class Odd(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows[:, :2].square() + rows[:, 2:]

    rows = torch.tensor([[3.0, 0, 3, 0], [0, 3, 0, 3]])
    with pytest.raises(
        NoRuleError, match="operator square of .*, got none for 75.0% of"
    ):
        explained(Odd(), rows)
    taken = replace(EXACT, by_gradient=True)
    made = Propagation.of(Odd(), rows, taken, dtype=torch.float64)
    found = made(rows)
    (share,) = found.estimated.values()
    assert share == pytest.approx(0.75, rel=1e-5)
    # The line through x² at 3 is 6 x - 9.
    torch.testing.assert_close(
        found.at[made.image][0],
        torch.tensor([18.0, 0, 3, 0]).double(),
        rtol=1e-5,
        atol=0,
    )
    torch.testing.assert_close(found.bias, torch.full((2,), -9.0).double())


def test_a_softmax_around_the_scores_is_left_out() -> None:
    rows = torch.rand(3, 4)
    linear = nn.Linear(4, 3)
    plain, own = explained(linear, rows)
    found, with_softmax = explained(nn.Sequential(linear, nn.Softmax(1)), rows)
    assert torch.equal(own, with_softmax)
    assert torch.equal(plain.scores, found.scores)


def test_any_class_and_any_inner_value_can_be_asked_for() -> None:
    network, images = Mixed().eval(), torch.rand(2, 3, 9, 9)
    made = Propagation.of(network, images, EXACT, dtype=torch.float64)
    classes = torch.tensor([4, 1])
    values = [layer.value for layer in made.layers]

    found = made(images, classes=classes, keep=values)

    assert torch.equal(found.classes, classes)
    assert list(found.at) == values
    torch.testing.assert_close(
        found.scores,
        network.double()(images.double()).gather(1, classes[:, None])[:, 0],
    )
    names = [layer.name for layer in made.layers]
    assert names == ["stem", "left", "squeeze", "excite", "last", "head"]
    # A gate decides how much of the signal there is, and has no relevance of its own.
    gate = {made.layers[2].value, made.layers[3].value}
    assert all(bool(own.any()) != (name in gate) for name, own in found.at.items())


def test_what_is_no_value_or_no_row_of_scores_is_refused() -> None:
    images = torch.rand(2, 3, 9, 9)
    made = Propagation.of(Mixed().eval(), images, HUDD)
    with pytest.raises(ValueError, match="keep must be among"):
        made(images, keep=["nothing"])
    with pytest.raises(ValueError, match="network must give a row of scores"):
        Propagation.of(nn.Conv2d(3, 3, 1).eval(), images, HUDD)
