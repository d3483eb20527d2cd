"""What every test shares: threads, seeds, checked shapes, a watched network."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from torch import nn

# Only rooms that annotate shapes: each checked call of the engine would take ten times
# as long. They must be hooked before a test imports them.
install_import_hook("stoic.cases", "shapes.checked")

# Tiny operators wait for each other longer than they compute. What depends on the
# number of threads sets it itself.
torch.set_num_threads(1)

# A failure on one machine is a failure on all; first calls into torch are slow.
settings.register_profile("stoic", deadline=None, derandomize=True)
settings.load_profile("stoic")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the number of threads back, which commands set for their process."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _narrow_steps(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Try narrow steps, however small a network is, but in tests of short ones."""
    if "short_steps" not in request.fixturenames:
        monkeypatch.setattr("stoic.network.short._LOOKING_S", 0.0)


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all steps whole, as if each were short."""
    monkeypatch.setattr("stoic.network.short._LOOKING_S", 1e9)


@pytest.fixture
def network() -> Iterator[nn.Module]:
    """A tiny network, checked after the test to be exactly as it was before."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    yield network

    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())
