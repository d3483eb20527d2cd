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

__all__ = ["MADE", "captured", "made"]


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
}


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
