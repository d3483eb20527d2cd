"""Rules of relevance: each is its definition, written out in loops over products."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.propagation import Propagation
from stoic.causes.relevance.rules import (
    AlphaBeta,
    Box,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZPlus,
)

EPSILON = 1e-6


@dataclass(frozen=True)
class Sum:
    """One sum: the places that it reads, what they hold, the weights, the bias."""

    places: list[tuple[int, ...]]
    values: list[float]
    weights: list[float]
    bias: float


Split = Callable[[Sum, float], list[float]]
"""From a sum and its relevance to the relevance of each place that it reads."""


def steady(z: float) -> float:
    return z - EPSILON if z < 0 else z + EPSILON


def by_all(own: Sum, relevance: float) -> list[float]:
    products = [x * w for x, w in zip(own.values, own.weights, strict=True)]
    return [each / steady(sum(products) + own.bias) * relevance for each in products]


def by_sign(sign: int, own: Sum, relevance: float) -> list[float]:
    products = [
        max(sign * x * w, 0.0) for x, w in zip(own.values, own.weights, strict=True)
    ]
    total = sum(products) + max(sign * own.bias, 0.0)
    return [each / (total + EPSILON) * relevance for each in products]


def alpha_beta(own: Sum, relevance: float) -> list[float]:
    up, down = by_sign(1, own, relevance), by_sign(-1, own, relevance)
    return [2 * a - b for a, b in zip(up, down, strict=True)]


def gamma(own: Sum, relevance: float) -> list[float]:
    products = [x * w for x, w in zip(own.values, own.weights, strict=True)]
    side = 1 if sum(products) + own.bias > 0 else -1
    pushed = [each * (1.25 if side * each > 0 else 1.0) for each in products]
    bias = own.bias * (1.25 if side * own.bias > 0 else 1.0)
    return [each / steady(sum(pushed) + bias) * relevance for each in pushed]


def flat(own: Sum, relevance: float) -> list[float]:
    return [relevance / (len(own.values) + EPSILON) for _ in own.values]


def squares(own: Sum, relevance: float) -> list[float]:
    total = sum(w * w for w in own.weights) + EPSILON
    return [w * w / total * relevance for w in own.weights]


def box(own: Sum, relevance: float) -> list[float]:
    parts = [
        x * w - (-1.0 * max(w, 0.0)) - 2.0 * min(w, 0.0)
        for x, w in zip(own.values, own.weights, strict=True)
    ]
    return [each / steady(sum(parts) + own.bias) * relevance for each in parts]


def sums_of_convolution(layer: nn.Conv2d, image: Tensor) -> dict[tuple[int, ...], Sum]:
    """Every output element of a convolution, with stride and padding, as its sum."""
    channels, height, width = image.shape
    filters, inside, rows, columns = layer.weight.shape
    outside = filters // layer.groups
    (down, right), border = layer.stride, layer.padding
    assert not isinstance(border, str)
    top, left = border
    shape = layer(image[None]).shape[1:]
    found: dict[tuple[int, ...], Sum] = {}
    for f, y, x in product(*map(range, shape)):
        places: list[tuple[int, ...]] = []
        values, weights = list[float](), list[float]()
        for c, i, j in product(range(inside), range(rows), range(columns)):
            place = (
                f // outside * inside + c,
                y * down + i - top,
                x * right + j - left,
            )
            if 0 <= place[1] < height and 0 <= place[2] < width:
                places.append(place)
                values.append(float(image[place]))
                weights.append(float(layer.weight[f, c, i, j]))
        bias = 0.0 if layer.bias is None else float(layer.bias[f])
        found[f, y, x] = Sum(places, values, weights, bias)
    return found


def sums_of_matrix(layer: nn.Linear, row: Tensor) -> dict[tuple[int, ...], Sum]:
    places: list[tuple[int, ...]] = [(i,) for i in range(len(row))]
    return {
        (j,): Sum(places, row.tolist(), layer.weight[j].tolist(), float(layer.bias[j]))
        for j in range(len(layer.weight))
    }


def restated(
    sums: dict[tuple[int, ...], Sum], relevance: Tensor, like: Tensor, split: Split
) -> Tensor:
    found = torch.zeros_like(like)
    for place, own in sums.items():
        parts = split(own, float(relevance[place]))
        for where, part in zip(own.places, parts, strict=True):
            found[where] += part
    return found


class Small(nn.Module):
    """A convolution in two groups, with a border and a stride, and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * 2 * 3, 3)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.flatten(self.conv(images)))
        return scores


RULES: list[tuple[Rule, Split]] = [
    (Epsilon(EPSILON), by_all),
    (ZPlus(EPSILON), lambda own, relevance: by_sign(1, own, relevance)),
    (AlphaBeta(2, 1, EPSILON), alpha_beta),
    (Gamma(0.25, EPSILON), gamma),
    (Flat(EPSILON), flat),
    (WSquare(EPSILON), squares),
    (Box(-1.0, 2.0, EPSILON), box),
]


@pytest.mark.parametrize(
    ("rule", "split"), RULES, ids=[type(rule).__name__ for rule, _ in RULES]
)
@torch.no_grad()
def test_a_rule_is_its_definition_in_loops(rule: Rule, split: Split) -> None:
    network = Small().double().eval()
    images = torch.rand(2, 4, 3, 5, dtype=torch.float64) * 3 - 1
    made = Propagation.of(network, images, Composite(rule, rule), dtype=torch.float64)

    found = made(images, keep=[made.image, made.layers[-1].value])

    for row, image in enumerate(images):
        hidden = network.conv(image[None]).flatten()
        seed = torch.zeros(3, dtype=torch.float64)
        seed[found.classes[row]] = found.scores[row]
        inner = restated(sums_of_matrix(network.head, hidden), seed, hidden, split)
        torch.testing.assert_close(found.at[made.layers[-1].value][row], inner)
        sums = sums_of_convolution(network.conv, image)
        whole = restated(sums, inner.reshape(4, 2, 3), image, split)
        torch.testing.assert_close(found.at[made.image][row], whole)


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=lambda r: repr(r))
def test_what_no_pixel_gets_is_on_the_account(rule: Rule) -> None:
    network, images = Small().eval(), torch.rand(3, 4, 3, 5) * 3 - 1
    made = Propagation.of(network, images, Composite(rule, rule), dtype=torch.float64)

    found = made(images)

    sums = found.at[made.image].flatten(1).sum(1) + found.bias + found.absorbed
    torch.testing.assert_close(sums, found.scores)
    weighs_bias = not isinstance(rule, Flat | WSquare)
    assert bool((found.bias != 0).any()) == weighs_bias


def test_z_plus_without_bias_keeps_all_for_the_image() -> None:
    network, images = Small().eval(), torch.rand(3, 4, 3, 5)
    rule = ZPlus(1e-9, bias=False)
    made = Propagation.of(network, images, Composite(rule, rule), dtype=torch.float64)

    found = made(images)

    sums = found.at[made.image].flatten(1).sum(1)
    torch.testing.assert_close(sums, found.scores, rtol=1e-6, atol=0)
    assert not found.bias.any()


def test_shares_that_would_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha must be beta \+ 1"):
        AlphaBeta(2, 0.5)
