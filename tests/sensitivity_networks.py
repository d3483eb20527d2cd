"""Small networks with every kind of operator that has a bound, for its tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.subject import Inputs

__all__ = ["MADE", "WHOLE", "captured", "made"]


class Branching(nn.Module):
    """Joins, gates, pools and normalisation in one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.side = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.gate = nn.Linear(4, 4)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.first(x)))
        y = F.max_pool2d(y, 3, 2, 1)
        z = y + F.silu(self.side(y))
        gate = torch.sigmoid(self.gate(z.mean((2, 3))))
        z = z * gate[:, :, None, None]
        both = torch.cat([z, y], 1)
        scores: Tensor = self.last(F.avg_pool2d(both, 2).mean((2, 3)))
        return scores


class Attending(nn.Module):
    """One head of attention over four tokens, with a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        scores = self.query(y) @ self.key(y).transpose(1, 2) / 6**0.5
        y = x + torch.softmax(scores, -1) @ self.value(y)
        result: Tensor = self.last(F.gelu(y).mean(1))
        return result


class Gated(nn.Module):
    """A gate of one number for a whole plane, and a divisor that is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 1)
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x.mean((2, 3)))[:, :, None, None]
        scores: Tensor = (x * gate).sum((2, 3))[:, :3] / self.scale
        return scores


class Tokens(nn.Module):
    """Tokens first inside, a token of its own, places, a scale, shares at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv1d(2, 6, 3, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.places = nn.Parameter(torch.randn(1, 4, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.scale = nn.Parameter(torch.randn(6))
        self.norm = nn.RMSNorm(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).transpose(1, 2)
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], 1) + self.places
        z, _ = self.attention(y, y, y, need_weights=False)
        y = self.norm(y + self.scale * z)
        return torch.log_softmax(self.last(y[:, 0]), 1)


class Causal(nn.Module):
    """Attention that looks back alone, of one product for all three parts."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(4, 12)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.all(x).reshape(-1, 3, 3, 2, 2).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        scores: Tensor = self.last(y.transpose(1, 2).flatten(1))
        return scores


class Assorted(nn.Module):
    """Rare pools and norms, parts of values, and products by their indices."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 4, 2, 2)
        self.group = nn.GroupNorm(2, 4)
        self.instance = nn.InstanceNorm2d(4, affine=True)
        self.mix = nn.Bilinear(4, 4, 6)
        self.last = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.group(self.up(F.pad(x, (1, 1, 0, 0))))
        z = self.instance(F.interpolate(y, scale_factor=0.5, mode="bilinear"))
        left, right = z.split(2, 1)
        both = torch.stack([left, right], 1).flatten(1, 2).roll(1, 1)
        a, b = both.amax((2, 3)), F.adaptive_max_pool2d(both, (2, 1)).mean((2, 3))
        gates = F.glu(self.mix(a, b), 1)
        products = torch.einsum("bi,bj->bij", gates, gates).flatten(1)
        scores: Tensor = self.last(products)
        return scores


class Bags(nn.Module):
    """Words of a text alone, added up by bag, and a table of single ones."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(9, 4, mode="sum")
        self.table = nn.Embedding(9, 4)
        self.last = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        both = torch.cat([self.bag(ids), self.table(ids[:, 0])], 1)
        scores: Tensor = self.last(torch.tanh(both))
        return scores


class Counts(nn.Module):
    """Whole numbers, made floating ones by a cast, with some that are hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = (x.float() - 2) / 4 * (x > 3).float()
        scores: Tensor = self.last(F.relu(self.first(y)))
        return scores


class Recurrent(nn.Module):
    """Steps in time, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(3, 2, batch_first=True)
        self.last = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.inner(x)[0][:, -1])
        return scores


def stacked() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


MADE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "stacked": (stacked, (2, 14, 14)),
    "branching": (Branching, (2, 10, 10)),
    "attending": (Attending, (4, 6)),
    "gated": (Gated, (4, 9, 9)),
    "tokens": (Tokens, (2, 9)),
    "causal": (Causal, (3, 4)),
    "assorted": (Assorted, (2, 4, 4)),
    "recurrent": (Recurrent, (2, 3)),
}


WHOLE: dict[str, Callable[[], nn.Module]] = {"bags": Bags, "counts": Counts}
"""Networks whose inputs are whole numbers, five from 0 to 8."""


def made(name: str, inputs: int = 4) -> tuple[Program, Tensor, str]:
    torch.manual_seed(3)
    make, shape = MADE[name]
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(4) * 0.1
            module.running_var = torch.rand(4) + 0.5
            module.weight.data = torch.randn(4)
            module.bias.data = torch.randn(4)
    x = torch.randn(inputs, *shape)
    program = captured(network, x).program
    return program, x, program.outputs[0].name


def captured(network: nn.Module, x: Tensor) -> CapturedSubject:
    """A network as a program."""
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject), subject.reason
    return subject
