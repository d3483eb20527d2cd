"""The user's network and tensors are bit for bit as they were, whatever happens."""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stoic.network.memory import kept_memory
from stoic.network.patch import same_words
from stoic.study import pvf


class Counting(nn.Module):
    """Moves more than its output when it is run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, 4)),
            nn.Conv1d(1, 4, 3),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        calls = self.calls
        assert isinstance(calls, Tensor)
        calls += 1
        self.seen.append(len(x))
        out: Tensor = self.head(self.body(x))
        return out


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)),
        nn.Conv1d(1, 4, 3),
        nn.BatchNorm1d(4),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


@pytest.fixture(params=["plain", "counting"])
def watched(request: pytest.FixtureRequest) -> Iterator[nn.Module]:
    """A network that is compared with itself after the test."""
    network = plain() if request.param == "plain" else Counting().eval()
    network.register_buffer("extra", torch.randn(3))
    hooks = [len(m._forward_hooks) for m in network.modules()]
    addresses = {n: v.data_ptr() for n, v in network.state_dict().items()}
    kept = copy.deepcopy(network)
    # Not Python's own: the check of types in tests draws from it.
    chance = np.random.get_state(legacy=False)["state"]["key"], torch.get_rng_state()

    yield network

    for (name, after), before in zip(
        network.state_dict().items(), kept.state_dict().values(), strict=True
    ):
        assert same_words(after, before), name
        assert after.data_ptr() == addresses[name], name
    assert getattr(network, "seen", None) == getattr(kept, "seen", None)
    assert not network.training
    assert [len(m._forward_hooks) for m in network.modules()] == hooks
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert (np.random.get_state(legacy=False)["state"]["key"] == chance[0]).all()
    assert torch.equal(torch.get_rng_state(), chance[1])


def points() -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


WAYS = [
    {"mode": "exact"},
    {"mode": "fast"},
    {"captured": False},
    {"as_deployed": True},
    {"captured": False, "kinds": ("activation",)},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_after_a_campaign(
    way: dict[str, Any], watched: nn.Module, tmp_path: Path
) -> None:
    inputs = points()

    pvf(watched, inputs, faults=40, batch=4, verify=5, out=tmp_path / "run", **way)

    assert torch.equal(inputs, points())


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_after_an_exception_in_the_middle(
    raised: type[BaseException],
    way: dict[str, Any],
    watched: nn.Module,
    tmp_path: Path,
) -> None:
    def stop(done: int, _: int) -> None:
        if done > 10:
            raise raised

    with pytest.raises(raised):
        pvf(
            watched,
            points(),
            faults=40,
            batch=4,
            out=tmp_path / "run",
            progress=stop,
            **way,
        )


@pytest.mark.parametrize("kinds", [("parameter",), ("activation",)])
def test_after_a_user_stops_inside_of_the_network(
    kinds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come while a fault is in place."""
    network = plain()
    kept = copy.deepcopy(network.state_dict())
    calls = [0]
    linear = torch.nn.functional.linear

    def stopping(*args: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == 60:
            raise KeyboardInterrupt
        return linear(*args)

    monkeypatch.setattr(torch.nn.functional, "linear", stopping)
    with pytest.raises(KeyboardInterrupt):
        pvf(
            network,
            points(),
            faults=60,
            kinds=kinds,
            scope="batch",
            captured=False,
            out=tmp_path / "run",
        )

    assert all(same_words(kept[n], v) for n, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc alone")
def test_large_tensors_are_no_fresh_memory_after_memory_was_kept() -> None:
    """The first thresholds of glibc would make every page of each tensor fresh."""
    with kept_memory():
        torch.rand(1 << 18)

    torch.rand(1 << 18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.rand(1 << 18)
    fresh = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # Each has 256 pages.
    assert fresh < 20 * 256 / 4


def test_thresholds_that_somebody_chose_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    class Library:
        def mallopt(self, option: int, value: int) -> None:
            asked.append(option)

        def malloc_trim(self, padding: int) -> None:
            asked.append(0)

    monkeypatch.setattr("stoic.network.memory._glibc", Library)
    with kept_memory():
        pass
    assert len(asked) == 5
    for name, value in (
        ("MALLOC_TRIM_THRESHOLD_", "1"),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"),
    ):
        monkeypatch.setenv(name, value)
        with kept_memory():
            pass
        monkeypatch.delenv(name)
    assert len(asked) == 5
